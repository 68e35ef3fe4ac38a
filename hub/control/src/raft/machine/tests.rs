//! Snapshots that are built, installed and damaged at the same time.

use std::path::Path;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};

use super::*;
use crate::raft::consensus::log_id;
use crate::raft::opening::{self, Parts};
use crate::raft::shelf::SNAPSHOT;

fn open(directory: &Path) -> Parts {
    opening::open(directory, (1, 7), false).unwrap()
}

/// Lets a node decide the entries up to `last`: each puts its index.
async fn decide(node: &mut Parts, last: u64) {
    let first = node.machine.position.index().map_or(0, |index| index + 1);
    for index in first..=last {
        let put = Command::put("key", index.to_string());
        let batch = coding::encode_batch(&[coding::encode_command(&put)]);
        let entry = Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Batch(batch)) };
        node.log.blocking_append([entry.clone()]).await.unwrap();
        node.machine.apply([entry]).await.unwrap();
    }
}

async fn build(node: &mut Parts) -> Snapshot<Consensus> {
    node.machine.get_snapshot_builder().await.build_snapshot().await.unwrap()
}

/// Brings a snapshot from one node to another, up to where it is installed.
async fn transfer(snapshot: &mut Snapshot<Consensus>, node: &mut Parts) -> Box<SnapshotFile> {
    let mut incoming = node.machine.begin_receiving_snapshot().await.unwrap();
    tokio::io::copy(&mut *snapshot.snapshot, &mut *incoming).await.unwrap();
    incoming
}

async fn close(node: Parts) {
    node.scribe.stop().await;
    drop(node.threads.log.and_then(millrace_journal::decisions::LogWriter::stop));
    drop(node.threads.state.map(std::thread::JoinHandle::join));
}

#[tokio::test]
async fn a_snapshot_that_is_being_built_neither_feeds_nor_replaces_a_newer_one_that_is_installed() {
    for built_first in [false, true] {
        let (ahead, behind) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut leader, mut follower) = (open(ahead.path()), open(behind.path()));
        decide(&mut leader, 9).await;
        decide(&mut follower, 4).await;
        let mut snapshot = build(&mut leader).await;
        let builder = follower.machine.get_snapshot_builder().await;
        let built = builder.export().await.unwrap();
        assert_eq!(built.last_log_id, Some(log_id(1, 4)));
        let incoming = transfer(&mut snapshot, &mut follower).await;
        let shelf = Arc::clone(&builder.shelf);
        if built_first {
            shelf.put(shelf.beside(BUILDING), built.clone()).await.unwrap();
        }
        // As openraft does it: the log is purged beside the installing.
        follower.log.purge(log_id(1, 9)).await.unwrap();
        follower.machine.install_snapshot(&snapshot.meta, incoming).await.unwrap();
        if !built_first {
            shelf.put(shelf.beside(BUILDING), built).await.unwrap();
        }
        let (newest, _) = shelf.open().await.unwrap().unwrap();
        assert_eq!(newest, snapshot.meta);
        assert_eq!(Verified::find(behind.path()).unwrap().meta, newest, "the file is the one it is known by");
        assert_eq!(*follower.shared.store(), *leader.shared.store());
        close(follower).await;
        let follower = open(behind.path());
        assert_eq!(follower.machine.position.applied, snapshot.meta.last_log_id);
        assert_eq!(*follower.shared.store(), *leader.shared.store(), "also on disk");
        assert_eq!(follower.log.last(), Some(log_id(1, 9)));
        close(follower).await;
        close(leader).await;
    }
}

#[tokio::test]
async fn a_damaged_snapshot_is_not_sent_and_another_is_built() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = open(directory.path());
    assert!(node.machine.get_current_snapshot().await.unwrap().is_none());
    decide(&mut node, 3).await;
    build(&mut node).await;
    decide(&mut node, 5).await;
    let whole = node.machine.get_current_snapshot().await.unwrap().unwrap();
    whole.snapshot.verify(&whole.meta).await.unwrap();
    let path = directory.path().join(SNAPSHOT);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = node.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(damaged.meta, whole.meta);
    damaged.snapshot.verify(&damaged.meta).await.unwrap_err();
    let anew = node.machine.get_current_snapshot().await.unwrap().unwrap();
    anew.snapshot.verify(&anew.meta).await.unwrap();
    assert_eq!(anew.meta.last_log_id, Some(log_id(1, 5)));
    std::fs::remove_file(&path).unwrap();
    let again = node.machine.get_current_snapshot().await.unwrap().unwrap();
    again.snapshot.verify(&again.meta).await.unwrap();
    close(node).await;
}

#[tokio::test]
async fn a_snapshot_of_another_position_than_announced_changes_nothing() {
    let (ahead, behind) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut leader, mut follower) = (open(ahead.path()), open(behind.path()));
    decide(&mut leader, 9).await;
    let mut snapshot = build(&mut leader).await;
    snapshot.meta.last_log_id = Some(log_id(1, 8));
    let incoming = transfer(&mut snapshot, &mut follower).await;
    follower.machine.install_snapshot(&snapshot.meta, incoming).await.unwrap_err();
    assert_eq!(follower.machine.position, Position::default());
    assert!(follower.log.failed().is_some() && Verified::find(behind.path()).is_none());
    close(follower).await;
    close(leader).await;
}
