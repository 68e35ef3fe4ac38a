//! How roads end and come back.

use std::net::SocketAddr;

use super::super::*;
use super::world::{Hub, LOOPBACK, World, pair, soon, until};

/// A hub with a runtime of its own: it can die without a word.
struct Mortal {
    runtime: tokio::runtime::Runtime,
    hub: Hub,
}

impl Mortal {
    fn born(world: &World, identity: Identity, number: u8, at: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inside = runtime.enter();
        let hub = world.hub_at(identity, number, at);
        drop(inside);
        Self { runtime, hub }
    }

    /// Its links are of its own runtime.
    fn expects(&self, other: &Hub) {
        let _inside = self.runtime.enter();
        self.hub.expects(&[other]);
    }

    async fn die(self) {
        // First the runtime: without it nobody can say farewell.
        let dying = move || {
            self.runtime.shutdown_timeout(Duration::from_secs(5));
            drop(self.hub);
        };
        tokio::task::spawn_blocking(dying).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_dies_is_noticed_and_is_connected_again_when_it_is_back() {
    let world = World::new();
    let one = world.hub(1);
    world.seat(2);
    let identity = world.identity(2);
    let two = Mortal::born(&world, identity.clone(), 2, LOOPBACK);
    let (at, node) = (two.hub.at, two.hub.node);
    one.expects(&[&two.hub]);
    two.expects(&one);
    one.connected(&two.hub).await;
    two.hub.connected(&one).await;
    until(|| one.link(node).incoming == 1).await;
    two.die().await;
    until(|| !one.link(node).connected && one.link(node).incoming == 0).await;
    let gone = one.peers.call(node, CallKind::Control, "hello".into(), Duration::from_secs(1)).await;
    assert!(matches!(gone, Err(CallError::Unreachable(_))), "{gone:?}");

    let again = Mortal::born(&world, identity, 2, at);
    again.expects(&one);
    one.connected(&again.hub).await;
    assert_eq!(one.ask(&again.hub, "welcome back").await.unwrap(), "welcome back");
    again.die().await;
}

#[tokio::test]
async fn a_hub_that_was_waited_for_long_is_dialled_as_soon_as_it_comes_in() {
    let world = World::new();
    let (one, two) = (world.hub(1), world.hub(2));
    let wrong = PeerAddress { hub: super::world::hub_id(2), addresses: vec!["127.0.0.1:1".to_owned()] };
    one.peers.expect([(two.node, wrong)].into());
    until(|| one.link(two.node).problem.is_some_and(|problem| problem.contains("127.0.0.1:1"))).await;
    one.expects(&[&two]);
    one.connected(&two).await;
    assert_eq!(one.ask(&two, "found").await.unwrap(), "found", "a new address is used at once");
}

#[tokio::test]
async fn an_address_that_leads_to_another_hub_is_no_road() {
    let world = World::new();
    let (one, two, three) = (world.hub(1), world.hub(2), world.hub(3));
    let (node, mut address) = two.address();
    address.addresses = vec![three.at.to_string(), one.at.to_string()];
    one.peers.expect([(node, address.clone())].into());
    until(|| one.link(node).problem.is_some_and(|problem| problem.contains("back to this hub"))).await;
    assert!(matches!(one.ask(&two, "hello").await, Err(CallError::Unreachable(_))));
    assert!(three.calls.callers.lock().unwrap().is_empty());
    address.addresses.push(two.at.to_string());
    one.peers.expect([(node, address)].into());
    assert_eq!(one.link(node).hub, super::world::hub_id(2));
    one.connected(&two).await;
    assert_eq!(one.ask(&two, "hello").await.unwrap(), "hello", "the last address is the right one");
}

#[tokio::test]
async fn a_hub_that_left_the_table_is_cut_off_both_ways() {
    let world = World::new();
    let (one, two) = pair(&world).await;
    until(|| one.link(two.node).incoming == 1 && two.link(one.node).incoming == 1).await;
    world.unseat(2);
    one.expects(&[]);
    assert_eq!(one.peers.links(), []);
    until(|| !two.link(one.node).connected || two.link(one.node).problem.is_some()).await;
    assert!(matches!(one.ask(&two, "hello").await, Err(CallError::Unreachable(_))));
    // It dials again, and gets no further than a hub that wants to join.
    until(|| two.link(one.node).connected).await;
    let refused = two.peers.call(one.node, CallKind::Api, "hello".into(), Duration::from_secs(5)).await;
    assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn datagrams_go_over_whichever_connection_stands() {
    let world = World::new();
    let (one, mut two) = (world.hub(1), world.hub(2));
    one.expects(&[&two]);
    one.connected(&two).await;
    one.peers.gossip(two.node, "hear this".into());
    assert_eq!(soon(two.heard.recv()).await.unwrap(), (one.node, Bytes::from("hear this")));
    // Two cannot dial one, and uses the connection that one dialled.
    let (node, address) = one.address();
    let unreachable = PeerAddress { addresses: vec!["127.0.0.1:1".to_owned()], ..address };
    two.peers.expect([(node, unreachable)].into());
    until(|| two.link(node).incoming == 1).await;
    two.peers.gossip(one.node, "and this".into());
    let mut one = one;
    assert_eq!(soon(one.heard.recv()).await.unwrap(), (two.node, Bytes::from("and this")));
    two.peers.gossip(NodeId(99), "nobody".into());
}

#[tokio::test]
async fn a_new_identity_is_shown_with_the_next_connection() {
    let world = World::new();
    let (one, two) = pair(&world).await;
    one.ask(&two, "before").await.unwrap();
    let renewed = world.identity(1);
    one.renew.send_replace(renewed.clone());
    one.ask(&two, "the connection stays").await.unwrap();
    two.peers.0.guests.close(CloseCode::Shutdown, "once more");
    until(|| !one.link(two.node).connected).await;
    one.connected(&two).await;
    one.ask(&two, "after").await.unwrap();
    let keys: Vec<KeyHash> = two.calls.callers.lock().unwrap().iter().map(|caller| caller.key).collect();
    assert!(keys[0] == keys[1] && keys[2] == renewed.own().public_key_hash && keys[2] != keys[0]);
}

#[tokio::test]
async fn the_oldest_of_too_many_connections_of_one_hub_goes() {
    let world = World::new();
    let two = world.hub(2);
    let fresh: Vec<Hub> = (0..9).map(|_| world.hub_at(world.identity(7), 7, LOOPBACK)).collect();
    let there = [two.at.to_string()];
    for hub in &fresh {
        let called = hub.peers.call_at(&there, CallKind::Join, "me".into(), Duration::from_secs(5)).await;
        assert_eq!(called.unwrap(), "me");
    }
    until(|| two.peers.0.guests.of(&super::world::hub_id(7)).len() == bounds::GUESTS_PER_HUB_MAX).await;
}

#[tokio::test]
async fn an_orderly_end_is_told_to_the_others() {
    let world = World::new();
    let (one, two) = pair(&world).await;
    let node = two.node;
    // Looked for while it ends: the other one dials again soon, and then it is another problem.
    let told = until(|| one.link(node).problem.is_some_and(|problem| problem.contains("the hub stops")));
    tokio::join!(two.end(), told);
}
