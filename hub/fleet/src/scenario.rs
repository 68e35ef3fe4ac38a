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
    /// Its plan.
    pub plan: fn() -> Plan,
}

/// All scenarios.
pub const ALL: &[Scenario] = &[
    Scenario { name: "quiet", story: "Nothing goes wrong.", plan: || Plan::quiet(1, 2) },
    Scenario {
        name: "cut-and-heal",
        story: "The road is cut for longer than the idle time, and healed.",
        plan: || {
            Plan::quiet(2, 2)
                .with(4_000, Fault::Cut { site: 0, up: true, down: true, span: Duration::from_secs(12) })
        },
    },
    Scenario {
        name: "agent-power-cuts",
        story: "An agent loses power ten times, a few hundred milliseconds apart.",
        plan: || {
            let crash = Fault::CrashAgent { site: 0, span: Duration::from_millis(100) };
            (0..10).fold(Plan::quiet(3, 2), |plan, n| plan.with(4_000 + n * 700, crash.clone()))
        },
    },
    Scenario {
        name: "hub-power-cuts",
        story: "The hub loses power while records arrive, again and again.",
        plan: || {
            let crash = Fault::CrashHub { span: Duration::from_millis(300) };
            (0..5).fold(Plan::quiet(4, 3), |plan, n| plan.with(4_000 + n * 2_900, crash.clone()))
        },
    },
    Scenario {
        name: "restored-from-backup",
        story: "An agent's directory is replaced by an older copy of itself.",
        plan: || {
            Plan::quiet(5, 2).with(6_000, Fault::Backup { site: 0 }).with(12_000, Fault::Restore { site: 0 })
        },
    },
    Scenario {
        name: "restored-and-offline",
        story: "A restored agent writes more than it lost before it reaches the hub.",
        plan: || {
            Plan::quiet(6, 1)
                .with(6_000, Fault::Backup { site: 0 })
                .with(8_000, Fault::Restore { site: 0 })
                .with(8_001, Fault::Cut { site: 0, up: true, down: true, span: Duration::from_secs(10) })
        },
    },
    Scenario {
        name: "two-clones-online",
        story: "A second machine starts with a copy of a directory while the first goes on.",
        plan: || Plan::quiet(7, 2).with(8_000, Fault::Clone { site: 0 }),
    },
    Scenario {
        name: "wiped-disk",
        story: "A disk is replaced by an empty one.",
        plan: || Plan::quiet(8, 2).with(8_000, Fault::Wipe { site: 1 }),
    },
    Scenario {
        name: "satellite",
        story: "Half of all packets are lost, the others take more than a second.",
        plan: || {
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
        },
    },
    Scenario {
        name: "disks-full",
        story: "First the agent's disk is full, then the hub's.",
        plan: || {
            Plan::quiet(10, 2)
                .with(5_000, Fault::AgentDiskFull { site: 0, span: Duration::from_secs(6) })
                .with(9_000, Fault::HubDiskFull { span: Duration::from_secs(5) })
        },
    },
];

/// The scenario with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
