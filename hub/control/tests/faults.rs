//! Clusters of three and five nodes under faults, each under seeds.
//!
//! | invariant | where |
//! |---|---|
//! | a term has one leader | `check_leaders`, every 20 ms |
//! | nothing acknowledged is lost, reads are linearizable | `History::check` |
//! | all nodes come to the same state | `agree` |
//! | a fence is given once and only rises | `the_fence_…` |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod cluster;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::history::History;
use cluster::{Cluster, member};
use millrace_hub_control::kv::{Command, KeyRange, Outcome, RangeQuery, Store};
use millrace_hub_control::{ControlError, Level, OpenError, Options, Role, Seat};
use tokio::time::{Instant, sleep};

const KEYS: u8 = 4;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Invariant: the same entries lead to the same state at every node.
async fn agree(cluster: &Cluster) {
    cluster.settle().await;
    let mut states: Vec<Store> = Vec::new();
    for (_, node) in cluster.nodes() {
        states.push(node.read(Level::Local, Clone::clone).await.unwrap().value);
    }
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Breaks something, for a while, again and again until `end`.
async fn trouble(cluster: Cluster, count: u64, seed: u64, end: Instant) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let ids = History::node_ids(count);
    while Instant::now() + seconds(6) < end {
        sleep(Duration::from_millis(rng.u64(500..2_500))).await;
        let victim = rng.choice(&ids).copied().unwrap();
        let leader = cluster.leader().unwrap_or(victim);
        let others = |id| ids.iter().copied().filter(|other| *other != id).collect::<Vec<_>>();
        match rng.u8(..7) {
            0 => cluster.part(&[leader], &others(leader)),
            1 => cluster.part(&[victim], &others(victim)),
            2 => others(leader).into_iter().for_each(|other| cluster.cut_one_way(leader, other)),
            3 => others(victim).into_iter().for_each(|other| cluster.cut_one_way(other, victim)),
            4 => cluster.stall(leader),
            5 => cluster.lose(0.2),
            _ => {
                cluster.close(victim).await;
                sleep(Duration::from_millis(rng.u64(100..3_000))).await;
                cluster.open(victim).await;
            }
        }
        sleep(Duration::from_millis(rng.u64(500..4_000))).await;
        cluster.heal();
    }
}

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
    let breaking = tokio::spawn(trouble(cluster.clone(), count, seed, end));
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
    agree(&cluster).await;
    history.read_all(&cluster, KEYS).await;
    agree(&cluster).await;
    history.check()
}

/// How many seeds a scenario runs under; `MILLRACE_SEEDS` asks for more.
fn seeds(usual: u64) -> u64 {
    std::env::var("MILLRACE_SEEDS").map_or(usual, |text| text.parse().unwrap())
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
    assert_eq!((read.revision, read.age), (1, Duration::ZERO));
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
        assert!(read.age > seconds(9) && read.value.is_some());
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
async fn members_come_as_learners_get_a_vote_and_leave() {
    let options = Options { snapshot_entries: 50, keep_entries: 5, ..Options::lan() };
    let cluster = Cluster::founded(4, 1, options).await;
    for n in 0..200 {
        cluster.node(1).propose(&Command::put(format!("key{n}"), "x".repeat(200))).await.unwrap();
    }
    cluster.wait_for("a purge", || cluster.node(1).metrics().purged.filter(|purged| *purged > 100)).await;
    for id in 2..=4 {
        cluster.open(id).await;
        // Asked of any node that takes part.
        let asked = if id == 2 { 1 } else { 2 };
        cluster.node(asked).add_learner(id, member(id)).await.unwrap();
        assert!(matches!(cluster.node(1).promote(99).await, Err(ControlError::NoMember(99))));
        cluster.node(asked).promote(id).await.unwrap();
    }
    let mut other = member(4);
    other.incarnation = 5;
    assert!(matches!(cluster.node(1).add_learner(4, other).await, Err(ControlError::Membership(_))));
    let members = cluster.node(1).members();
    assert!(members.len() == 4 && members.iter().all(|member| member.votes));
    agree(&cluster).await;

    cluster.close(1).await;
    let leader = cluster.wait_for_leader().await;
    cluster.node(leader).remove(1).await.unwrap();
    assert_eq!(cluster.node(leader).members().iter().map(|member| member.id).collect::<Vec<_>>(), [2, 3, 4]);
    cluster.node(leader).remove(leader).await.unwrap();
    cluster.close(leader).await;
    let next = cluster.wait_for_leader().await;
    let read = cluster.node(next).get(b"key199", Level::Linearizable).await.unwrap();
    assert!(read.value.is_some());
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
    agree(&cluster).await;
    cluster.close(2).await;
    sleep(seconds(1)).await;
    remove(&seat, "control-state.db");
    remove(&seat, "control.snapshot");
    let error = cluster.try_open(seat).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Behind), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_another_epoch_gets_nothing_and_no_vote() {
    let cluster = Cluster::founded(11, 1, Options::lan()).await;
    let stranger = cluster.try_open(Seat { epoch: 8, ..cluster.seat(2) }).await.unwrap();
    cluster.with(|state| state.nodes.insert(2, stranger));
    cluster.node(1).add_learner(2, member(2)).await.unwrap();
    let refused = cluster.node(1).promote(2).await.unwrap_err();
    assert!(refused.to_string().contains("holds nothing"), "{refused}");
    assert_eq!(cluster.node(2).metrics().last_log, None);
    cluster.node(1).remove(2).await.unwrap();
    assert_eq!(cluster.node(1).members().len(), 1);
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
    agree(&cluster).await;
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
async fn a_lease_ends_with_its_keys_and_never_early_after_a_change_of_the_leader() {
    let cluster = Cluster::founded(7, 3, Options::lan()).await;
    let leader = cluster.leader().unwrap();
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let granted = cluster.node(follower).propose(&Command::Grant { ttl_ms: 5_000 }).await.unwrap();
    let Outcome::Granted { lease, .. } = granted else { panic!("{granted:?}") };
    cluster.node(follower).queue_for_lock("a", lease, "me".into()).await.unwrap();
    for _ in 0..5 {
        sleep(seconds(4)).await;
        assert_eq!(cluster.node(follower).renew(lease).await.unwrap(), 5_000);
    }
    sleep(seconds(4)).await;
    cluster.close(leader).await;
    let next = cluster.wait_for_leader().await;
    sleep(Duration::from_millis(4_500)).await;
    assert!(
        cluster.node(next).holder("a", Level::Linearizable).await.unwrap().is_some(),
        "its whole time again"
    );
    sleep(seconds(1)).await;
    assert!(cluster.node(next).holder("a", Level::Linearizable).await.unwrap().is_none());
    assert!(matches!(cluster.node(next).renew(lease).await, Err(ControlError::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_handed_on_in_the_order_of_asking_and_never_early() {
    let cluster = Cluster::founded(9, 3, Options::lan()).await;
    let leader = cluster.leader().unwrap();
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let (first, second) = (cluster.node(leader), cluster.node(follower));
    let mut leases = Vec::new();
    for _ in 0..3 {
        let granted = first.propose(&Command::Grant { ttl_ms: 600_000 }).await.unwrap();
        let Outcome::Granted { lease, .. } = granted else { panic!("{granted:?}") };
        leases.push(lease);
    }
    for _ in 0..20 {
        let lock = first.lock("a", leases[0], "one".into()).await.unwrap();
        // What the follower has applied may not even show the first one's place.
        let (other, lease) = (second.clone(), leases[1]);
        let mut waiting = tokio::spawn(async move { other.lock("a", lease, "two".into()).await });
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err());
        let third = second.queue_for_lock("a", leases[2], "three".into()).await.unwrap();
        assert!(first.holds(&lock).await.unwrap() && !second.holds(&third).await.unwrap());
        assert!(first.proclaim(&lock, "one and only".into()).await.unwrap());
        assert_eq!(second.holder("a", Level::Linearizable).await.unwrap().unwrap().value, "one and only");
        assert!(first.unlock(&lock).await.unwrap() && !first.unlock(&lock).await.unwrap());
        let next = waiting.await.unwrap().unwrap();
        assert!(next.fence > lock.fence && third.fence > next.fence);
        assert!(second.unlock(&next).await.unwrap());
        assert!(second.holds(&third).await.unwrap() && second.unlock(&third).await.unwrap());
    }
}

/// Wants the lock again and again; writes down each fence that it held.
async fn contender(cluster: Cluster, seed: u64, held: Arc<Mutex<BTreeMap<u64, u64>>>, end: Instant) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut count = 0;
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.u64(1..200))).await;
        let nodes = cluster.nodes();
        let (_, node) = &nodes[rng.usize(..nodes.len())];
        let Ok(Outcome::Granted { lease, .. }) = node.propose(&Command::Grant { ttl_ms: 2_000 }).await else {
            continue;
        };
        let waited = tokio::time::timeout(seconds(10), node.lock("the lock", lease, "".into())).await;
        if let Ok(Ok(lock)) = waited {
            let before = held.lock().unwrap().insert(lock.fence, seed);
            assert_eq!(before, None, "fence {} was held twice", lock.fence);
            count += 1;
            sleep(Duration::from_millis(rng.u64(1..400))).await;
            let _ = node.unlock(&lock).await;
        }
        let _ = node.propose(&Command::Revoke { lease }).await;
    }
    count
}

#[tokio::test(start_paused = true)]
async fn the_fence_of_a_lock_is_never_held_twice_while_the_leader_is_paused() {
    let cluster = Cluster::founded(8, 3, Options::lan()).await;
    let held = Arc::new(Mutex::new(BTreeMap::new()));
    let end = Instant::now() + seconds(50);
    let mut contenders = tokio::task::JoinSet::new();
    for seed in 0..4 {
        contenders.spawn(contender(cluster.clone(), seed, Arc::clone(&held), end));
    }
    sleep(seconds(3)).await;
    let paused = cluster.leader().unwrap();
    cluster.stall(paused);
    sleep(seconds(30)).await;
    assert_ne!(cluster.leader(), Some(paused));
    cluster.heal();
    let mut held_by_all = 0;
    while let Some(count) = contenders.join_next().await {
        held_by_all += count.unwrap();
    }
    assert!(held_by_all > 20, "{held_by_all}");
    assert_eq!(held.lock().unwrap().len(), held_by_all);
    assert!(cluster.nodes().iter().all(|(_, node)| node.metrics().role != Role::Stopped));
    agree(&cluster).await;
}
