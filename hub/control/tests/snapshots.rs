//! Snapshots that are damaged, that arrive damaged, and whose installing was broken off; a directory that was set back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod cluster;

use std::path::Path;
use std::time::Duration;

use cluster::{Cluster, Spoil};
use millrace_hub_control::kv::{Command, Store};
use millrace_hub_control::{Level, NodeId, Options, Role};
use tokio::time::sleep;

const SNAPSHOT: &str = "control.snapshot";

/// Few entries between snapshots and few behind them, so that a node that was away needs one.
fn options() -> Options {
    Options { snapshot_entries: 50, keep_entries: 5, ..Options::lan() }
}

/// Bytes of a value with which a snapshot takes several pieces.
const SEVERAL_PIECES: usize = 5_000;

/// The leader, and a node that follows it.
fn leader_and_follower(cluster: &Cluster) -> (NodeId, NodeId) {
    let leader = cluster.leader().unwrap();
    (leader, if leader == 3 { 1 } else { 3 })
}

/// Lets the others decide so much that a node that is away finds the entries it lacks purged everywhere.
async fn leave_behind(cluster: &Cluster, away: NodeId, value_bytes: usize) {
    let leader = cluster.wait_for_leader().await;
    let before = cluster.node(leader).metrics().last_log.unwrap();
    for n in 0..130 {
        let put = Command::put(format!("key{n}"), "x".repeat(value_bytes));
        cluster.node(leader).propose(&put).await.unwrap();
    }
    for (id, _) in cluster.nodes() {
        if id != away {
            let purged = || cluster.node(id).metrics().purged.filter(|purged| *purged > before);
            cluster.wait_for("a purge", purged).await;
        }
    }
}

async fn agree(cluster: &Cluster) {
    cluster.settle().await;
    let mut states: Vec<Store> = Vec::new();
    for (id, node) in cluster.nodes() {
        assert_ne!(node.metrics().role, Role::Stopped, "node {id}");
        states.push(node.read(Level::Local, Clone::clone).await.unwrap().value);
    }
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]));
}

fn copy(from: &Path, to: &Path, names: &[&str]) {
    std::fs::create_dir_all(to).unwrap();
    for name in names {
        for suffix in ["", "-wal", "-shm"] {
            let name = format!("{name}{suffix}");
            let _ = std::fs::remove_file(to.join(&name));
            if from.join(&name).exists() {
                std::fs::copy(from.join(&name), to.join(&name)).unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_damaged_at_the_leader_is_built_anew_and_ends_nobody() {
    let cluster = Cluster::founded(21, 3, options()).await;
    let (leader, away) = leader_and_follower(&cluster);
    let others: Vec<NodeId> = (1..=3).filter(|id| *id != away).collect();
    cluster.part(&[away], &others);
    leave_behind(&cluster, away, SEVERAL_PIECES).await;
    for id in others {
        let path = cluster.seat(id).directory.join(SNAPSHOT);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    cluster.heal();
    agree(&cluster).await;
    assert_eq!(cluster.leader(), Some(leader));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_arrives_damaged_is_refused_and_sent_again() {
    let cluster = Cluster::founded(22, 3, options()).await;
    let (_, away) = leader_and_follower(&cluster);
    let others: Vec<NodeId> = (1..=3).filter(|id| *id != away).collect();
    cluster.part(&[away], &others);
    leave_behind(&cluster, away, SEVERAL_PIECES).await;
    cluster.with(|state| state.spoil = Some(Spoil { to: away, left: 3 }));
    cluster.heal();
    agree(&cluster).await;
    assert_eq!(cluster.with(|state| state.spoil.as_ref().unwrap().left), 0, "it arrived damaged");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_crashed_between_the_steps_of_an_install_catches_up() {
    // What is new when the process ends: the state is first, then its file, then the log is purged. An older program began
    // with the file.
    let steps: [&[&str]; 4] = [&[], &["control-state.db"], &["control-state.db", SNAPSHOT], &[SNAPSHOT]];
    for (round, new) in steps.into_iter().enumerate() {
        let cluster = Cluster::founded(30 + round as u64, 3, options()).await;
        let (leader, away) = leader_and_follower(&cluster);
        let directory = cluster.seat(away).directory;
        let all = ["control-log.db", "control-state.db", SNAPSHOT];
        let kept = tempfile::tempdir().unwrap();
        let (before, after) = (kept.path().join("before"), kept.path().join("after"));
        for n in 0..60 {
            cluster.node(leader).propose(&Command::put("early", n.to_string())).await.unwrap();
        }
        cluster.settle().await;
        cluster.wait_for("a purge", || cluster.node(away).metrics().purged).await;
        cluster.close(away).await;
        sleep(Duration::from_secs(1)).await;
        copy(&directory, &before, &all);
        leave_behind(&cluster, away, 100).await;
        // It takes the snapshot over, which comes in one piece, and ends before anybody hears of it.
        (1..=3).for_each(|other| cluster.cut_one_way(away, other));
        cluster.open(away).await;
        let decided = cluster.node(leader).metrics().purged;
        cluster
            .wait_for("a snapshot", || Some(()).filter(|()| cluster.node(away).metrics().applied >= decided))
            .await;
        cluster.close(away).await;
        sleep(Duration::from_secs(1)).await;
        copy(&directory, &after, &all);
        copy(&before, &directory, &all);
        copy(&after, &directory, new);
        cluster.heal();
        cluster.open(away).await;
        agree(&cluster).await;
        // It can bring up others too: the leader's log and its snapshot fit together.
        for id in (1..=3).filter(|id| *id != away) {
            cluster.close(id).await;
        }
        cluster.open(leader).await;
        cluster.wait_for_leader().await;
        agree(&cluster).await;
        cluster.close(away).await;
        cluster.open(away).await;
        cluster.wait_for_leader().await;
        agree(&cluster).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_directory_was_set_back_counts_no_more_and_ends_nobody() {
    let cluster = Cluster::founded(40, 3, Options::lan()).await;
    let (leader, back) = leader_and_follower(&cluster);
    let other = (1..=3).find(|id| ![leader, back].contains(id)).unwrap();
    let directory = cluster.seat(back).directory;
    let all = ["control-log.db", "control-state.db", SNAPSHOT];
    let kept = tempfile::tempdir().unwrap();
    cluster.close(back).await;
    sleep(Duration::from_secs(1)).await;
    copy(&directory, kept.path(), &all);
    cluster.open(back).await;
    for n in 0..30 {
        cluster.node(leader).propose(&Command::put("a", n.to_string())).await.unwrap();
    }
    agree(&cluster).await;
    cluster.close(back).await;
    sleep(Duration::from_secs(1)).await;
    copy(kept.path(), &directory, &all);
    cluster.open(back).await;
    let old = cluster.node(back).metrics().last_log;
    cluster.node(leader).propose(&Command::put("a", "last")).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.node(back).metrics().last_log, old, "nobody fills it");
    assert_eq!(cluster.leader(), Some(leader));
    // It does not count: with it alone the leader has no majority.
    cluster.close(other).await;
    sleep(Duration::from_secs(3)).await;
    assert!(cluster.node(leader).quorum().is_err());
    cluster.open(other).await;
    cluster.wait_for_leader().await;
    let read = cluster.node(leader).get(b"a", Level::Linearizable).await.unwrap();
    assert_eq!(read.value.unwrap().value, "last");
}
