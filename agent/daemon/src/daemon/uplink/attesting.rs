//! What the uplink itself asks of the present hub, beside what the engine says: whether it has the same records.
//!
//! Promise: one question at a time; whoever asked hears of the session's end, too.

use std::sync::PoisonError;
use std::time::Duration;

use millrace_link::{Connection, Identity};
use millrace_model::HubId;
use millrace_wire::{Attest, Attested, Frame};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Uplink;

/// How long a hub may take: it reads some pages, and the road may be a satellite.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to the present hub, and who waits for its answer.
pub(super) struct Aside {
    frames: mpsc::Sender<Frame>,
    hub: HubId,
    name: String,
    waiting: Option<(u64, oneshot::Sender<Attested>)>,
}

/// An answer, and whose.
#[derive(Debug)]
pub struct Met {
    /// The hub, by its certificate.
    pub hub: HubId,
    /// Its name there.
    pub name: String,
    /// What it says.
    pub answer: Attested,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// There is no session, or it ended.
    Alone,
    /// The hub with this name does not keep this device's readings, or not all of them yet.
    Incomplete(String),
    /// It did not answer in time.
    Silent,
}

impl Uplink {
    /// This device's identity as it stands now.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the present hub.
    ///
    /// # Errors
    /// When there is none that can say, or it does not.
    pub async fn attest(&self, attest: Attest) -> Result<Met, Unmet> {
        let (hub, name, frames, answered) = self.ask_aside(attest.number)?;
        let exchange = async {
            frames.send(Frame::Attest(attest)).await.map_err(|_| Unmet::Alone)?;
            drop(frames);
            answered.await.map_err(|_| Unmet::Alone)
        };
        let answer = timeout(PATIENCE, exchange).await.map_err(|_| Unmet::Silent)??;
        Ok(Met { hub, name, answer })
    }

    fn ask_aside(
        &self,
        number: u64,
    ) -> Result<(HubId, String, mpsc::Sender<Frame>, oneshot::Receiver<Attested>), Unmet> {
        let here = self.present().as_ref().filter(|present| present.welcomed).map(|present| present.complete);
        let complete = here.ok_or(Unmet::Alone)?;
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        let aside = aside.as_mut().ok_or(Unmet::Alone)?;
        if !complete {
            return Err(Unmet::Incomplete(aside.name.clone()));
        }
        let (answer, answered) = oneshot::channel();
        aside.waiting = Some((number, answer));
        Ok((aside.hub, aside.name.clone(), aside.frames.clone(), answered))
    }

    /// A session begins, or ends: then whoever waits hears of it.
    pub(super) fn keep_aside(&self, way: Option<(&Connection, &mpsc::Sender<Frame>)>) {
        let aside = way.and_then(|(connection, frames)| {
            let peer = connection.peer();
            Some(Aside { frames: frames.clone(), hub: peer.hub()?, name: peer.name.clone(), waiting: None })
        });
        *self.aside.lock().unwrap_or_else(PoisonError::into_inner) = aside;
    }

    /// The hub answered.
    pub(super) fn attested(&self, answer: Attested) {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting =
            aside.as_mut().and_then(|aside| aside.waiting.take_if(|(number, _)| *number == answer.number));
        if let Some((_, waiting)) = waiting {
            // Whoever asked may have gone.
            let _ = waiting.send(answer);
        }
    }
}
