//! Members that come and go, also while leaders are lost.
//!
//! | invariant | where |
//! |---|---|
//! | a change that is half done can be finished by another leader | `a_change_…`, `members_change_…` |
//! | no change leaves a cluster that can decide nothing | `a_hub_…`, `a_learner_…` |
//! | reads stay linearizable, and all come to the same state | `members_change_…` |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod cluster;

use cluster::history::History;
use cluster::trouble::trouble;
use cluster::{Cluster, member, seconds, seeds};
use millrace_hub_control::kv::Command;
use millrace_hub_control::{Control, ControlError, Level, NodeId, Options, Seat};
use tokio::time::{Instant, sleep};

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
    cluster.agree().await;

    cluster.close(1).await;
    let leader = remove(&cluster, |_| 1).await;
    assert_eq!(cluster.node(leader).members().iter().map(|member| member.id).collect::<Vec<_>>(), [2, 3, 4]);
    let leader = remove(&cluster, |leader| leader).await;
    cluster.close(leader).await;
    let others: Vec<NodeId> = (2..=4).filter(|id| *id != leader).collect();
    cluster.wait_for_leader().await;
    cluster.agree().await;
    for id in others {
        let node = cluster.node(id);
        assert_eq!(node.members().len(), 2);
        assert!(node.get(b"key199", Level::Local).await.unwrap().value.is_some());
    }
}

/// Removes a member as whoever leads: two may be elected one after the other. Returns who did it.
async fn remove(cluster: &Cluster, whom: impl Fn(NodeId) -> NodeId) -> NodeId {
    loop {
        let leader = cluster.wait_for_leader().await;
        match cluster.node(leader).remove(whom(leader)).await {
            Ok(()) => return leader,
            Err(ControlError::NoQuorum { .. }) => sleep(seconds(1)).await,
            Err(error) => panic!("{error}"),
        }
    }
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

#[tokio::test(start_paused = true)]
async fn a_change_that_its_leader_left_half_done_is_seen_and_finished() {
    let cluster = Cluster::founded(21, 3, Options::lan()).await;
    cluster.open(4).await;
    let leader = cluster.leader().unwrap();
    let node = cluster.node(leader);
    node.add_learner(4, member(4)).await.unwrap();
    let is_current = || node.members().iter().any(|member| member.id == 4 && member.current).then_some(());
    cluster.wait_for("the learner", is_current).await;
    // Everybody writes the first half down, and the leader does not hear of it.
    let others: Vec<NodeId> = (1..=4).filter(|id| *id != leader).collect();
    others.iter().for_each(|other| cluster.cut_one_way(*other, leader));
    let promoting = node.clone();
    let promoting = tokio::spawn(async move { promoting.promote(4).await });
    let have_it = || others.iter().all(|id| cluster.node(*id).metrics().joint).then_some(());
    cluster.wait_for("the first half", have_it).await;
    cluster.close(leader).await;
    assert!(promoting.await.unwrap().is_err());
    cluster.heal();

    let next = cluster.wait_for_leader().await;
    sleep(seconds(20)).await;
    assert!(cluster.node(next).metrics().joint, "nobody goes on by himself");
    let asked = others.iter().copied().find(|id| *id != next).unwrap();
    cluster.node(asked).settle().await.unwrap();
    cluster.agree().await;
    for id in others {
        let node = cluster.node(id);
        assert!(!node.metrics().joint && node.members().iter().all(|member| member.votes));
    }
    cluster.node(next).settle().await.unwrap();
    assert_eq!(cluster.node(next).members().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_hub_is_not_removed_when_the_others_could_not_decide_without_it() {
    let cluster = Cluster::founded(22, 3, Options::lan()).await;
    let leader = cluster.leader().unwrap();
    let others: Vec<NodeId> = (1..=3).filter(|id| *id != leader).collect();
    let (dead, needed) = (others[0], others[1]);
    cluster.close(dead).await;
    sleep(seconds(2)).await;
    let node = cluster.node(leader);
    let refused = node.remove(needed).await.unwrap_err();
    let expected = format!("1 of 2 voters are silent (node {dead})");
    assert!(matches!(&refused, ControlError::Membership(why) if why.contains(&expected)), "{refused}");
    node.propose(&Command::put("a", "1")).await.unwrap();
    // Also when it is asked of the one that is to go.
    let refused = cluster.node(needed).remove(needed).await.unwrap_err();
    assert_eq!(refused.to_string().matches("not changed").count(), 1, "{refused}");
    node.remove(dead).await.unwrap();
    node.remove(needed).await.unwrap();
    node.propose(&Command::put("a", "2")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_learner_that_is_gone_gets_no_vote() {
    let cluster = Cluster::founded(23, 1, Options::lan()).await;
    let node = cluster.node(1);
    cluster.open(2).await;
    node.add_learner(2, member(2)).await.unwrap();
    cluster.settle().await;
    cluster.close(2).await;
    sleep(seconds(2)).await;
    let refused = node.promote(2).await.unwrap_err();
    assert!(
        matches!(&refused, ControlError::Membership(why) if why.contains("does not answer")),
        "{refused}"
    );
    node.propose(&Command::put("a", "1")).await.unwrap();
    cluster.open(2).await;
    node.promote(2).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_no_node_could_read_is_not_decided() {
    let cluster = Cluster::founded(24, 1, Options::lan()).await;
    let mut endless = member(2);
    endless.address = "hub2:7443,".repeat(200);
    let refused = cluster.node(1).add_learner(2, endless).await.unwrap_err();
    assert!(matches!(refused, ControlError::Membership(_)), "{refused}");
    assert_eq!(cluster.node(1).members().len(), 1);
}

/// What comes next on the way to a cluster without `old` and with `new`; none: that is reached.
async fn step(node: &Control, new: NodeId, old: NodeId) -> Option<Result<(), ControlError>> {
    let members = node.members();
    let find = |id| members.iter().find(|member| member.id == id);
    if node.metrics().joint {
        return Some(node.settle().await);
    }
    match (find(new), find(old)) {
        (None, _) => Some(node.add_learner(new, member(new)).await),
        (Some(member), _) if !member.votes => Some(node.promote(new).await),
        (_, Some(_)) => Some(node.remove(old).await),
        (Some(_), None) => None,
    }
}

/// Changes one member for another, as whoever leads, until it is decided.
async fn change(cluster: Cluster, new: NodeId, old: NodeId) {
    cluster.open(new).await;
    loop {
        sleep(std::time::Duration::from_millis(100)).await;
        let Some(leader) = cluster.leader() else { continue };
        let Some((_, node)) = cluster.nodes().into_iter().find(|(id, _)| *id == leader) else { continue };
        let term = node.metrics().term;
        let reached = step(&node, new, old).await.is_none();
        // What was seen may be written and not decided: it is when the same leader decides something behind it.
        let decided = reached && node.propose(&Command::put("changed", new.to_string())).await.is_ok();
        if decided && node.metrics().term == term {
            return;
        }
    }
}

async fn change_under_faults(seed: u64) {
    let options = Options { snapshot_entries: 60, keep_entries: 10, ..Options::lan() };
    let cluster = Cluster::founded(seed, 3, options).await;
    let history = History::new();
    let end = Instant::now() + seconds(40);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..3 {
        clients.spawn(history.clone().client(cluster.clone(), number + 1, seed * 100 + number, 3, end));
    }
    let breaking = tokio::spawn(trouble(cluster.clone(), seed, end));
    let changing = cluster.clone();
    let changing = tokio::spawn(async move {
        change(changing.clone(), 4, 2).await;
        change(changing, 5, 3).await;
    });
    while Instant::now() < end {
        cluster.check_leaders();
        sleep(std::time::Duration::from_millis(20)).await;
    }
    breaking.await.unwrap();
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    cluster.heal();
    let changed = tokio::time::timeout(seconds(60), changing).await;
    changed.unwrap_or_else(|_| panic!("seed {seed}: the members do not change")).unwrap();
    for gone in [2, 3] {
        cluster.close(gone).await;
    }
    cluster.wait_for_leader().await;
    cluster.agree().await;
    for (id, node) in cluster.nodes() {
        let voters: Vec<NodeId> =
            node.members().iter().filter(|member| member.votes).map(|member| member.id).collect();
        assert_eq!(
            (node.metrics().joint, node.members().len(), voters),
            (false, 3, vec![1, 4, 5]),
            "node {id}"
        );
        node.propose(&Command::put("agreed", id.to_string())).await.unwrap();
    }
    history.read_all(&cluster, 3).await;
    assert!(history.check() > 100, "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn members_change_while_leaders_are_lost() {
    for seed in 2_001..=2_000 + seeds(6) {
        change_under_faults(seed).await;
    }
}
