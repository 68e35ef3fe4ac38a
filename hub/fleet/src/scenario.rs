//! Worlds with a name: one for each bug that was found, and some that everybody asks about.
//!
//! A scenario is a plan. What it proves is that the invariants hold in it.

use std::time::Duration;

use millrace_sim::Weather;

use crate::Plan;
use crate::fault::Fault;

/// A world with a name.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What happens, in a sentence.
    pub story: &'static str,
    /// Where its plan comes from.
    pub plan: Source,
}

/// All scenarios.
pub const ALL: &[Scenario] = &[
    Scenario { name: "quiet", story: "Nothing goes wrong.", plan: Source::Written(|| Plan::quiet(1, 2)) },
    Scenario {
        name: "cut-and-heal",
        story: "The road is cut for longer than the idle time, and healed.",
        plan: Source::Written(|| {
            Plan::quiet(2, 2)
                .with(4_000, Fault::Cut { site: 0, up: true, down: true, span: Duration::from_secs(12) })
        }),
    },
    Scenario {
        name: "agent-power-cuts",
        story: "An agent loses power ten times, a few hundred milliseconds apart.",
        plan: Source::Written(|| {
            let crash = Fault::CrashAgent { site: 0, span: Duration::from_millis(100) };
            (0..10).fold(Plan::quiet(3, 2), |plan, n| plan.with(4_000 + n * 700, crash.clone()))
        }),
    },
    Scenario {
        name: "hub-power-cuts",
        story: "The hub loses power while records arrive, again and again.",
        plan: Source::Written(|| {
            let crash = Fault::CrashHub { span: Duration::from_millis(300) };
            (0..5).fold(Plan::quiet(4, 3), |plan, n| plan.with(4_000 + n * 2_900, crash.clone()))
        }),
    },
    Scenario {
        name: "restored-from-backup",
        story: "An agent's directory is replaced by an older copy of itself.",
        plan: Source::Written(|| {
            Plan::quiet(5, 2).with(6_000, Fault::Backup { site: 0 }).with(12_000, Fault::Restore { site: 0 })
        }),
    },
    Scenario {
        name: "restored-and-offline",
        story: "A restored agent writes more than it lost before it reaches the hub.",
        plan: Source::Written(|| {
            Plan::quiet(6, 1)
                .with(6_000, Fault::Backup { site: 0 })
                .with(8_000, Fault::Restore { site: 0 })
                .with(8_001, Fault::Cut { site: 0, up: true, down: true, span: Duration::from_secs(10) })
        }),
    },
    Scenario {
        name: "two-clones-online",
        story: "A second machine starts with a copy of a directory while the first goes on.",
        plan: Source::Written(|| Plan::quiet(7, 2).with(8_000, Fault::Clone { site: 0 })),
    },
    Scenario {
        name: "wiped-disk",
        story: "A disk is replaced by an empty one.",
        plan: Source::Written(|| Plan::quiet(8, 2).with(8_000, Fault::Wipe { site: 1 })),
    },
    Scenario {
        name: "satellite",
        story: "Half of all packets are lost, the others take more than a second.",
        plan: Source::Written(|| {
            let weather = Weather {
                delay: Duration::from_millis(1_200),
                jitter: Duration::from_millis(400),
                loss_percent: 50,
                reorder_percent: 20,
                duplicate_percent: 20,
                bandwidth: Some(8_000),
                cut: false,
            };
            Plan::quiet(9, 2).with(3_000, Fault::Storm { site: 0, weather, span: Duration::from_secs(15) })
        }),
    },
    Scenario {
        name: "disks-full",
        story: "First the agent's disk is full, then the hub's.",
        plan: Source::Written(|| {
            Plan::quiet(10, 2)
                .with(5_000, Fault::AgentDiskFull { site: 0, span: Duration::from_secs(6) })
                .with(9_000, Fault::HubDiskFull { span: Duration::from_secs(5) })
        }),
    },
    seeded(
        "refused-acks",
        "A full disk refuses acks, and a lane that blocks must start again when there is room.",
        346,
    ),
    seeded(
        "tail-full-of-acked-rows",
        "A small budget is full of acked rows that were never sealed; a lane blocks.",
        237,
    ),
    seeded(
        "evicted-declaration",
        "A gap record is evicted before the hub heard of it; its loss is declared again.",
        366,
    ),
    seeded(
        "late-acks",
        "Records are evicted whose acks were not written down yet; the ledger still balances.",
        58,
    ),
    seeded("overtaking-runs", "Two channels share a tiny credit, and the last run overtakes others.", 378),
    seeded(
        "moved-twice",
        "Records move to a new incarnation, and an older copy of the directory comes back.",
        540,
    ),
    seeded("mute-lane", "A lane writes its first record in a new incarnation while the session is open.", 1),
    seeded("spinning-acks", "Acks are due while a commit is under way; nobody may spin.", 2),
];

/// The world of a seed that once broke a promise.
const fn seeded(name: &'static str, story: &'static str, seed: u64) -> Scenario {
    Scenario { name, story, plan: Source::Seed(seed) }
}

/// Where a plan comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// It is written here.
    Written(fn() -> Plan),
    /// It is what a seed means. When what seeds mean changes, the scenario must find its bug under another one.
    Seed(u64),
}

impl Scenario {
    /// Its plan.
    #[must_use]
    pub fn plan(&self) -> Plan {
        match self.plan {
            Source::Written(plan) => plan(),
            Source::Seed(seed) => Plan::from_seed(seed),
        }
    }
}

/// The scenario with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
