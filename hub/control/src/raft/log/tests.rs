//! The log under a disk that stands still, a queue that is full, and a snapshot that is not there yet.

use super::*;
use millrace_journal::decisions::{DecisionLog, LogOptions, LogWriter};
use openraft::EntryPayload;
use openraft::storage::RaftLogStorageExt;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

fn vote(term: u64, node: NodeId) -> Vote {
    Vote { committed: true, ..Vote::new(term, node) }
}

/// A log in `dir` whose thread takes `queue` steps, and its store.
fn open(dir: &tempfile::TempDir, queue: usize) -> (LogWriter, LogStore) {
    let log = DecisionLog::open(&dir.path().join("log.db"), &LogOptions::default()).unwrap();
    let (known, reader) = (Tail::of(&log).unwrap(), LogReader::open(log.path()).unwrap());
    let writer = LogWriter::start(log, queue).unwrap();
    let store = LogStore::new(1, known, reader, writer.handle());
    (writer, store)
}

/// Makes the disk stand still until the sender is used; returns when it does.
fn hold(writer: &LogWriter) -> SyncSender<()> {
    let (release, held) = sync_channel::<()>(1);
    let (stands, still) = sync_channel(1);
    let reply = move |_| {
        stands.send(()).unwrap();
        held.recv().unwrap();
    };
    writer.handle().queue(vec![LogStep::Committed(Bytes::new())], Box::new(reply)).unwrap();
    still.recv().unwrap();
    release
}

/// The entries on disk.
fn on_disk(dir: &tempfile::TempDir) -> Vec<u64> {
    let reader = LogReader::open(&dir.path().join("log.db")).unwrap();
    reader.read(0, 99, 1 << 20).unwrap().iter().map(|entry| entry.index).collect()
}

#[tokio::test]
async fn a_leaders_own_entries_travel_while_its_disk_writes_and_commit_when_it_has_written() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, mut store) = open(&dir, 64);
    store.save_vote(&vote(3, 2)).await.unwrap();
    store.blocking_append([blank(3, 0)]).await.unwrap();
    assert_eq!(store.durable(), Some(log_id(3, 0)), "of another leader: flushed before it is reported");

    store.save_vote(&vote(4, 1)).await.unwrap();
    let release = hold(&writer);
    store.blocking_append([blank(4, 1), blank(4, 2)]).await.unwrap();
    assert_eq!(store.limited_get_log_entries(0, 9).await.unwrap().len(), 3, "they can be sent");
    assert_eq!(store.durable(), Some(log_id(3, 0)), "no commit beyond this is told");
    let (whole, all) = (store.clone(), store.clone());
    let mut applying = tokio::spawn(async move { whole.flushed_through(2).await });
    let mut answering = tokio::spawn(async move { all.flushed().await });
    let soon = Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, &mut applying).await.is_err(), "nothing is applied");
    assert!(tokio::time::timeout(soon, &mut answering).await.is_err(), "nobody is answered");
    release.send(()).unwrap();
    applying.await.unwrap().unwrap();
    answering.await.unwrap().unwrap();
    assert_eq!(store.durable(), Some(log_id(4, 2)));

    store.truncate(log_id(4, 2)).await.unwrap();
    assert_eq!((store.durable(), store.last()), (Some(log_id(4, 1)), Some(log_id(4, 1))));
    drop(writer.stop());
    // The thread is gone: the next append fails, and so does whoever waits.
    assert!(store.blocking_append([blank(4, 2)]).await.is_err());
}

/// Long enough for what is there; what waits for ever is found by it.
const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn nobody_waits_for_an_append_that_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, mut store) = open(&dir, 1);
    store.blocking_append([blank(3, 0)]).await.unwrap();
    let release = hold(&writer);
    writer.handle().queue(vec![LogStep::Committed(Bytes::new())], Box::new(|_| ())).unwrap();
    assert!(store.blocking_append([blank(3, 1)]).await.is_err(), "the queue is full");
    release.send(()).unwrap();
    tokio::time::timeout(LONG, store.flushed()).await.unwrap().unwrap();
    tokio::time::timeout(LONG, store.flushed_through(1)).await.unwrap().unwrap_err();
    assert!(store.failed().unwrap().contains("queue is full"));
}

#[tokio::test]
async fn a_purge_waits_for_the_snapshot_that_stands_for_the_entries() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, mut store) = open(&dir, 64);
    store.blocking_append([blank(3, 0), blank(3, 1)]).await.unwrap();
    store.covers(0);
    store.purge(log_id(3, 0)).await.unwrap();
    // As openraft does it: while a snapshot up to 9 is being installed.
    store.purge(log_id(3, 9)).await.unwrap();
    assert_eq!(store.last(), Some(log_id(3, 9)));
    let mut behind = store.clone();
    let appending = tokio::spawn(async move { behind.blocking_append([blank(4, 10)]).await });
    store.save_vote(&vote(4, 2)).await.unwrap();
    assert_eq!(on_disk(&dir), [1], "what the state does not have yet");
    store.covers(9);
    tokio::time::timeout(LONG, appending).await.unwrap().unwrap().unwrap();
    assert_eq!(on_disk(&dir), [10]);
    let log = writer.stop().unwrap();
    assert_eq!(log.purged().map(|purged| purged.index), Some(9));
}

#[tokio::test]
async fn who_appends_behind_a_snapshot_that_fails_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (_writer, mut store) = open(&dir, 64);
    store.purge(log_id(3, 9)).await.unwrap();
    let mut behind = store.clone();
    let appending = tokio::spawn(async move { behind.blocking_append([blank(4, 10)]).await });
    store.fail("the snapshot is damaged");
    assert!(tokio::time::timeout(LONG, appending).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn what_the_memory_does_not_have_is_read_from_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, mut store) = open(&dir, 64);
    store.blocking_append([blank(3, 0), blank(3, 1)]).await.unwrap();
    drop(writer.stop());
    drop(store);
    let (_writer, mut store) = open(&dir, 64);
    store.blocking_append([blank(3, 2)]).await.unwrap();
    let read = store.try_get_log_entries(..).await.unwrap();
    assert_eq!(read, [blank(3, 0), blank(3, 1), blank(3, 2)]);
    assert_eq!(store.limited_get_log_entries(1, 3).await.unwrap(), [blank(3, 1), blank(3, 2)]);
    assert_eq!(store.limited_get_log_entries(0, 1).await.unwrap(), [blank(3, 0)]);
}
