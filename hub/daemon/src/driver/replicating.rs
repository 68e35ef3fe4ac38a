//! What the driver does for replication: ways to other hubs, records that are read for them, and what control is to be told.
//!
//! Promise: nothing here waits. Reading for other hubs has connections of its own, so that it delays neither sessions nor queries;
//! damage that it finds is moved aside and reads as "not here".
//! Absent: decisions (the engine), streams (`peers`).

use millrace_hub_engine::{Event, LinkId, Synced};
use millrace_journal::{ReadError, Reader};
use millrace_model::{JournalId, NodeId, Run, SeqRange};
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
    /// What this hub has synced. Dropped when full: it is said again.
    pub synced: mpsc::Sender<Synced>,
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
        // Where the other hub is at fault, an alarm says so; a hub that stops is none.
        tracing::info!(guest, reason, "replication from another hub is cut off");
        if let Some(way) = self.guests.get(&guest) {
            way.end(reason);
        }
    }

    pub(super) fn synced(&self, synced: Synced) {
        // Full: it is said again. Closed: there is no cluster to tell.
        let _ = self.parts.cluster.synced.try_send(synced);
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

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use millrace_journal::{Options, Store, Writer};
    use millrace_model::store::Change;
    use millrace_model::{DeviceId, Encoding, Incarnation, Lane, Partition, Record, Topic, Wall, block};

    use super::*;
    use crate::driver::input::{Answers, Input};

    pub(in crate::driver) fn journal() -> JournalId {
        JournalId {
            device: DeviceId::from_bytes([7; 16]),
            incarnation: Incarnation::new(5),
            lane: Lane::Normal,
        }
    }

    fn range(first: u64, last: u64) -> SeqRange {
        SeqRange::new(first, last).unwrap()
    }

    /// A store with five records, each committed by itself, some of which are damaged afterwards.
    pub(in crate::driver) fn store(path: &std::path::Path, damaged: &[u64]) -> Store {
        let mut store = Store::open(path, &Options::hub()).unwrap();
        for seq in 1..=5_u64 {
            let topic = Topic::new("a/b").unwrap();
            let payload = Bytes::from(format!("needle {seq} in the hay"));
            let record = Record::data(topic, payload, Wall(0), 0);
            let body = Bytes::from(block::encode(&[record]));
            let run = Run {
                journal: journal(),
                first: seq,
                count: 1,
                encoding: Encoding::Plain,
                body,
                segment: None,
            };
            store.commit(seq, &[Change::Receive(run)]).unwrap();
        }
        drop(store);
        let mut bytes = std::fs::read(path).unwrap();
        for seq in damaged {
            let needle = format!("needle {seq}").into_bytes();
            let found: Vec<usize> = bytes
                .windows(needle.len())
                .enumerate()
                .filter(|(_, w)| *w == needle)
                .map(|(at, _)| at)
                .collect();
            assert!(!found.is_empty());
            found.into_iter().for_each(|at| bytes[at] ^= 1);
        }
        std::fs::write(path, bytes).unwrap();
        Store::open(path, &Options::hub()).unwrap()
    }

    fn numbers(runs: &[Run]) -> Vec<u64> {
        runs.iter().flat_map(|run| run.first..run.first + u64::from(run.count)).collect()
    }

    #[test]
    fn a_load_goes_around_damage_and_says_only_of_that_that_it_is_not_here() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let store = store(&path, &[1, 2, 4]);
        let reader = Reader::open(&path, &Options::hub()).unwrap();
        let load = |first, last| {
            let (runs, damage) = load_around(&reader, &journal(), range(first, last), 1 << 20).unwrap();
            (numbers(&runs), damage.iter().map(|damage| damage.range.first()).collect::<Vec<_>>())
        };
        assert_eq!(
            load(1, 5),
            (vec![3], vec![1, 2, 4]),
            "what follows the first whole records comes with the next load"
        );
        assert_eq!(load(3, 5), (vec![3], vec![4]));
        assert_eq!(load(4, 5), (vec![5], vec![4]));
        assert_eq!(load(4, 4), (vec![], vec![4]), "it is not here");
        assert_eq!(load(6, 9), (vec![], vec![]));
        drop(store);
    }

    #[tokio::test]
    async fn loads_run_over_connections_of_their_own_and_damage_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let opened = store(&path, &[1]);
        let reader = Reader::open(&path, &Options::hub()).unwrap();
        let writer = Writer::start(opened, 16).unwrap();
        let mut driver = crate::driver::tests::driver(dir.path(), &writer).await;
        let damages = Answers::new().damages();
        driver.parts.loading = Reading::new(vec![reader], writer.handle(), damages);
        let load = Load { node: NodeId(2), journal: journal(), range: range(1, 5), bytes_max: 1 << 20 };
        driver.loads.push_back(load);
        driver.start_loads();
        assert_eq!((driver.loading, driver.loads.len()), (0, 0), "nobody is there to be sent anything");

        let (way, mut end) = Way::new();
        driver.take(Input::PeerUp { node: NodeId(2), way });
        driver.loads.push_back(load);
        driver.start_loads();
        let Some(Answer::Loaded { runs, .. }) = driver.answers.recv().await else { panic!("a load") };
        assert_eq!(numbers(runs.as_ref().unwrap()), [2, 3, 4, 5]);
        driver.loaded(load, runs);
        assert_eq!(driver.loading, 0);
        let (send, state) = tokio::sync::oneshot::channel();
        writer.handle().visit(move |store| drop(send.send(store.journal(&journal())))).unwrap();
        let present = state.await.unwrap().unwrap().present;
        assert!(!present.contains(1) && present.contains(2), "moved aside: {present:?}");

        driver.loaded(load, Err("the disk".to_owned()));
        assert!(end.ended().await.contains("cannot read"));
        driver.tell(NodeId(2), PeerFrame::Told(told()));
        driver.tell(NodeId(9), PeerFrame::Told(told()));
        assert_eq!(end.next().await, Some(PeerFrame::Told(told())));
        driver.take(Input::Event(Event::PeerDown { node: NodeId(2) }));
        assert!(driver.peers.is_empty() && end.next().await.is_none());
        drop(writer.stop());
    }

    fn told() -> millrace_wire::peer::Told {
        millrace_wire::peer::Told { store: Incarnation::new(1), version: 1 }
    }

    #[tokio::test]
    async fn guests_are_answered_and_dismissed_by_name_and_control_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("journal.db"), &Options::hub()).unwrap();
        let writer = Writer::start(store, 1).unwrap();
        let mut driver = crate::driver::tests::driver(dir.path(), &writer).await;
        let (synced, mut heard) = mpsc::channel(1);
        let (relive, mut lives) = mpsc::channel(1);
        driver.parts.cluster = ToCluster { synced, relive };
        let (way, mut end) = Way::new();
        driver.take(Input::GuestUp { guest: 7, node: NodeId(2), way });
        driver.answer_guest(7, PeerFrame::Told(told()));
        driver.answer_guest(8, PeerFrame::Told(told()));
        while end.next().await != Some(PeerFrame::Told(told())) {}
        driver.dismiss(7, "it broke the protocol");
        assert_eq!(end.ended().await, "it broke the protocol");
        driver.take(Input::Event(Event::GuestDown { guest: 7 }));
        assert!(driver.guests.is_empty());
        let has = |partition| Synced { partitions: [(Partition(partition), 1)].into(), ..Synced::default() };
        driver.synced(has(3));
        driver.synced(has(4));
        driver.relive("an old copy".to_owned());
        assert_eq!(heard.recv().await, Some(has(3)));
        assert!(heard.try_recv().is_err(), "the second did not fit, and is said again by the engine");
        assert_eq!(lives.recv().await.as_deref(), Some("an old copy"));
        drop(writer.stop());
    }
}
