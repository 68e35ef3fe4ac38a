//! Attesting: compares what a device states with what is here, and signs what is equal.
//!
//! Promise: nothing is signed that was not read and compared for this one question; at most [`AT_ONCE_MAX`] are looked at.
//! Absent: how a journal is compared (the engine's `attesting`); between hubs ([`crate::http`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_host::Clock;
use millrace_hub_engine::attesting::{claimed, compared};
use millrace_link::{Identity, Signed};
use millrace_model::receipt::Statement;
use millrace_model::{DeviceId, HubId};
use millrace_wire::limits::TEXT_CHARS_MAX;
use millrace_wire::{Attest, Attested, Finding};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::reading::Reading;

/// Questions of devices that are looked at at once. Further ones wait, and then are refused.
pub const AT_ONCE_MAX: usize = 4;

/// How long a question waits for its turn: shorter than its device does.
const TURN_PATIENCE: Duration = Duration::from_secs(3);

/// Attests. Cheap to clone.
#[derive(Clone)]
pub struct Attesting {
    reading: Reading,
    identity: watch::Receiver<Identity>,
    clock: Clock,
    places: Arc<Semaphore>,
}

impl Attesting {
    /// Reads by `reading`, signs as `identity`.
    #[must_use]
    pub fn new(reading: Reading, identity: watch::Receiver<Identity>, clock: Clock) -> Self {
        Self { reading, identity, clock, places: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// This hub as it signs now.
    pub(crate) fn identity(&self) -> Identity {
        self.identity.borrow().clone()
    }

    /// Answers a device, which is who its certificate says.
    ///
    /// # Errors
    /// What no honest device states.
    pub async fn answer(&self, device: DeviceId, attest: Attest) -> Result<Attested, String> {
        let Some(hub) = self.identity().own().hub() else {
            return Ok(self.refused(attest.number, "this hub has no certificate of a hub"));
        };
        let ascending = attest.stated.is_sorted_by(|one, next| one.journal < next.journal);
        if !ascending {
            return Err("it states journals twice, or in disorder".to_owned());
        }
        let claims = attest.stated.iter().map(|stated| claimed(stated).map(|claim| (stated.clone(), claim)));
        let claims = claims.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let Ok(Ok(_place)) = timeout(TURN_PATIENCE, self.places.acquire()).await else {
            return Ok(self.refused(attest.number, "it compares with as many devices as it may: try again"));
        };
        let findings = self.reading.run(move |reader| {
            let each = claims.iter().map(|(stated, claim)| {
                let journal = stated.journal.of(device);
                compared(stated, claim, |about| reader.tell(&journal, about))
            });
            each.collect()
        });
        match findings.await {
            Ok(findings) => Ok(self.signed(device, hub, &attest, findings)),
            Err(error) => Ok(self.refused(attest.number, &error.to_string())),
        }
    }

    fn signed(&self, device: DeviceId, hub: HubId, attest: &Attest, findings: Vec<Finding>) -> Attested {
        let at = self.clock.wall();
        let part = match attest.statement(device, (hub, at), &findings) {
            Some(statement) => match self.sign(&statement) {
                Ok(part) => Some(part),
                Err(why) => return self.refused(attest.number, &why),
            },
            None => None,
        };
        let (signature, certificate) = part.map_or_else(Default::default, |part| {
            (Bytes::copy_from_slice(part.signature()), Bytes::copy_from_slice(part.certificate()))
        });
        Attested { number: attest.number, at, findings, signature, certificate, refused: String::new() }
    }

    /// Signs, and logs that it did: who answers for what should be found again.
    pub(crate) fn sign(&self, statement: &Statement) -> Result<Signed, String> {
        let part = self.identity().sign(statement).map_err(|error| error.to_string())?;
        let [asked, answered] = statement.holders.map(|holder| holder.who);
        tracing::info!(%asked, %answered, records = statement.records(), "a receipt was signed");
        Ok(part)
    }

    fn refused(&self, number: u64, why: &str) -> Attested {
        Attested {
            number,
            at: self.clock.wall(),
            findings: Vec::new(),
            signature: Bytes::new(),
            certificate: Bytes::new(),
            refused: cut(why),
        }
    }
}

/// `text`, as much of it as a frame takes.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_CHARS_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
