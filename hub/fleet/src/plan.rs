//! What a seed means: who takes part, how they are set up, what goes wrong and when.
//!
//! Promise: everything that is drawn is drawn here or from seeds that stand here.

use std::time::Duration;

use millrace_agent_engine::Policy;
use millrace_model::{Lane, Moment};
use millrace_sim::Weather;

use crate::Sabotage;
use crate::fault::Fault;
use crate::sensor::Habit;

/// How one site is set up.
#[derive(Clone, Debug)]
pub struct SitePlan {
    /// Its sensors.
    pub sensors: Vec<Habit>,
    /// What its lanes do when full.
    pub policies: [Policy; Lane::ALL.len()],
    /// Bytes that its store may take.
    pub disk_budget_bytes: u64,
    /// How long acknowledged records are kept.
    pub grace: Duration,
    /// How many records are sealed at once.
    pub burst_records: usize,
    /// How long a commit takes, µs.
    pub disk_micros: std::ops::Range<u64>,
    /// The ordinary weather towards the hub.
    pub weather: Weather,
}

/// How the hub is set up.
#[derive(Clone, Debug)]
pub struct HubPlan {
    /// Bytes of runs that may be in memory.
    pub memory_budget_bytes: u64,
    /// Most credit for one device.
    pub credit_max_bytes: u64,
    /// Bytes per second of one device.
    pub device_rate: Option<u64>,
    /// How long a commit takes, µs.
    pub disk_micros: std::ops::Range<u64>,
}

/// What a seed means.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of everything that is drawn while the world runs.
    pub seed: u64,
    /// The sites.
    pub sites: Vec<SitePlan>,
    /// The hub.
    pub hub: HubPlan,
    /// What goes wrong, by time.
    pub faults: Vec<(Moment, Fault)>,
    /// When faults stop, and only a little is still published.
    pub heal_at: Moment,
    /// How long the world may take to converge after that.
    pub converge_within: Duration,
    /// What the world breaks on purpose.
    pub sabotage: Sabotage,
}

const SECOND: Duration = Duration::from_secs(1);

fn millis(random: &mut fastrand::Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}

impl Plan {
    /// What `seed` means.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        // A golden-ratio step, so that neighbouring seeds do not begin alike.
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed);
        let sites: Vec<SitePlan> = (0..random.usize(2..=4)).map(|_| SitePlan::draw(&mut random)).collect();
        let heal_at = Moment(0) + SECOND * random.u32(25..70);
        let count = random.usize(3..=10);
        let mut faults: Vec<(Moment, Fault)> =
            (0..count).flat_map(|_| draw_fault(&mut random, sites.len(), heal_at)).collect();
        faults.sort_by_key(|(at, _)| *at);
        Self {
            seed: random.u64(..),
            hub: HubPlan::draw(&mut random),
            sites,
            faults,
            heal_at,
            converge_within: SECOND * 240,
            sabotage: Sabotage::None,
        }
    }

    /// A quiet world to build scenarios on: `sites` of one urgent and one normal sensor, fair weather, no faults.
    #[must_use]
    pub fn quiet(seed: u64, sites: usize) -> Self {
        let habit = |lane| Habit {
            lane,
            qos: 1,
            interval: Duration::from_millis(150),
            bytes: 40..120,
            burst_percent: 2,
            burst: 40,
        };
        let site = SitePlan {
            sensors: vec![habit(Lane::Urgent), habit(Lane::Normal)],
            policies: [Policy::Block, Policy::DropOldest, Policy::DropOldest],
            disk_budget_bytes: 64 << 20,
            grace: SECOND * 2,
            burst_records: 16,
            disk_micros: 200..4_000,
            weather: Weather::FAIR,
        };
        Self {
            seed,
            sites: vec![site; sites],
            hub: HubPlan {
                memory_budget_bytes: 64 << 20,
                credit_max_bytes: 8 << 20,
                device_rate: None,
                disk_micros: 200..4_000,
            },
            faults: Vec::new(),
            heal_at: Moment(0) + SECOND * 20,
            converge_within: SECOND * 240,
            sabotage: Sabotage::None,
        }
    }

    /// This plan with a fault at a time, in milliseconds.
    #[must_use]
    pub fn with(mut self, at_millis: u64, fault: Fault) -> Self {
        self.faults.push((Moment(at_millis * 1_000), fault));
        self.faults.sort_by_key(|(at, _)| *at);
        self
    }

    /// This plan with a broken promise.
    #[must_use]
    pub const fn sabotaged(mut self, sabotage: Sabotage) -> Self {
        self.sabotage = sabotage;
        self
    }
}

impl SitePlan {
    fn draw(random: &mut fastrand::Rng) -> Self {
        let tight = random.u8(0..100) < 30;
        let sensors = (0..random.usize(1..=3)).map(|_| draw_habit(random, tight)).collect();
        let policies = [draw_policy(random), draw_policy(random), draw_policy(random)];
        Self {
            sensors,
            policies,
            disk_budget_bytes: if tight { random.u64(500_000..1_000_000) } else { 64 << 20 },
            grace: millis(random, 200..6_000),
            burst_records: random.usize(8..80),
            disk_micros: if random.u8(0..4) == 0 { 5_000..80_000 } else { 200..4_000 },
            weather: Weather {
                delay: millis(random, 1..150),
                jitter: millis(random, 0..40),
                loss_percent: if random.bool() { 0 } else { random.u8(0..8) },
                ..Weather::FAIR
            },
        }
    }
}

impl HubPlan {
    fn draw(random: &mut fastrand::Rng) -> Self {
        let tiny = random.u8(0..100) < 30;
        Self {
            memory_budget_bytes: if tiny { 64 << 10 } else { 64 << 20 },
            credit_max_bytes: if tiny { random.u64((16 << 10)..(256 << 10)) } else { 8 << 20 },
            device_rate: (random.u8(0..100) < 15).then(|| random.u64(20_000..200_000)),
            disk_micros: if random.u8(0..4) == 0 { 5_000..60_000 } else { 200..4_000 },
        }
    }
}

fn draw_policy(random: &mut fastrand::Rng) -> Policy {
    match random.u8(0..4) {
        0 => Policy::Block,
        1 => Policy::DropOldest,
        2 => Policy::DropNewest,
        _ => Policy::Thin(random.u32(2..6)),
    }
}

fn draw_habit(random: &mut fastrand::Rng, tight: bool) -> Habit {
    let large = if tight { 1_200 } else { 200 };
    Habit {
        lane: *random.choice(Lane::ALL.iter()).unwrap_or(&Lane::Normal),
        qos: u8::from(random.u8(0..10) > 0),
        interval: millis(random, 60..600),
        bytes: 12..random.usize(16..large),
        burst_percent: random.u8(0..5),
        burst: random.u32(10..150),
    }
}

fn draw_fault(random: &mut fastrand::Rng, sites: usize, heal_at: Moment) -> Vec<(Moment, Fault)> {
    let at = Moment(random.u64(2_000_000..heal_at.0));
    let site = random.usize(0..sites);
    let span = if random.bool() { millis(random, 100..5_000) } else { millis(random, 5_000..30_000) };
    let fault = match random.u8(0..100) {
        0..14 => {
            let (up, down) = match random.usize(0..3) {
                0 => (true, true),
                1 => (true, false),
                _ => (false, true),
            };
            Fault::Cut { site, up, down, span }
        }
        14..28 => Fault::Storm { site, weather: draw_storm(random), span },
        28..42 => Fault::CrashAgent { site, span },
        42..48 => Fault::RestartAgent { site, span },
        48..58 => Fault::CrashHub { span },
        58..62 => Fault::RestartHub { span },
        62..65 => Fault::Wipe { site },
        65..74 => {
            let before = Moment(at.0.saturating_sub(random.u64(100_000..15_000_000)));
            return vec![(before, Fault::Backup { site }), (at, Fault::Restore { site })];
        }
        74..79 => Fault::Clone { site },
        79..85 => Fault::ClockJump { site, seconds: random.i64(-90_000_000..90_000_000) },
        85..90 => Fault::AgentDiskFull { site, span },
        90..93 => Fault::HubDiskFull { span },
        _ => {
            let rate = random.bool().then(|| random.u64(0..20_000));
            Fault::Allowance { site, rate, metered: random.bool(), span }
        }
    };
    vec![(at, fault)]
}

fn draw_storm(random: &mut fastrand::Rng) -> Weather {
    Weather {
        delay: millis(random, 5..1_500),
        jitter: millis(random, 0..500),
        loss_percent: random.u8(0..60),
        reorder_percent: random.u8(0..30),
        duplicate_percent: random.u8(0..30),
        bandwidth: random.bool().then(|| random.u64(3_000..100_000)),
        cut: false,
    }
}
