//! What a seed means in a world of several hubs.

use std::ops::Range;
use std::time::Duration;

use millrace_journal::sabotage::Harm;
use millrace_model::Moment;

use super::ageing::Ageing;

use crate::ClusterSabotage;

/// One thing that goes wrong. Hubs are named by their turn among those that stand then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClusterFault {
    /// A hub loses power, and comes back.
    Crash {
        /// Which.
        hub: usize,
        /// How long it is off.
        span: Duration,
    },
    /// A hub loses power and its readings, and comes back with an empty store.
    Wipe {
        /// Which.
        hub: usize,
    },
    /// A hub's store is put back from a copy that is so old.
    Restore {
        /// Which.
        hub: usize,
    },
    /// All hubs are lost, and a new one begins with a copy of this one's store, under the next epoch; two empty ones join it.
    Disaster {
        /// Whose copy.
        hub: usize,
    },
    /// Somebody keeps a copy of a hub's store.
    Backup {
        /// Which.
        hub: usize,
    },
    /// The road between two hubs is cut for a while, in one direction or both, once or again and again.
    Cut {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// From the other to the one, too.
        both: bool,
        /// How often.
        times: u32,
        /// How long each time.
        span: Duration,
    },
    /// A hub is cut off from all hubs, control included, for a while; agents still reach it.
    Isolate {
        /// Which.
        hub: usize,
        /// How long.
        span: Duration,
    },
    /// A hub's process stands still for a while.
    Pause {
        /// Which.
        hub: usize,
        /// How long.
        span: Duration,
    },
    /// A hub's disk refuses commits for a while.
    Full {
        /// Which.
        hub: usize,
        /// How long.
        span: Duration,
    },
    /// A hub joins.
    Join,
    /// A hub is removed.
    Leave {
        /// Which.
        hub: usize,
    },
    /// A hub sends its agents away for a while.
    Drain {
        /// Which.
        hub: usize,
        /// How long.
        span: Duration,
    },
    /// A hub's store is damaged.
    Damage {
        /// Which.
        hub: usize,
        /// How.
        harm: Harm,
        /// While it is off for so long; or while it runs.
        off: Option<Duration>,
    },
    /// An agent's store is damaged.
    DamageAgent {
        /// Which.
        agent: usize,
        /// How.
        harm: Harm,
        /// While it is off for so long; or while it runs.
        off: Option<Duration>,
    },
    /// Somebody keeps a copy of an agent's store.
    BackupAgent {
        /// Which.
        agent: usize,
    },
    /// An agent's store is put back from the last copy, if there is one.
    RestoreAgent {
        /// Which.
        agent: usize,
    },
    /// An agent loses power, and comes back.
    CrashAgent {
        /// Which.
        agent: usize,
        /// How long it is off.
        span: Duration,
    },
}

/// What a seed means.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    /// The seed of everything that is drawn while the world runs.
    pub seed: u64,
    /// Hubs at the beginning.
    pub hubs: usize,
    /// Regions that they stand in.
    pub regions: usize,
    /// Agents.
    pub agents: usize,
    /// How stores age; `None`: nothing is let go, and nobody reads what is not asked for.
    pub ageing: Option<Ageing>,
    /// How long commits take, µs: the first hub's, and the others'.
    pub disk_micros: (Range<u64>, Range<u64>),
    /// What goes wrong, by time.
    pub faults: Vec<(Moment, ClusterFault)>,
    /// When faults stop.
    pub heal_at: Moment,
    /// How long the world may take to converge after that.
    pub converge_within: Duration,
    /// What it breaks on purpose.
    pub sabotage: ClusterSabotage,
}

/// How many hubs the world of a seed has: one for half of all seeds.
#[must_use]
pub fn hubs_of(seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x6875_6273);
    if random.bool() { 1 } else { random.usize(2..=5) }
}

impl ClusterPlan {
    /// What `seed` means with that many hubs.
    #[must_use]
    pub fn from_seed(seed: u64, hubs: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x636c);
        let heal_at = Moment(random.u64(20_000_000..50_000_000));
        let agents = random.usize(1..=4);
        let count = random.usize(3..=10);
        let mut faults: Vec<_> =
            (0..count).flat_map(|_| draw_fault(&mut random, hubs, agents, heal_at)).collect();
        faults.sort_by_key(|(at, _)| *at);
        let slow = random.u8(0..4) == 0;
        Self {
            seed: random.u64(..),
            hubs,
            regions: random.usize(1..=3),
            agents,
            ageing: None,
            disk_micros: (if slow { 20_000..150_000 } else { 200..4_000 }, 200..4_000),
            faults,
            heal_at,
            converge_within: Duration::from_secs(240),
            sabotage: ClusterSabotage::None,
        }
    }

    /// A quiet world to build scenarios on.
    #[must_use]
    pub fn quiet(seed: u64, hubs: usize) -> Self {
        Self {
            seed,
            hubs,
            regions: 3,
            agents: 3,
            ageing: None,
            disk_micros: (200..4_000, 200..4_000),
            faults: Vec::new(),
            heal_at: Moment(25_000_000),
            converge_within: Duration::from_secs(240),
            sabotage: ClusterSabotage::None,
        }
    }

    /// This plan with something broken on purpose.
    #[must_use]
    pub const fn sabotaged(mut self, sabotage: ClusterSabotage) -> Self {
        self.sabotage = sabotage;
        self
    }

    /// This plan with a fault at a time, in milliseconds.
    #[must_use]
    pub fn with(mut self, at_millis: u64, fault: ClusterFault) -> Self {
        self.faults.push((Moment(at_millis * 1_000), fault));
        self.faults.sort_by_key(|(at, _)| *at);
        self
    }
}

fn draw_fault(
    random: &mut fastrand::Rng,
    hubs: usize,
    agents: usize,
    heal_at: Moment,
) -> Vec<(Moment, ClusterFault)> {
    let at = Moment(random.u64(2_000_000..heal_at.0));
    let hub = random.usize(0..hubs);
    let other = (hub + random.usize(1..hubs)) % hubs;
    let span =
        Duration::from_millis(if random.bool() { random.u64(100..4_000) } else { random.u64(4_000..20_000) });
    let fault = match random.u8(0..100) {
        0..20 => ClusterFault::Crash { hub, span },
        20..34 => ClusterFault::Wipe { hub },
        34..42 => {
            let before = Moment(at.0.saturating_sub(random.u64(100_000..8_000_000)));
            return vec![(before, ClusterFault::Backup { hub }), (at, ClusterFault::Restore { hub })];
        }
        42..56 => {
            let times = if random.bool() { 1 } else { random.u32(2..6) };
            ClusterFault::Cut { a: hub, b: other, both: random.bool(), times, span: span / times }
        }
        56..66 => ClusterFault::Isolate { hub, span },
        66..74 => ClusterFault::Pause { hub, span },
        74..78 => ClusterFault::Full { hub, span },
        78..84 => ClusterFault::Join,
        84..89 => ClusterFault::Leave { hub },
        89..93 => ClusterFault::Drain { hub, span },
        93 => {
            let before = Moment(at.0.saturating_sub(random.u64(100_000..8_000_000)));
            return vec![(before, ClusterFault::Backup { hub }), (at, ClusterFault::Disaster { hub })];
        }
        94..97 => return lagging_behind(random, hubs, heal_at),
        _ => ClusterFault::CrashAgent { agent: random.usize(0..agents), span },
    };
    vec![(at, fault)]
}

/// How long [`lagging_behind`] takes.
const LAGGING: u64 = 14_000_000;

/// A hub joins and is cut off from the others, though not from control; another one leaves, and then a third loses its disk: so
/// whatever the newcomer was not brought in between is lost.
fn lagging_behind(random: &mut fastrand::Rng, hubs: usize, heal_at: Moment) -> Vec<(Moment, ClusterFault)> {
    let start = random.u64(2_000_000..heal_at.0.saturating_sub(LAGGING).max(2_000_001));
    let at = |micros: u64| Moment(start + micros);
    let (leaves, span) = (random.usize(0..hubs), Duration::from_secs(60));
    let cut = |a| (at(6_000_000), ClusterFault::Cut { a, b: hubs, both: true, times: 1, span });
    let mut faults = vec![(at(0), ClusterFault::Join)];
    faults.extend((0..hubs).map(cut));
    faults.push((at(9_000_000), ClusterFault::Leave { hub: leaves }));
    // Whoever stood behind the one that left has moved up.
    faults.push((at(LAGGING), ClusterFault::Wipe { hub: random.usize(0..hubs.max(2) - 1) }));
    faults
}
