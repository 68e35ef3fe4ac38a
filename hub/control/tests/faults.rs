//! Clusters of three and five nodes under faults, each under seeds.
//!
//! | invariant | where |
//! |---|---|
//! | a term has one leader | `check_leaders`, every 20 ms |
//! | nothing acknowledged is lost, reads are linearizable | `History::check` |
//! | all nodes come to the same state | `agree` |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod cluster;

use std::time::Duration;

use cluster::history::History;
use cluster::trouble::trouble;
use cluster::{Cluster, seconds, seeds};
use millrace_hub_control::kv::{Command, KeyRange, Op, Outcome, RangeQuery, Txn};
use millrace_hub_control::{ControlError, Level, OpenError, Options, Role, Seat};
use tokio::time::{Instant, sleep};

const KEYS: u8 = 4;

async fn survive(seed: u64, count: u64) -> usize {
    // Few entries between snapshots, so that nodes that come back meet them.
    let options = Options { snapshot_entries: 60, keep_entries: 10, ..Options::lan() };
    let cluster = Cluster::founded(seed, count, options).await;
    let history = History::new();
    let end = Instant::now() + seconds(30);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..5 {
        clients.spawn(history.clone().client(cluster.clone(), number + 1, seed * 100 + number, KEYS, end));
    }
    let breaking = tokio::spawn(trouble(cluster.clone(), seed, end));
    while Instant::now() < end {
        cluster.check_leaders();
        sleep(Duration::from_millis(20)).await;
    }
    breaking.await.unwrap();
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    cluster.heal();
    cluster.wait_for_leader().await;
    cluster.agree().await;
    history.read_all(&cluster, KEYS).await;
    cluster.agree().await;
    history.check()
}

#[tokio::test(start_paused = true)]
async fn three_nodes_stay_linearizable_under_faults() {
    for seed in 1..=seeds(8) {
        let acknowledged = survive(seed, 3).await;
        assert!(acknowledged > 200, "seed {seed}: only {acknowledged} operations were acknowledged");
    }
}

#[tokio::test(start_paused = true)]
async fn five_nodes_stay_linearizable_under_faults() {
    for seed in 1_001..=1_000 + seeds(4) {
        let acknowledged = survive(seed, 5).await;
        assert!(acknowledged > 200, "seed {seed}: only {acknowledged} operations were acknowledged");
    }
}

#[tokio::test(start_paused = true)]
async fn one_node_alone_decides_and_keeps_it_over_a_restart() {
    let cluster = Cluster::founded(1, 1, Options::lan()).await;
    cluster.node(1).propose(&Command::put("a", "1")).await.unwrap();
    cluster.close(1).await;
    cluster.open(1).await;
    cluster.wait_for_leader().await;
    let read = cluster.node(1).get(b"a", Level::Linearizable).await.unwrap();
    assert_eq!(read.value.unwrap().value, "1");
    assert_eq!((read.revision, read.age), (1, Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn without_a_majority_everything_is_refused_at_once_and_local_reads_tell_their_age() {
    let cluster = Cluster::founded(2, 3, Options::lan()).await;
    let leader = cluster.leader().unwrap();
    cluster.node(leader).propose(&Command::put("a", "1")).await.unwrap();
    cluster.settle().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    cluster.part(&[1], &[2, 3]);
    cluster.part(&[2], &[3]);
    sleep(seconds(10)).await;
    for id in [leader, others[0]] {
        let node = cluster.node(id);
        let start = Instant::now();
        let refused = node.propose(&Command::put("a", "2")).await.unwrap_err();
        assert!(matches!(refused, ControlError::NoQuorum { .. }), "{refused}");
        assert!(refused.to_string().contains("10."), "it says for how long: {refused}");
        let refused = node.get(b"a", Level::Linearizable).await.unwrap_err();
        assert!(matches!(refused, ControlError::NoQuorum { .. }), "{refused}");
        assert_eq!(start.elapsed(), Duration::ZERO, "at once");
        let read = node.get(b"a", Level::Local).await.unwrap();
        assert!(read.age > Some(seconds(9)) && read.value.is_some());
        assert_eq!(node.leader(), None);
    }
    cluster.heal();
    cluster.wait_for_leader().await;
    cluster.node(others[0]).propose(&Command::put("a", "3")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_comes_back_without_unseating_the_leader() {
    let cluster = Cluster::founded(3, 3, Options::lan()).await;
    let leader = cluster.leader().unwrap();
    let cut_off = if leader == 3 { 1 } else { 3 };
    let term = cluster.node(leader).metrics().term;
    cluster.part(&[cut_off], &(1..=3).filter(|id| *id != cut_off).collect::<Vec<_>>());
    sleep(seconds(60)).await;
    assert_eq!(cluster.node(cut_off).metrics().term, term, "it raised its term alone");
    cluster.heal();
    sleep(seconds(5)).await;
    assert_eq!((cluster.leader(), cluster.node(leader).metrics().term), (Some(leader), term));
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_within_two_seconds() {
    for seed in 0..6 {
        let cluster = Cluster::founded(seed, 3, Options::lan()).await;
        sleep(seconds(3)).await;
        let leader = cluster.leader().unwrap();
        cluster.close(leader).await;
        let start = Instant::now();
        let next = cluster.wait_for_leader().await;
        cluster.node(next).propose(&Command::put("a", "1")).await.unwrap();
        assert!(start.elapsed() < seconds(2), "seed {seed}: {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_starts_again_does_not_go_on_in_its_term() {
    let cluster = Cluster::founded(13, 3, Options::lan()).await;
    let leader = cluster.leader().unwrap();
    let term = cluster.node(leader).metrics().term;
    for id in 1..=3 {
        cluster.close(id).await;
    }
    // Nobody else could have raised it: only the one that led starts again, and then a second one.
    cluster.open(leader).await;
    sleep(seconds(10)).await;
    let alone = cluster.node(leader).metrics();
    assert_eq!((alone.term, alone.role == Role::Leader), (term, false));
    assert!(cluster.node(leader).get(b"a", Level::Linearizable).await.is_err());
    cluster.open(if leader == 1 { 2 } else { 1 }).await;
    let next = cluster.wait_for_leader().await;
    assert!(cluster.node(next).metrics().term > term);

    let alone = Cluster::founded(14, 1, Options::lan()).await;
    let term = alone.node(1).metrics().term;
    alone.close(1).await;
    let start = Instant::now();
    alone.open(1).await;
    alone.wait_for_leader().await;
    assert!(alone.node(1).metrics().term > term && start.elapsed() < seconds(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_cut_off_never_votes_again() {
    let cluster = Cluster::founded(5, 3, Options::lan()).await;
    for n in 0..20 {
        cluster.node(1).propose(&Command::put("a", n.to_string())).await.unwrap();
    }
    cluster.settle().await;
    let seat = cluster.seat(2);
    cluster.close(2).await;
    sleep(seconds(1)).await;
    // An older copy of the log beside the state of today: as a restored backup would leave it.
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(seat.directory.join(format!("control-log.db{suffix}")));
    }
    let error = cluster.try_open(seat.clone()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Shortened { .. }), "{error}");
    assert!(error.to_string().contains("must not vote"), "{error}");

    // A wiped directory under the same id is another incarnation, and nobody talks to it.
    std::fs::remove_dir_all(&seat.directory).unwrap();
    let wiped = cluster.try_open(Seat { incarnation: 9, ..seat }).await.unwrap();
    cluster.with(|state| state.nodes.insert(2, wiped));
    sleep(seconds(20)).await;
    assert_eq!(cluster.node(2).metrics().last_log, None);
    assert!(cluster.leader().is_some());
}

fn remove(seat: &Seat, name: &str) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(seat.directory.join(format!("{name}{suffix}")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_that_was_lost_is_filled_from_the_snapshot_and_the_log() {
    let options = Options { snapshot_entries: 50, keep_entries: 5, ..Options::lan() };
    let cluster = Cluster::founded(10, 3, options).await;
    for n in 0..120 {
        cluster.node(1).propose(&Command::put(format!("key{n}"), n.to_string())).await.unwrap();
    }
    cluster.settle().await;
    cluster.wait_for("a purge", || cluster.node(2).metrics().purged).await;
    let seat = cluster.seat(2);
    cluster.close(2).await;
    sleep(seconds(1)).await;
    remove(&seat, "control-state.db");
    cluster.open(2).await;
    cluster.agree().await;
    cluster.close(2).await;
    sleep(seconds(1)).await;
    remove(&seat, "control-state.db");
    remove(&seat, "control.snapshot");
    let error = cluster.try_open(seat).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Behind), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_threads_of_their_own_keep_everything_over_a_restart() {
    let options = Options { snapshot_entries: 40, keep_entries: 5, ..Options::lan() };
    let mut cluster = Cluster::new(12, options);
    cluster.threads = true;
    let cluster = cluster.found(3).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..20 {
        let node = cluster.node(1 + client % 3);
        clients.spawn(async move {
            for n in 0..20 {
                node.propose(&Command::put(format!("{client}/{n}"), "x")).await.unwrap();
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    for id in 1..=3 {
        cluster.close(id).await;
    }
    for id in 1..=3 {
        cluster.open(id).await;
    }
    cluster.wait_for_leader().await;
    cluster.agree().await;
    let everything = RangeQuery::of(KeyRange::all());
    let read = cluster.node(2).range(&everything, None, Level::Linearizable).await.unwrap();
    assert_eq!((read.value.count, read.revision), (400, 400));
    for id in 1..=3 {
        cluster.close(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_every_change_once_over_a_change_of_the_leader() {
    let cluster = Cluster::founded(6, 3, Options::lan()).await;
    let leader = cluster.leader().unwrap();
    let watcher = (1..=3).find(|id| *id != leader).unwrap();
    let mut watch = cluster.node(watcher).watch(KeyRange::prefix("a/"), 0);
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < 40 {
            let batch = watch.next().await.unwrap();
            seen.extend(batch.changes.iter().map(|change| change.current.value.clone()));
        }
        seen
    });
    for n in 0..40 {
        if n == 20 {
            cluster.close(leader).await;
            cluster.wait_for_leader().await;
        }
        cluster.node(watcher).propose(&Command::put(format!("a/{}", n % 3), n.to_string())).await.unwrap();
        cluster.node(watcher).propose(&Command::put("b", "other")).await.unwrap();
    }
    let expected: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    assert_eq!(seen.await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_is_too_large_takes_no_other_with_it() {
    let cluster = Cluster::founded(16, 3, Options::lan()).await;
    let leader = cluster.leader().unwrap();
    let follower = cluster.node(if leader == 1 { 2 } else { 1 });
    let keys = || (0..6).map(|n| format!("large{n}"));
    for key in keys() {
        follower.propose(&Command::put(key, vec![7; 900_000])).await.unwrap();
    }
    let then = keys().map(|key| Op::Range(RangeQuery::of(KeyRange::one(key)))).collect();
    let everything = Command::Txn(Txn { then, ..Txn::default() });
    let put = Command::put("a", "1");
    let (large, small) = tokio::join!(follower.propose(&everything), follower.propose(&put));
    let Err(ControlError::Unknown(why)) = large else { panic!("{large:?}") };
    assert!(why.contains("it was done") && why.contains("smaller pieces"), "{why}");
    assert!(matches!(small, Ok(Outcome::Txn { held: true, .. })), "{small:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_known_yet_may_follow_and_vote_and_asks_for_nothing() {
    let cluster = Cluster::founded(17, 3, Options::lan()).await;
    let leader = cluster.leader().unwrap();
    let stranger = if leader == 1 { 2 } else { 1 };
    cluster.with(|state| state.strangers.insert(stranger));
    let node = cluster.node(stranger);
    assert!(node.propose(&Command::put("a", "1")).await.is_err());
    assert!(node.get(b"a", Level::Linearizable).await.is_err());
    assert!(node.renew(1).await.is_err() && node.remove(leader).await.is_err());
    cluster.node(leader).propose(&Command::put("b", "1")).await.unwrap();
    cluster.agree().await;
    assert_eq!(node.get(b"a", Level::Local).await.unwrap().value, None);
    cluster.close(leader).await;
    let next = cluster.wait_for_leader().await;
    cluster.node(next).propose(&Command::put("b", "2")).await.unwrap();
    cluster.heal();
    node.propose(&Command::put("a", "2")).await.unwrap();
}
