//! The pulse: whether the hub does its work, as `/healthz`, `/readyz` and the watchdog see it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use millrace_host::http::Health;
use millrace_host::systemd::{Verdict, Watchdog};

use crate::health::commits::Commits;
use crate::health::draining::Draining;

/// Why a witness is never ready for agents.
const WITNESS: &str = "this hub is a witness: it votes, and takes no agents";

/// What a hub may lack and must have before it does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A place in the table of its cluster, as a member of it.
    Table,
    /// A life of its store that counts for something.
    Life,
    /// A vote, and others to decide with: of a witness only. Others take readings without.
    Vote,
}

/// What the parts of the hub say about themselves.
#[derive(Debug)]
pub struct Pulse {
    /// The stages that must move.
    pub watchdog: Watchdog,
    /// When commits were asked for and flushed.
    pub commits: Commits,
    /// Whether agents are sent elsewhere.
    pub draining: Draining,
    serving: AtomicBool,
    full: AtomicBool,
    witness: AtomicBool,
    lacking: Mutex<BTreeMap<Need, String>>,
    judged: Mutex<Option<String>>,
    failed: OnceLock<String>,
}

impl Pulse {
    /// Not serving yet.
    #[must_use]
    pub fn new(watchdog: Watchdog) -> Self {
        Self {
            watchdog,
            commits: Commits::default(),
            draining: Draining::default(),
            serving: AtomicBool::new(false),
            full: AtomicBool::new(false),
            witness: AtomicBool::new(false),
            lacking: Mutex::default(),
            judged: Mutex::default(),
            failed: OnceLock::new(),
        }
    }

    /// Whether agents are taken.
    pub fn serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// Whether the disk budget is used up.
    pub fn full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// This hub only votes.
    pub fn votes_only(&self) {
        self.witness.store(true, Ordering::Relaxed);
    }

    /// Whether it only votes.
    #[must_use]
    pub fn is_witness(&self) -> bool {
        self.witness.load(Ordering::Relaxed)
    }

    /// What is lacking, and why; `None`: it is there.
    pub fn lacks(&self, need: Need, why: Option<String>) {
        match why {
            Some(why) => drop(self.lacking().insert(need, why)),
            None => drop(self.lacking().remove(&need)),
        }
    }

    fn lacking(&self) -> MutexGuard<'_, BTreeMap<Need, String>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the hub finds wrong with itself; see [`crate::health`].
    pub fn judged(&self, problem: Option<String>) {
        *self.judged.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// The process cannot go on.
    pub fn failed(&self, why: &str) {
        // The first reason is the one that counts.
        let _ = self.failed.set(why.to_owned());
    }

    /// Whether it does its work: takes readings, or votes when it is a witness.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn working(&self) -> Result<(), String> {
        self.healthy()?;
        if !self.serving.load(Ordering::Relaxed) {
            return Err("the hub is starting or stopping".to_owned());
        }
        if let Some(why) = self.lacking().values().next() {
            return Err(why.clone());
        }
        if self.draining.is_asked() {
            return Err("the hub drains: agents go elsewhere; `millrace-hub drain --off` ends it".to_owned());
        }
        if self.full.load(Ordering::Relaxed) {
            return Err("the disk budget is used up: raise store.budget or make room".to_owned());
        }
        let judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        judged.map_or(Ok(()), Err)
    }

    fn moving(&self) -> Result<(), String> {
        match self.watchdog.verdict() {
            Verdict::Feed => Ok(()),
            Verdict::Hold { stage, stuck_for, .. } => {
                Err(format!("{stage} has not moved for {} s", stuck_for.as_secs()))
            }
        }
    }
}

impl Health for Pulse {
    fn healthy(&self) -> Result<(), String> {
        self.failed.get().map_or(Ok(()), |why| Err(why.clone()))?;
        self.moving()
    }

    fn ready(&self) -> Result<(), String> {
        self.working()?;
        if self.is_witness() { Err(WITNESS.to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millrace_host::Clock;
    use millrace_model::Wall;

    use super::*;

    #[tokio::test]
    async fn readiness_and_health_name_what_is_missing() {
        let (driver, _inputs) = crate::driver::DriverHandle::fake();
        let (clock, hand) = Clock::manual(Wall(0));
        let pulse = Pulse::new(Watchdog::new(clock));
        assert!(pulse.healthy().is_ok() && pulse.ready().unwrap_err().contains("starting"));
        pulse.serving(true);
        assert_eq!(pulse.ready(), Ok(()));
        pulse.full(true);
        assert!(pulse.healthy().is_ok() && pulse.ready().unwrap_err().contains("budget"));
        pulse.full(false);
        pulse.lacks(Need::Table, Some("not in the table yet".to_owned()));
        assert!(pulse.healthy().is_ok() && pulse.ready().unwrap_err().contains("table"));
        pulse.lacks(Need::Table, None);
        pulse.draining.ask(true, &driver).await;
        assert!(pulse.healthy().is_ok() && pulse.ready().unwrap_err().contains("--off"));
        pulse.draining.ask(false, &driver).await;
        pulse.judged(Some("the disk is slow".to_owned()));
        assert_eq!((pulse.healthy(), pulse.ready()), (Ok(()), Err("the disk is slow".to_owned())));
        pulse.judged(None);
        pulse.watchdog.stage("commit").busy(Duration::from_secs(1));
        hand.advance(Duration::from_secs(3));
        assert!(pulse.healthy().unwrap_err().contains("commit") && pulse.ready().is_err());
        pulse.failed("the store is poisoned");
        assert_eq!(pulse.healthy().unwrap_err(), "the store is poisoned");
    }

    #[test]
    fn a_witness_that_votes_works_and_is_never_ready_for_agents() {
        let pulse = Pulse::new(Watchdog::new(Clock::manual(Wall(0)).0));
        pulse.serving(true);
        pulse.votes_only();
        pulse.lacks(Need::Vote, Some("it has no vote yet".to_owned()));
        assert!(pulse.working().unwrap_err().contains("no vote"));
        pulse.lacks(Need::Vote, None);
        assert_eq!(pulse.working(), Ok(()));
        assert!(pulse.ready().unwrap_err().contains("takes no agents"));
    }
}
