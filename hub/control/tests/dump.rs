//! What a cluster decided outlives it: as a dump, or from the files of one node that is left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod cluster;

use bytes::Bytes;
use cluster::Cluster;
use millrace_hub_control::kv::{Command, KeyRange, Op, RangeQuery, Txn};
use millrace_hub_control::{Control, Dump, DumpError, Level, Options};

async fn put(control: &Control, key: &str, value: &str) {
    control.propose(&Command::put(key.to_owned(), value.to_owned())).await.unwrap();
}

async fn grant(control: &Control) -> u64 {
    match control.propose(&Command::Grant { ttl_ms: 60_000 }).await.unwrap() {
        millrace_hub_control::kv::Outcome::Granted { lease, .. } => lease,
        other => panic!("{other:?}"),
    }
}

async fn text(control: &Control, key: &str) -> Option<String> {
    let found = control.get(key.as_bytes(), Level::Linearizable).await.unwrap().value?;
    Some(String::from_utf8(found.value.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_new_cluster_holds_what_the_old_one_decided_and_gives_no_fence_twice() {
    let old = Cluster::founded(1, 3, Options::lan()).await;
    let node = old.node(1);
    for number in 0..300 {
        put(&node, &format!("millrace/devices/{number:03}"), &"x".repeat(2_000)).await;
    }
    let granted = node.propose(&Command::Grant { ttl_ms: 60_000 }).await.unwrap();
    let millrace_hub_control::kv::Outcome::Granted { lease, .. } = granted else { panic!("{granted:?}") };
    let lock = node.lock("press", lease, Bytes::new()).await.unwrap();
    let dump = node.dump(Level::Linearizable).await.unwrap();
    assert_eq!(dump.entries.len(), 300, "whoever held a lock takes it anew");
    assert_eq!(Dump::decode(&dump.encode()), Ok(dump.clone()));

    let new = Cluster::founded(2, 1, Options::lan()).await;
    let node = new.node(1);
    node.refill(&dump).await.unwrap();
    node.refill(&dump).await.unwrap();
    let all = RangeQuery { keys_only: true, ..RangeQuery::of(KeyRange::all()) };
    assert_eq!(node.range(&all, None, Level::Linearizable).await.unwrap().value.count, 300);
    assert_eq!(text(&node, "millrace/devices/299").await.unwrap().len(), 2_000);
    let granted = node.propose(&Command::Grant { ttl_ms: 60_000 }).await.unwrap();
    let millrace_hub_control::kv::Outcome::Granted { lease: newer, .. } = granted else {
        panic!("{granted:?}")
    };
    let again = node.lock("press", newer, Bytes::new()).await.unwrap();
    assert!(newer > lease && again.fence > lock.fence, "{again:?} after {lock:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_from_an_older_dump_gives_no_fence_that_was_given_after_the_dump() {
    let old = Cluster::founded(4, 1, Options::lan()).await;
    let node = old.node(1);
    put(&node, "a", "1").await;
    let dump = node.dump(Level::Linearizable).await.unwrap();
    let mut highest = (0, 0);
    for number in 0..20 {
        put(&node, "a", &number.to_string()).await;
        let lease = grant(&node).await;
        let lock = node.lock("press", lease, Bytes::new()).await.unwrap();
        highest = highest.max((lock.fence, lease));
        node.unlock(&lock).await.unwrap();
    }
    let new = Cluster::founded(5, 1, Options::lan()).await;
    let node = new.node(1);
    node.refill(&dump).await.unwrap();
    let lease = grant(&node).await;
    let lock = node.lock("press", lease, Bytes::new()).await.unwrap();
    assert!(lock.fence > highest.0 && lease > highest.1, "{lock:?} after {highest:?}");
    node.refill(&dump).await.unwrap();
    assert!(node.holds(&lock).await.unwrap(), "a repetition changes nothing");
}

#[tokio::test(start_paused = true)]
async fn the_files_of_the_last_node_say_what_was_decided_also_what_only_its_log_has() {
    let cluster = Cluster::founded(3, 3, Options::lan()).await;
    let node = cluster.node(1);
    put(&node, "a", "1").await;
    let leader = cluster.wait_for_leader().await;
    let directory = cluster.seat(leader).directory;
    cluster.node(leader).snapshot().await.unwrap();
    put(&node, "b", "2").await;
    let both = Txn { then: vec![Op::put("a", "3"), Op::delete(KeyRange::one("b"))], ..Txn::default() };
    node.propose(&Command::Txn(both)).await.unwrap();
    put(&node, "c", "4").await;
    cluster.close(leader).await;
    drop(node);
    let mut salvaged = Dump::salvage(&directory);
    for _ in 0..100 {
        match &salvaged {
            // Tasks of a node that was closed may hold its files for a moment of the simulated time.
            Err(error) if error.to_string().contains("in use") => {}
            _ => break,
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        salvaged = Dump::salvage(&directory);
    }
    let dump = salvaged.unwrap();
    let entry = |key: &'static str, value: &'static str| (Bytes::from(key), Bytes::from(value));
    assert_eq!(dump.entries, [entry("a", "3"), entry("c", "4")]);
    assert!(dump.revision >= 4);
}

#[test]
fn a_dump_that_was_changed_is_refused() {
    let entries = vec![(Bytes::from("a"), Bytes::from("1"))];
    let dump = Dump { revision: 7, next_lease: 2, budget_bytes: 1 << 20, entries };
    let whole = dump.encode();
    for at in 0..whole.len() {
        let mut changed = whole.to_vec();
        changed[at] ^= 1;
        assert_eq!(Dump::decode(&changed.into()), Err(DumpError::Damaged), "byte {at}");
        assert_eq!(Dump::decode(&whole.slice(..at)), Err(DumpError::Damaged), "cut at {at}");
    }
}
