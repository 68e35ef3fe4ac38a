//! Many seeds at once.
//!
//! Promise: the outcome of a seed does not depend on how many run beside it. Failures are reported by seed, ascending.
//! Absent: printing; the program does that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::cluster::plan::hubs_of;
use crate::cluster::truth::Wear;
use crate::{ClusterPlan, ClusterWorld, Plan, Report, World};

/// Outcomes that wait to be reported.
const OUTCOMES_MAX: usize = 64;

/// What a swarm came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Seeds whose world kept every promise.
    pub passed: u64,
    /// Seeds whose world did not, with their reports.
    pub failed: Vec<(u64, Report)>,
    /// Publications that publishers were told of, in all worlds.
    pub told: u64,
    /// Things that went wrong, in all worlds.
    pub faults: u64,
    /// What happened to the stores of hubs, in all worlds.
    pub wear: Wear,
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, print: bool) -> Report {
    match hubs_of(seed) {
        1 => World::new(Plan::from_seed(seed), print).run(),
        hubs => {
            ClusterWorld::new(ClusterPlan::from_seed(seed, hubs).aged(seed).worn(seed).set_back(seed), print)
                .run()
        }
    }
}

/// Runs `count` seeds from `first` on, `jobs` at once; `after_each` hears of each seed as it ends.
pub fn run(first: u64, count: u64, jobs: usize, mut after_each: impl FnMut(u64, &Report)) -> Outcome {
    let next = AtomicU64::new(0);
    let (sender, outcomes) = mpsc::sync_channel(OUTCOMES_MAX);
    let mut outcome = Outcome::default();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let seed = first + at;
                    if sender.send((seed, run_seed(seed, false))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (seed, report) in outcomes {
            after_each(seed, &report);
            outcome.told += report.told as u64;
            outcome.faults += report.faults as u64;
            outcome.wear += report.wear;
            if report.violation.is_some() {
                outcome.failed.push((seed, report));
            } else {
                outcome.passed += 1;
            }
        }
    });
    outcome.failed.sort_by_key(|(seed, _)| *seed);
    outcome
}
