//! The pulse: whether the hub does its work, as `/healthz`, `/readyz` and the watchdog see it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_host::http::Health;
use millrace_host::systemd::{Verdict, Watchdog};

/// What the parts of the hub say about themselves.
#[derive(Debug)]
pub struct Pulse {
    /// The stages that must move.
    pub watchdog: Watchdog,
    serving: AtomicBool,
    full: AtomicBool,
    draining: AtomicBool,
    failed: OnceLock<String>,
}

impl Pulse {
    /// Not serving yet.
    #[must_use]
    pub fn new(watchdog: Watchdog) -> Self {
        Self {
            watchdog,
            serving: AtomicBool::new(false),
            full: AtomicBool::new(false),
            draining: AtomicBool::new(false),
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

    /// Whether agents are sent elsewhere.
    pub fn draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// The process cannot go on.
    pub fn failed(&self, why: &str) {
        // The first reason is the one that counts.
        let _ = self.failed.set(why.to_owned());
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
        self.healthy()?;
        if !self.serving.load(Ordering::Relaxed) {
            return Err("the hub is starting or stopping".to_owned());
        }
        if self.draining.load(Ordering::Relaxed) {
            return Err("the hub drains: agents go elsewhere; `millrace-hub drain --off` ends it".to_owned());
        }
        if self.full.load(Ordering::Relaxed) {
            return Err("the disk budget is used up: raise store.budget or make room".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millrace_host::Clock;
    use millrace_model::Wall;

    use super::*;

    #[test]
    fn readiness_and_health_name_what_is_missing() {
        let (clock, hand) = Clock::manual(Wall(0));
        let pulse = Pulse::new(Watchdog::new(clock));
        assert!(pulse.healthy().is_ok() && pulse.ready().unwrap_err().contains("starting"));
        pulse.serving(true);
        assert_eq!(pulse.ready(), Ok(()));
        pulse.full(true);
        assert!(pulse.healthy().is_ok() && pulse.ready().unwrap_err().contains("budget"));
        pulse.full(false);
        pulse.draining(true);
        assert!(pulse.healthy().is_ok() && pulse.ready().unwrap_err().contains("--off"));
        pulse.draining(false);
        pulse.watchdog.stage("commit").busy(Duration::from_secs(1));
        hand.advance(Duration::from_secs(3));
        assert!(pulse.healthy().unwrap_err().contains("commit") && pulse.ready().is_err());
        pulse.failed("the store is poisoned");
        assert_eq!(pulse.healthy().unwrap_err(), "the store is poisoned");
    }
}
