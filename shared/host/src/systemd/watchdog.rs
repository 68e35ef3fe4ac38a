//! `Watchdog`: the task that feeds systemd's watchdog for as long as the stages move.
//!
//! Promise: the task runs on the daemon's own runtime, so a runtime that hangs feeds nothing either.
//! Absent: the decision itself, which is [`Vigil`]'s.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

use super::vigil::{StageName, Verdict, Vigil};
use crate::clock::Clock;
use crate::lifecycle::Shutdown;

/// The watchdog is fed this many times per `WatchdogSec`; systemd advises two, three forgives one
/// feeding that a busy machine delays.
const FEEDINGS_PER_PERIOD: u32 = 3;

/// Watches named stages and feeds the service manager's watchdog while they move.
#[derive(Debug, Clone)]
pub struct Watchdog {
    vigil: Arc<Mutex<Vigil>>,
    clock: Clock,
}

impl Watchdog {
    /// A watchdog that knows no stage yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { vigil: Arc::default(), clock }
    }

    /// The handle through which a stage reports. Handles of the same name speak for the same stage.
    #[must_use]
    pub fn stage(&self, stage: StageName) -> Progress {
        Progress { stage, watchdog: self.clone() }
    }

    /// The decision at this moment, also shown by `/healthz`.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let now = self.clock.moment();
        self.with(|vigil| vigil.verdict(now))
    }

    /// Feeds the watchdog until the shutdown starts. Returns at once where the unit sets no
    /// `WatchdogSec`. While stopping, `TimeoutStopSec` guards the process instead.
    pub async fn run(self, shutdown: Shutdown) {
        let Some(period) = sd_notify::watchdog_enabled() else {
            tracing::debug!("the service manager asks for no watchdog");
            return;
        };
        self.feed(period, shutdown, || {
            if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
                tracing::warn!(%error, "cannot feed the watchdog");
            }
        })
        .await;
    }

    async fn feed(&self, period: Duration, shutdown: Shutdown, mut give: impl FnMut()) {
        let mut rounds = tokio::time::interval((period / FEEDINGS_PER_PERIOD).max(Duration::from_millis(1)));
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut held = false;
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = shutdown.triggered() => return,
            }
            match self.verdict() {
                Verdict::Feed => {
                    if std::mem::take(&mut held) {
                        tracing::info!("all stages move again: the watchdog is fed");
                    }
                    give();
                }
                Verdict::Hold { stage, stuck_for, deadline } => {
                    if !std::mem::replace(&mut held, true) {
                        tracing::error!(
                            stage,
                            ?stuck_for,
                            ?deadline,
                            "a stage does not move: the watchdog is not fed"
                        );
                    }
                }
            }
        }
    }

    /// A poisoned lock means that a thread ended inside one of the short sections below; the map in
    /// it is whole all the same.
    fn with<R>(&self, act: impl FnOnce(&mut Vigil) -> R) -> R {
        act(&mut self.vigil.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How one stage reports to the watchdog. Cheap to clone; each call takes one short lock.
#[derive(Debug, Clone)]
pub struct Progress {
    stage: StageName,
    watchdog: Watchdog,
}

impl Progress {
    /// The stage has moved: a batch is committed, an ack has arrived.
    pub fn tick(&self) {
        let now = self.watchdog.clock.moment();
        self.watchdog.with(|vigil| vigil.tick(self.stage, now));
    }

    /// The stage has work and will move within `deadline` of now, or of its last progress when it was
    /// busy already.
    pub fn busy(&self, deadline: Duration) {
        let now = self.watchdog.clock.moment();
        self.watchdog.with(|vigil| vigil.busy(self.stage, deadline, now));
    }

    /// The stage has nothing to do, or nothing that depends on this process (no link, no broker).
    pub fn idle(&self) {
        self.watchdog.with(|vigil| vigil.idle(self.stage));
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::Wall;

    use super::*;

    #[tokio::test]
    async fn the_watchdog_goes_hungry_while_a_stage_is_stuck() {
        let (clock, hand) = Clock::manual(Wall(0));
        let watchdog = Watchdog::new(clock);
        let commit = watchdog.stage("commit");
        let (fed_out, mut fed) = tokio::sync::mpsc::channel(64);
        let shutdown = Shutdown::manual();
        let task = tokio::spawn({
            let (watchdog, shutdown) = (watchdog.clone(), shutdown.clone());
            async move {
                let give = || {
                    let _ = fed_out.try_send(());
                };
                watchdog.feed(Duration::from_millis(3), shutdown, give).await;
            }
        });

        fed.recv().await.unwrap();
        commit.busy(Duration::from_secs(1));
        fed.recv().await.unwrap();
        hand.advance(Duration::from_secs(2));
        assert!(matches!(watchdog.verdict(), Verdict::Hold { stage: "commit", .. }));
        commit.tick();
        assert_eq!(watchdog.verdict(), Verdict::Feed);
        while fed.try_recv().is_ok() {}
        fed.recv().await.unwrap();

        commit.idle();
        shutdown.trigger();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn without_a_service_manager_the_task_ends_by_itself() {
        let (clock, _hand) = Clock::manual(Wall(0));
        if std::env::var_os("WATCHDOG_USEC").is_none() {
            Watchdog::new(clock).run(Shutdown::manual()).await;
        }
    }
}
