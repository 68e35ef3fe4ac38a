//! What the driver does for replication: ways to other hubs, records that are read for them, and what control is to be told.
//!
//! Promise: nothing here waits. Reading for other hubs has connections of its own, so that it delays neither sessions nor queries;
//! damage that it finds is moved aside and reads as "not here".
//! Absent: decisions (the engine), streams (`peers`).

use millrace_hub_engine::{Event, LinkId};
use millrace_journal::{ReadError, Reader};
use millrace_model::{JournalId, NodeId, Partition, Run, SeqRange};
use millrace_wire::PeerFrame;
use tokio::sync::mpsc;

use super::input::{Answer, Load};
use super::way::Way;
use super::{Driver, LOADS_RUNNING_MAX};
use crate::reading::Reading;

/// Pieces of damage that one load goes around. A range with more of them is read again, from behind those that were moved aside.
const DAMAGE_AROUND_MAX: usize = 64;

/// How the driver speaks to the room that speaks to control.
#[derive(Debug, Clone)]
pub struct ToCluster {
    /// This hub holds everything that enough replicas of these partitions held. Dropped when full: it is said again.
    pub synced: mpsc::Sender<Vec<Partition>>,
    /// This store is not what it was, and needs a new incarnation; why, for people. Dropped when full: one is enough.
    pub relive: mpsc::Sender<String>,
}

/// What was found damaged on the way.
struct Damage {
    range: SeqRange,
    what: String,
}

impl ToCluster {
    /// For a hub that has no cluster: nobody listens.
    #[must_use]
    pub fn nobody() -> Self {
        Self { synced: mpsc::channel(1).0, relive: mpsc::channel(1).0 }
    }
}

impl Driver {
    pub(super) fn peer_up(&mut self, node: NodeId, way: Way) {
        if let Some(former) = self.peers.insert(node, way) {
            former.end("a newer stream stands");
        }
        self.feed(Event::PeerUp { node });
    }

    pub(super) fn guest_up(&mut self, guest: LinkId, node: NodeId, way: Way) {
        self.guests.insert(guest, way);
        self.feed(Event::GuestUp { guest, node });
    }

    pub(super) fn tell(&self, node: NodeId, frame: PeerFrame) {
        if let Some(way) = self.peers.get(&node)
            && !way.send(frame)
        {
            tracing::warn!(%node, "replication to another hub is cut off: it does not read what it is sent");
        }
    }

    pub(super) fn answer_guest(&self, guest: LinkId, frame: PeerFrame) {
        if let Some(way) = self.guests.get(&guest)
            && !way.send(frame)
        {
            tracing::warn!(
                guest,
                "replication from another hub is cut off: it does not read what it is sent"
            );
        }
    }

    pub(super) fn part(&self, node: NodeId, reason: &str) {
        tracing::error!(%node, reason, "another hub broke the protocol: replication to it is cut off");
        if let Some(way) = self.peers.get(&node) {
            way.end(reason);
        }
    }

    pub(super) fn dismiss(&self, guest: LinkId, reason: &str) {
        tracing::error!(guest, reason, "replication from another hub is cut off");
        if let Some(way) = self.guests.get(&guest) {
            way.end(reason);
        }
    }

    pub(super) fn synced(&self, partitions: Vec<Partition>) {
        // Full: it is said again. Closed: there is no cluster to tell.
        let _ = self.parts.cluster.synced.try_send(partitions);
    }

    pub(super) fn relive(&self, reason: String) {
        tracing::error!(reason, "this store is not what it was: it needs a new incarnation");
        let _ = self.parts.cluster.relive.try_send(reason);
    }

    pub(super) fn start_loads(&mut self) {
        while self.loading < LOADS_RUNNING_MAX
            && let Some(load) = self.loads.pop_front()
        {
            if !self.peers.contains_key(&load.node) {
                continue;
            }
            self.loading += 1;
            let (reading, answer) = (self.parts.loading.clone(), self.answer.clone());
            tokio::spawn(async move {
                let runs = read_runs(&reading, load).await;
                // Fails only when the driver has ended.
                let _ = answer.send(Answer::Loaded { load, runs }).await;
            });
        }
    }

    pub(super) fn loaded(&mut self, load: Load, runs: Result<Vec<Run>, String>) {
        self.loading = self.loading.saturating_sub(1);
        let Load { node, journal, range, .. } = load;
        match runs {
            Ok(runs) => self.feed(Event::Loaded { node, journal, range, runs }),
            // Nothing can be said of these records: neither that they are here nor that they are not.
            Err(why) => {
                tracing::error!(%node, %journal, %range, why, "records for another hub could not be read");
                if let Some(way) = self.peers.get(&node) {
                    way.end("this hub cannot read its own records now");
                }
            }
        }
    }
}

/// Reads what is here of a range.
async fn read_runs(reading: &Reading, load: Load) -> Result<Vec<Run>, String> {
    let Load { journal, range, bytes_max, .. } = load;
    let read = reading.run(move |reader| load_around(reader, &journal, range, bytes_max)).await;
    let (runs, damage) = read.map_err(|error| error.to_string())?;
    for damage in damage {
        reading.move_aside(journal, damage.range, &damage.what);
    }
    Ok(runs)
}

/// What is here of a range, as far as it is whole: from its beginning to the first damage, or, when that stands at the beginning, from
/// behind it on. So what is missing in the answer before its last record is truly not here.
fn load_around(
    reader: &Reader,
    journal: &JournalId,
    range: SeqRange,
    bytes_max: usize,
) -> Result<(Vec<Run>, Vec<Damage>), ReadError> {
    let (mut rest, mut damage) = (Some(range), Vec::new());
    while let Some(left) = rest {
        match reader.load(journal, left, bytes_max) {
            Ok(runs) => return Ok((runs, damage)),
            Err(ReadError::Damaged { range: bad, what, .. }) if damage.len() < DAMAGE_AROUND_MAX => {
                damage.push(Damage { range: bad, what });
                let before = SeqRange::new(left.first(), bad.first().saturating_sub(1));
                if let Some(before) = before.filter(|_| bad.first() > left.first()) {
                    let runs = reader.load(journal, before, bytes_max)?;
                    if !runs.is_empty() {
                        return Ok((runs, damage));
                    }
                }
                rest = SeqRange::new(bad.last().saturating_add(1).max(left.first() + 1), left.last());
            }
            Err(error) => return Err(error),
        }
    }
    Ok((Vec::new(), damage))
}
