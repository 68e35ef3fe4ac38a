//! The lives of this hub's store: what the engine says of it, and another life when it is not what it was.
//!
//! Promise: the engine says once that the store needs another life, and it is begun: tried again while the disk refuses, with the
//! hub not ready meanwhile. A restart would help no disk that is full, and what is full is made room in. Only a poisoned store
//! ends the process.
//! Absent: finding that out (the engine), telling the others ([`crate::cluster::upkeep`]).

use std::sync::Arc;
use std::time::Duration;

use millrace_host::{Backoff, Exit, Failure, Shutdown};
use millrace_journal::{CommitError, WriterHandle};
use millrace_model::Incarnation;
use millrace_model::store::Change;
use tokio::sync::{oneshot, watch};

use super::linking::FromDriver;
use crate::cluster::seat;
use crate::cluster::upkeep::{Own, Reported};
use crate::opening;
use crate::pulse::{Need, Pulse};

/// Pauses between two tries: the disk may have room again in a moment, and asking costs one commit.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_CAP: Duration = Duration::from_secs(30);

/// What it works with.
pub(super) struct Lives {
    pub(super) pulse: Arc<Pulse>,
    pub(super) own: watch::Sender<Own>,
    pub(super) writer: WriterHandle,
    /// For the jitter of its pauses.
    pub(super) seed: u64,
}

impl Lives {
    /// Takes what the engine says of its store, until the shutdown.
    ///
    /// # Errors
    /// When the store is poisoned: the process must end.
    pub(super) async fn hear(
        self,
        mut from: FromDriver,
        reported: Reported,
        shutdown: Shutdown,
    ) -> Result<(), Failure> {
        loop {
            tokio::select! {
                Some(synced) = from.synced.recv() => reported.report(synced),
                Some(reason) = from.relive.recv() => {
                    // What was synced was synced by the life that is over, also what waits to be heard.
                    while from.synced.try_recv().is_ok() {}
                    reported.forget();
                    let backoff = Backoff::new(AGAIN_FIRST, AGAIN_CAP, self.seed);
                    let began = tokio::select! {
                        began = begun(&self.pulse, backoff, || new_life(&self.writer)) => began?,
                        () = shutdown.triggered() => return Ok(()),
                    };
                    tracing::warn!(life = %began, reason, "the store begins a new life, and is filled by the other hubs");
                    self.own.send_modify(|own| own.store = Some(began));
                }
                () = shutdown.triggered() => return Ok(()),
                else => return Ok(()),
            }
        }
    }
}

/// Begins another life, however often it has to be tried.
async fn begun<F: Future<Output = Result<Incarnation, Failure>>>(
    pulse: &Pulse,
    mut backoff: Backoff,
    mut attempt: impl FnMut() -> F,
) -> Result<Incarnation, Failure> {
    loop {
        let failure = match attempt().await {
            Ok(life) => {
                pulse.lacks(Need::Life, None);
                return Ok(life);
            }
            Err(failure) if failure.exit != Exit::Temporary => return Err(failure),
            Err(failure) => failure,
        };
        tracing::error!(%failure, "the store cannot begin a new life yet");
        let why = format!("the store is not what it was, and cannot begin a new life: {}", failure.message);
        pulse.lacks(Need::Life, Some(why));
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// One try. Fails with [`Exit::Temporary`] when the next one may go well.
async fn new_life(writer: &WriterHandle) -> Result<Incarnation, Failure> {
    let passing = |error: &dyn std::fmt::Display| Failure::new(Exit::Temporary, error.to_string());
    let life = seat::fresh_incarnation().map_err(|error| passing(&error))?;
    let (send, done) = oneshot::channel();
    let asked = writer.visit(move |store| {
        let change = Change::Remember { name: opening::LIFE, value: life.bits().to_be_bytes().to_vec() };
        // Fails only when nobody waits any more.
        let _ = send.send(store.commit(0, &[change]).map(|_| ()));
    });
    asked.map_err(|error| passing(&error))?;
    // The journal's thread ends with the process only.
    match done.await.map_err(|error| Failure::internal(&error))? {
        Ok(()) => Ok(life),
        Err(CommitError::Refused(refusal)) => Err(passing(&refusal)),
        Err(error) => Err(Failure::new(Exit::Io, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use millrace_host::Clock;
    use millrace_host::http::Health;
    use millrace_host::systemd::Watchdog;

    use super::*;

    #[tokio::test]
    async fn a_new_life_is_tried_again_until_the_disk_takes_it_and_the_hub_is_not_ready_meanwhile() {
        let pulse = Pulse::new(Watchdog::new(Clock::system()));
        pulse.serving(true);
        let tries = Cell::new(0);
        let backoff = || Backoff::new(Duration::from_millis(1), Duration::from_millis(2), 1);
        let life = begun(&pulse, backoff(), || {
            tries.set(tries.get() + 1);
            let (tried, ready) = (tries.get(), pulse.ready());
            async move {
                match tried {
                    1 => assert_eq!(ready, Ok(())),
                    _ => assert!(ready.unwrap_err().contains("new life: the disk is full")),
                }
                if tried < 4 {
                    return Err(Failure::new(Exit::Temporary, "the disk is full"));
                }
                Ok(Incarnation::new(7))
            }
        });
        assert_eq!(life.await, Ok(Incarnation::new(7)));
        assert_eq!((tries.get(), pulse.ready()), (4, Ok(())));
        let poisoned =
            begun(&pulse, backoff(), || async { Err(Failure::new(Exit::Io, "the store is poisoned")) });
        assert_eq!(poisoned.await.unwrap_err().exit, Exit::Io);
    }
}
