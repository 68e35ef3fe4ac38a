//! Leases and locks, of nodes whose leaders change, pause and lose what they write.
//!
//! | invariant | where |
//! |---|---|
//! | a lease ends with its keys, and never early | `a_lease_…` |
//! | a fence is given once and only rises, and one key holds at each revision | `the_fence_…`, `a_row_…` |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod cluster;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::{Cluster, seconds};
use millrace_hub_control::kv::{Command, KeyRange, Op, Outcome, Txn};
use millrace_hub_control::{ControlError, Level, Lock, Options, Role};
use tokio::time::{Instant, sleep};

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

/// Wants the lock again and again; writes down each fence that it held, in the order of holding.
async fn contender(cluster: Cluster, seed: u64, held: Arc<Mutex<Vec<u64>>>, end: Instant) -> usize {
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
            held.lock().unwrap().push(lock.fence);
            count += 1;
            sleep(Duration::from_millis(rng.u64(1..400))).await;
            let _ = node.unlock(&lock).await;
        }
        let _ = node.propose(&Command::Revoke { lease }).await;
    }
    count
}

/// Who held the lock after each revision, as everything that happened to its row says: fences, each once.
async fn holders(cluster: &Cluster, last: u64) -> Vec<u64> {
    let (_, node) = &cluster.nodes()[0];
    let mut watch = node.watch(KeyRange::prefix("lock/"), 1);
    let (mut row, mut holders) = (BTreeMap::new(), Vec::new());
    while watch.next_revision() <= last {
        let batch = watch.advance().await.unwrap();
        for (at, change) in batch.changes.iter().enumerate() {
            let (key, revision) = (change.current.key.clone(), change.current.mod_revision);
            if change.is_delete() {
                row.remove(&key);
            } else {
                row.insert(key, change.current.create_revision);
            }
            let next = batch.changes.get(at + 1).map(|next| next.current.mod_revision);
            let fences: BTreeSet<u64> = row.values().copied().collect();
            assert_eq!(fences.len(), row.len(), "two keys have one fence");
            if let Some(first) =
                fences.first().filter(|first| next != Some(revision) && holders.last() != Some(*first))
            {
                holders.push(*first);
            }
        }
    }
    holders
}

#[tokio::test(start_paused = true)]
async fn the_fence_of_a_lock_only_rises_while_the_leader_is_paused() {
    let cluster = Cluster::founded(8, 3, Options::lan()).await;
    let held = Arc::new(Mutex::new(Vec::new()));
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
    let held = held.lock().unwrap().clone();
    assert_eq!(held.len(), held_by_all);
    assert!(held.is_sorted_by(|one, next| one < next), "{held:?}");
    assert!(cluster.nodes().iter().all(|(_, node)| node.metrics().role != Role::Stopped));
    cluster.agree().await;
    let revision = cluster.nodes()[0].1.metrics().usage.revision;
    let holders = holders(&cluster, revision).await;
    assert!(
        holders.is_sorted_by(|one, next| one < next),
        "whoever held once does not hold again: {holders:?}"
    );
    assert!(held.iter().all(|fence| holders.contains(fence)), "{held:?} of {holders:?}");
}

#[tokio::test(start_paused = true)]
async fn a_row_of_any_length_has_one_holder() {
    let cluster = Cluster::founded(18, 3, Options::lan()).await;
    let node = cluster.node(1);
    let grant = async || match node.propose(&Command::Grant { ttl_ms: 600_000 }).await {
        Ok(Outcome::Granted { lease, .. }) => lease,
        other => panic!("{other:?}"),
    };
    let (name, lease, late) = ("n".repeat(1_024), grant().await, grant().await);
    let lock = node.lock(&name, lease, "first".into()).await.unwrap();
    // Keys of smaller leases stand before it, more than one answer takes.
    let before = format!("{}{:016x}", &String::from_utf8_lossy(&lock.key)[..lock.key.len() - 16], 0);
    let others: Vec<String> =
        [before.clone()].into_iter().chain((0..4_200).map(|n| format!("{before}{n:04}"))).collect();
    let mut fences = Vec::new();
    for some in others.chunks(128) {
        let then = some.iter().map(|key| Op::put(key.clone(), "")).collect();
        match node.propose(&Command::Txn(Txn { then, ..Txn::default() })).await {
            Ok(Outcome::Txn { revision, .. }) => fences.push(revision),
            other => panic!("{other:?}"),
        }
    }
    let second = Lock { key: before.into(), lease: 0, fence: fences[0] };
    assert!(!node.holds(&second).await.unwrap(), "two hold");
    assert!(node.holds(&lock).await.unwrap());
    let holder = node.holder(&name, Level::Linearizable).await.unwrap().unwrap();
    assert_eq!((holder.fence, holder.lease, holder.value), (lock.fence, lease, "first".into()));
    let waits = tokio::time::timeout(seconds(1), node.lock(&name, late, "".into())).await;
    assert!(waits.is_err(), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_end_may_still_be_decided_is_not_renewed() {
    let options = Options { patience: Duration::from_millis(300), ..Options::lan() };
    let cluster = Cluster::founded(15, 3, options).await;
    let node = cluster.node(cluster.leader().unwrap());
    let granted = node.propose(&Command::Grant { ttl_ms: 3_000 }).await.unwrap();
    let Outcome::Granted { lease, .. } = granted else { panic!("{granted:?}") };
    cluster.settle().await;
    cluster.with(|state| state.bytes_seen = 0);
    sleep(seconds(1)).await;
    // Only what carries no entry arrives from now on: the leader leads, and nothing that it writes is decided.
    cluster.with(|state| state.bytes_max = state.bytes_seen);
    cluster.wait_for("the end", || node.lease_left(lease).filter(Duration::is_zero)).await;
    sleep(node_beat()).await;
    let (until, mut refused) = (Instant::now() + seconds(2), 0);
    while Instant::now() < until {
        match node.renew(lease).await {
            Err(ControlError::Refused(_)) => refused += 1,
            Err(_) => {}
            Ok(_) => panic!("renewed after {refused} refusals, while its end is on the way"),
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert!(refused > 100, "{refused}");
    cluster.heal();
    cluster.wait_for("the end of the lease", || node.lease_left(lease).is_none().then_some(())).await;
    cluster.agree().await;
}

/// Until a leader has looked at its leases once more.
fn node_beat() -> Duration {
    Options::lan().heartbeat / 2
}
