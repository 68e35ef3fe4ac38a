//! How stores age: what is damaged when, what each hub keeps for how long, and how often it reads what it stores.
//!
//! Promise: drawn from a seed of its own, so a world without it is what it was.

use std::time::Duration;

use millrace_journal::sabotage::Harm;
use millrace_model::Moment;

use super::plan::{ClusterFault, ClusterPlan};

/// How stores age.
#[derive(Clone, Debug)]
pub struct Ageing {
    /// How long hubs keep records, by turn; `None`: for ever.
    pub keeps: Vec<Option<Duration>>,
    /// How often each looks what has been kept for long enough.
    pub look_every: Duration,
    /// How often each scrubs a little.
    pub scrub_every: Duration,
    /// Stored bytes that it reads then.
    pub scrub_bytes: u64,
    /// How often somebody queries each.
    pub read_every: Duration,
    /// How many records agents seal at once: many small segments make high trees.
    pub burst_records: usize,
    /// How long agents keep what is acknowledged.
    pub grace: Duration,
    /// Whether agents scrub as hubs do.
    pub devices_scrub: bool,
    /// How often hubs compare their copies.
    pub repair_interval: Duration,
}

impl Ageing {
    /// Nothing is let go.
    pub const CALM: Self = Self {
        keeps: Vec::new(),
        look_every: Duration::from_secs(2),
        scrub_every: Duration::from_millis(500),
        scrub_bytes: 64 << 10,
        read_every: Duration::from_secs(2),
        burst_records: 8,
        grace: Duration::from_secs(2),
        devices_scrub: false,
        repair_interval: Duration::from_secs(20),
    };

    fn draw(random: &mut fastrand::Rng) -> Self {
        let mut millis = |range: std::ops::Range<u64>| Duration::from_millis(random.u64(range));
        let look_every = millis(500..4_000);
        let (scrub_every, read_every) = (millis(100..1_500), millis(300..5_000));
        let repair_interval = millis(15_000..40_000);
        let mut keep = || random.bool().then(|| Duration::from_millis(random.u64(2_000..25_000)));
        let keeps: Vec<_> = (0..4).map(|_| keep()).collect();
        let lets_go = random.u8(0..10) < 6;
        Self {
            keeps: if lets_go { keeps } else { Vec::new() },
            look_every,
            scrub_every,
            scrub_bytes: random.u64((2 << 10)..(64 << 10)),
            read_every,
            burst_records: *random.choice([1, 2, 8].iter()).unwrap_or(&8),
            grace: Duration::from_secs(2),
            devices_scrub: false,
            repair_interval,
        }
    }

    /// How long the hub with this number keeps records.
    pub(super) fn keep_of(&self, number: u64) -> Option<Duration> {
        let turn = usize::try_from(number).ok()?.checked_rem(self.keeps.len())?;
        self.keeps.get(turn).copied().flatten()
    }
}

impl ClusterPlan {
    /// This plan in a world where nothing is damaged yet, and everything is read now and then.
    #[must_use]
    pub fn ageing(mut self, ageing: Ageing) -> Self {
        self.ageing = Some(ageing);
        self
    }

    /// This plan, for two of three seeds in a world where stores age and are damaged.
    #[must_use]
    pub fn aged(mut self, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6167_6564);
        if random.u8(0..3) == 0 {
            return self;
        }
        self.ageing = Some(Ageing::draw(&mut random));
        // A store that has lost something is not damaged elsewhere until it is mended: the world sees to that.
        for _ in 0..random.usize(1..=4) {
            let drawn = draw_damage(&mut random, self.hubs, self.heal_at);
            self.faults.extend(drawn);
        }
        self.faults.sort_by_key(|(at, _)| *at);
        // Whoever had nothing when it was asked is asked again after five minutes.
        self.converge_within = Duration::from_secs(700);
        self
    }
}

/// Damage, and now and then something that interrupts its repair.
fn draw_damage(random: &mut fastrand::Rng, hubs: usize, heal_at: Moment) -> Vec<(Moment, ClusterFault)> {
    let at = Moment(random.u64(2_000_000..heal_at.0));
    let hub = random.usize(0..hubs);
    let harm = *random.choice(Harm::ALL.iter()).unwrap_or(&Harm::LostSegments);
    let off = (random.u8(0..3) == 0).then(|| Duration::from_millis(random.u64(100..3_000)));
    let mut faults = vec![(at, ClusterFault::Damage { hub, harm, off })];
    let later = at + Duration::from_millis(random.u64(0..6_000));
    let span = Duration::from_millis(random.u64(100..8_000));
    let other = (hub + random.usize(1..hubs)) % hubs;
    match random.u8(0..10) {
        0 => faults.push((later, ClusterFault::Crash { hub, span })),
        1 => faults.push((later, ClusterFault::Crash { hub: other, span })),
        2 => {
            let both = random.bool();
            faults.push((later, ClusterFault::Cut { a: hub, b: other, both, times: 1, span }));
        }
        3 => faults.push((later, ClusterFault::Pause { hub, span })),
        4 => faults.push((later, ClusterFault::Pause { hub: other, span })),
        // More damage to the same store.
        5 | 6 => {
            for harm in Harm::ALL {
                let at = at + Duration::from_millis(random.u64(0..2_000));
                if random.bool() {
                    faults.push((at, ClusterFault::Damage { hub, harm, off: None }));
                }
            }
        }
        _ => {}
    }
    faults
}
