//! Worlds with a name: one for each bug that was found, and some that everybody asks about.
//!
//! A scenario is a plan. What it proves is that the invariants hold in it.

use std::time::Duration;

use millrace_journal::sabotage::Harm;
use millrace_sim::Weather;

use crate::cluster::Ageing;
use crate::fault::Fault;
use crate::{ClusterFault, ClusterPlan, ClusterWorld, Plan, Report, World};

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
    Scenario {
        name: "three-hubs",
        story: "Three hubs in three regions, and nothing goes wrong.",
        plan: Source::Cluster(|| ClusterPlan::quiet(1, 3)),
    },
    Scenario {
        name: "wiped-hub",
        story: "A hub loses its disk, fills itself, and then the next one does.",
        plan: Source::Cluster(|| {
            ClusterPlan::quiet(2, 3)
                .with(6_000, ClusterFault::Wipe { hub: 0 })
                .with(14_000, ClusterFault::Wipe { hub: 1 })
                .with(21_000, ClusterFault::Wipe { hub: 2 })
        }),
    },
    Scenario {
        name: "hub-from-an-old-copy",
        story: "A hub's store is put back from a copy: the others know what it held, and it begins a new life.",
        plan: Source::Cluster(|| {
            ClusterPlan::quiet(3, 3)
                .with(5_000, ClusterFault::Backup { hub: 1 })
                .with(12_000, ClusterFault::Restore { hub: 1 })
        }),
    },
    Scenario {
        name: "isolated-hub",
        story: "The hub of some agents is cut off from the others: its agents turn to those.",
        plan: Source::Cluster(|| {
            let span = Duration::from_secs(30);
            ClusterPlan::quiet(4, 3).with(4_000, ClusterFault::Isolate { hub: 0, span })
        }),
    },
    Scenario {
        name: "hubs-come-and-go",
        story: "One hub becomes three, and the first one leaves.",
        plan: Source::Cluster(|| {
            ClusterPlan::quiet(5, 2)
                .with(3_000, ClusterFault::Join)
                .with(6_000, ClusterFault::Join)
                .with(15_000, ClusterFault::Leave { hub: 0 })
        }),
    },
    Scenario {
        name: "damaged-hub",
        story: "A hub loses segments and rows while it runs and while it is off, and another one brings them back.",
        plan: Source::Cluster(|| damaged(3, Ageing::CALM)),
    },
    Scenario {
        name: "only-hub-damaged",
        story: "The only hub loses records, and its devices, which keep them for long, bring them back.",
        plan: Source::Cluster(|| damaged(1, Ageing { grace: Duration::from_secs(3_600), ..Ageing::CALM })),
    },
    Scenario {
        name: "only-hub-damaged-for-good",
        story: "The only hub loses records that its devices let go: people are told, and nothing else breaks.",
        plan: Source::Cluster(|| damaged(1, Ageing::CALM)),
    },
    Scenario {
        name: "floor-passed-damage",
        story: "Two hubs remember different hashes of what both let go, because damage was not mended before.",
        plan: Source::AgedSeed(80, 2),
    },
    Scenario {
        name: "filled-after-the-beginning-went",
        story: "A hub that lost its disk is filled when another one has let the beginning of a journal go.",
        plan: Source::AgedSeed(111, 5),
    },
    Scenario {
        name: "gone-before-the-place",
        story: "A hub that lost its disk hears what others let go before it hears that it has to be filled.",
        plan: Source::AgedSeed(195, 3),
    },
    Scenario {
        name: "damaged-and-passed",
        story: "Damage takes records from a hub that all others let go, while their device talks to another one.",
        plan: Source::AgedSeed(451, 4),
    },
    Scenario {
        name: "damaged-alone-and-passed",
        story: "Damage takes records from a hub that keeps them for longer than the other.",
        plan: Source::AgedSeed(468, 2),
    },
    Scenario {
        name: "damaged-device",
        story: "A device that keeps its records for long loses segments and rows while it runs and while it is off: its hub brings them back.",
        plan: Source::Cluster(|| damaged_device(3, 3_600)),
    },
    Scenario {
        name: "damaged-device-that-trims",
        story: "The same, while it lets go what is acknowledged: what it let go stays away.",
        plan: Source::Cluster(|| damaged_device(3, 3)),
    },
    Scenario {
        name: "damaged-device-of-one-hub",
        story: "A device of a single hub loses segments and rows.",
        plan: Source::Cluster(|| damaged_device(1, 3_600)),
    },
    Scenario {
        name: "many-rows-gone",
        story: "More rows are gone at a hub than a read goes around one by one, while another hub waits for them.",
        plan: Source::WornSeed(242, 3),
    },
    Scenario {
        name: "gone-before-the-greeting",
        story: "A hub says what it let go before it has told one that was emptied what it holds.",
        plan: Source::WornSeed(346, 4),
    },
    Scenario {
        name: "head-lost-before-its-ack",
        story: "A device loses power, and with it that it sent what damage takes: it goes on under a new incarnation, and loses nothing else.",
        plan: Source::WornSeed(25, 4),
    },
    Scenario {
        name: "device-from-an-old-copy",
        story: "A device's store is put back from a copy while a hub is damaged; then another hub loses its disk.",
        plan: Source::Cluster(|| {
            let ageing = Ageing { grace: Duration::from_secs(30), devices_scrub: true, ..Ageing::CALM };
            ClusterPlan::quiet(7, 3)
                .ageing(ageing)
                .with(6_000, ClusterFault::BackupAgent { agent: 0 })
                .with(10_000, ClusterFault::Damage { hub: 0, harm: Harm::LostSegments, off: None })
                .with(10_500, ClusterFault::RestoreAgent { agent: 0 })
                .with(18_000, ClusterFault::Wipe { hub: 1 })
        }),
    },
    Scenario {
        name: "acked-while-it-moves",
        story: "Acks of an older life come while its records move to a new one: nothing is counted or written twice.",
        plan: Source::SetBackSeed(12, 4),
    },
    Scenario {
        name: "acked-and-not-noted-when-it-moves",
        story: "The same, when the acks came before and were not written down yet.",
        plan: Source::SetBackSeed(285, 4),
    },
    among(
        "acks-before-the-place",
        "A hub takes agents in before it knows that it has others beside it.",
        17,
        4,
    ),
    among(
        "sent-before-it-was-flushed",
        "A hub loses power after it sent a run on and before it flushed it.",
        24,
        2,
    ),
    among("removed-and-owed", "A hub is removed while the others are connected to it.", 3, 3),
    among(
        "shrinks-too-soon",
        "A hub leaves that had, with one other, what a third had not got yet; then the other loses its disk.",
        555,
        3,
    ),
    among("shrinks-behind-a-cut", "The same, with a cut between those that stay.", 681, 3),
    among(
        "words-of-a-former-life",
        "What a hub said before its disk was lost arrives after it said so.",
        633,
        4,
    ),
    among(
        "sent-and-forgotten",
        "A hub sends a run on, and drops it with its agent's connection before it flushed it.",
        335,
        4,
    ),
    among(
        "old-copy-that-counts",
        "A store from an old copy is found out, and counts for nothing from then on.",
        12,
        4,
    ),
];

/// The world of a seed that once broke a promise.
const fn seeded(name: &'static str, story: &'static str, seed: u64) -> Scenario {
    Scenario { name, story, plan: Source::Seed(seed) }
}

/// The world of several hubs of a seed that once broke a promise.
const fn among(name: &'static str, story: &'static str, seed: u64, hubs: usize) -> Scenario {
    Scenario { name, story, plan: Source::ClusterSeed(seed, hubs) }
}

/// Every kind of damage to a hub, one after the other.
fn damaged(hubs: usize, ageing: Ageing) -> ClusterPlan {
    one_by_one(hubs, ageing, |harm, off| ClusterFault::Damage { hub: 0, harm, off })
}

/// The same to a device that keeps what is acknowledged for so many seconds.
fn damaged_device(hubs: usize, grace: u64) -> ClusterPlan {
    let ageing = Ageing { grace: Duration::from_secs(grace), devices_scrub: true, ..Ageing::CALM };
    one_by_one(hubs, ageing, |harm, off| ClusterFault::DamageAgent { agent: 0, harm, off })
}

fn one_by_one(
    hubs: usize,
    ageing: Ageing,
    fault: impl Fn(Harm, Option<Duration>) -> ClusterFault,
) -> ClusterPlan {
    let plan = ClusterPlan::quiet(6, hubs).ageing(ageing);
    let mut at = 6_000;
    Harm::ALL.into_iter().fold(plan, |plan, harm| {
        at += 2_500;
        plan.with(at, fault(harm, (at % 5_000 == 1_000).then_some(Duration::from_millis(400))))
    })
}

/// Where a plan comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// It is written here.
    Written(fn() -> Plan),
    /// It is what a seed means. When what seeds mean changes, the scenario must find its bug under another one.
    Seed(u64),
    /// It is written here, for several hubs.
    Cluster(fn() -> ClusterPlan),
    /// It is what a seed means with that many hubs.
    ClusterSeed(u64, usize),
    /// The same in a world whose stores age.
    AgedSeed(u64, usize),
    /// The same, where the disks of devices wear, too.
    WornSeed(u64, usize),
    /// The same, where devices are set back, too: the world that a swarm makes of it.
    SetBackSeed(u64, usize),
}

impl Scenario {
    /// Its plan, when it is one of a single hub.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        match self.plan {
            Source::Written(plan) => Some(plan()),
            Source::Seed(seed) => Some(Plan::from_seed(seed)),
            Source::Cluster(_)
            | Source::ClusterSeed(..)
            | Source::AgedSeed(..)
            | Source::WornSeed(..)
            | Source::SetBackSeed(..) => None,
        }
    }

    /// What becomes of its world; `print` prints its transcript.
    #[must_use]
    pub fn run(&self, print: bool) -> Report {
        match self.plan {
            Source::Written(plan) => World::new(plan(), print).run(),
            Source::Seed(seed) => World::new(Plan::from_seed(seed), print).run(),
            Source::Cluster(plan) => ClusterWorld::new(plan(), print).run(),
            Source::AgedSeed(seed, hubs) => {
                ClusterWorld::new(ClusterPlan::from_seed(seed, hubs).aged(seed), print).run()
            }
            Source::SetBackSeed(seed, hubs) => {
                let plan = ClusterPlan::from_seed(seed, hubs).aged(seed).worn(seed).set_back(seed);
                ClusterWorld::new(plan, print).run()
            }
            Source::WornSeed(seed, hubs) => {
                let plan = ClusterPlan::from_seed(seed, hubs).aged(seed).worn(seed);
                ClusterWorld::new(plan, print).run()
            }
            Source::ClusterSeed(seed, hubs) => {
                ClusterWorld::new(ClusterPlan::from_seed(seed, hubs), print).run()
            }
        }
    }
}

/// The scenario with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
