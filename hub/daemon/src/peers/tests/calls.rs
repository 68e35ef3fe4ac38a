//! What a call promises.

use std::sync::atomic::Ordering;

use millrace_hub_control::{Member, Transport, TransportError};
use millrace_link::{ClientOptions, Dialer};
use millrace_wire::limits::CALL_BODY_MAX;

use super::super::control_road::ControlRoad;
use super::super::*;
use super::world::{LOOPBACK, PATIENCE, ROAD, World, hub_id, pair, soon, until};

#[tokio::test]
async fn hubs_call_each_other_and_know_who_calls() {
    let world = World::new();
    let (one, two) = pair(&world).await;
    assert_eq!(one.ask(&two, "how are you").await.unwrap(), "how are you");
    assert_eq!(two.ask(&one, "and you").await.unwrap(), "and you");
    let caller = two.calls.callers.lock().unwrap().pop().unwrap();
    assert_eq!((caller.hub, caller.node, caller.name.as_str()), (hub_id(1), Some(NodeId(1)), "hub-1"));
    let refused = one.ask(&two, "refuse me").await.unwrap_err();
    assert_eq!(refused, CallError::Refused("no control for you".to_owned()));
    let metrics = Metrics::new("millrace_hub", world.clock.clone());
    one.peers.meter(&metrics).unwrap();
    let figures = metrics.render();
    for line in [
        "millrace_hub_peer_calls_made_total{kind=\"control\",outcome=\"refused\"} 1",
        "millrace_hub_peer_calls_served_total{kind=\"control\",outcome=\"answered\"} 1",
        "millrace_hub_peers_connected 1",
    ] {
        assert!(figures.contains(line), "{line} is not in {figures}");
    }
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn the_largest_call_passes_and_a_larger_one_does_not_leave() {
    let world = World::new();
    let (one, two) = pair(&world).await;
    let mut large = vec![7; CALL_BODY_MAX];
    let call = |body: &[u8]| one.peers.call(two.node, CallKind::Api, Bytes::copy_from_slice(body), PATIENCE);
    assert_eq!(call(&large).await.unwrap(), large);
    large.push(7);
    assert!(matches!(call(&large).await, Err(CallError::Unreachable(why)) if why.contains("limit")));
    assert!(matches!(call(b"large").await, Err(CallError::Refused(why)) if why.contains("limit")));
}

#[tokio::test]
async fn a_slow_call_delays_no_other_and_the_api_takes_no_place_of_the_consensus() {
    let world = World::new();
    let (one, two) = pair(&world).await;
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let (peers, node) = (one.peers.clone(), two.node);
            tokio::spawn(async move { peers.call(node, CallKind::Api, "wait".into(), PATIENCE).await })
        })
        .collect();
    until(|| two.calls.waiting.load(Ordering::SeqCst) == 32).await;
    for _ in 0..100 {
        assert_eq!(one.ask(&two, "heartbeat").await.unwrap(), "heartbeat");
    }
    let brief = Duration::from_millis(50);
    let full = one.peers.call(two.node, CallKind::Api, "too many".into(), brief).await;
    assert!(
        matches!(full, Err(CallError::Unreachable(_))),
        "no place is free, so it did not leave: {full:?}"
    );
    let finished = async {
        for call in slow {
            while !call.is_finished() {
                two.calls.release.notify_waiters();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(call.await.unwrap().unwrap(), "wait");
        }
    };
    soon(finished).await;
}

#[tokio::test]
async fn a_call_that_left_and_was_not_answered_in_time_may_have_had_an_effect() {
    let world = World::new();
    let (one, two) = pair(&world).await;
    let brief = Duration::from_secs(30);
    let gone = one.peers.call(two.node, CallKind::Control, "wait".into(), brief);
    assert!(tokio::time::timeout(Duration::from_millis(100), gone).await.is_err(), "whoever asks gives up");
    until(|| two.calls.waiting.load(Ordering::SeqCst) == 1).await;
    until(|| two.peers.0.places.of(CallKind::Control).available_permits() == 512).await;
    let brief = Duration::from_millis(100);
    let failed = one.peers.call(two.node, CallKind::Control, "wait".into(), brief).await;
    assert!(matches!(failed, Err(CallError::Failed(_) | CallError::Refused(_))), "{failed:?}");
    // The other hub does not work on for nobody: its places come back.
    until(|| {
        let free = two.peers.0.places.of(CallKind::Control).available_permits();
        free == 512
    })
    .await;
}

#[tokio::test]
async fn a_hub_outside_the_table_is_reached_by_address_and_may_only_join_and_vote() {
    let world = World::new();
    let one = world.hub(1);
    let fresh = world.hub_at(world.identity(7), 7, LOOPBACK);
    let there = [one.at.to_string()];
    let call = |kind, text: &'static str| fresh.peers.call_at(&there, kind, text.into(), PATIENCE);
    assert_eq!(call(CallKind::Join, "take me").await.unwrap(), "take me");
    assert_eq!(call(CallKind::Control, "vote").await.unwrap(), "vote");
    for kind in [CallKind::Api, CallKind::Renew] {
        let refused = call(kind, "more").await;
        assert!(matches!(refused, Err(CallError::Refused(why)) if why.contains("join")), "{kind}");
    }
    let caller = one.calls.callers.lock().unwrap().first().cloned().unwrap();
    assert_eq!((caller.hub, caller.node), (hub_id(7), None));
    let strangers = fresh.peers.call(one.node, CallKind::Control, "hello".into(), PATIENCE).await;
    assert!(matches!(strangers, Err(CallError::Unreachable(_))), "it is not expected: {strangers:?}");
    let nowhere = ["127.0.0.1:1".to_owned()];
    let unreachable = fresh.peers.call_at(&nowhere, CallKind::Join, "take me".into(), PATIENCE).await;
    assert!(matches!(unreachable, Err(CallError::Unreachable(_))), "{unreachable:?}");
    world.seat(7);
    assert_eq!(call(CallKind::Api, "a question").await.unwrap(), "a question", "the table counts at once");
}

#[tokio::test]
async fn the_consensus_reaches_nodes_by_the_table_and_before_that_by_address() {
    let world = World::new();
    let (one, two) = pair(&world).await;
    let fresh = world.hub_at(world.identity(7), 7, LOOPBACK);
    let road = ControlRoad::new(one.peers.clone());
    let member = Member { address: format!("127.0.0.1:1, {}", fresh.at), ..Member::default() };
    assert_eq!(road.call(2, &member, "append".into()).await.unwrap(), "append");
    assert_eq!(two.calls.callers.lock().unwrap().len(), 1, "not at the address, since it is in the table");
    assert_eq!(road.call(7, &member, "append".into()).await.unwrap(), "append");
    assert_eq!(fresh.calls.callers.lock().unwrap().len(), 1);
    let nowhere = Member { address: "127.0.0.1:1".to_owned(), ..Member::default() };
    let unreachable = road.call(8, &nowhere, "append".into()).await;
    assert!(matches!(unreachable, Err(TransportError::Unreachable(_))), "{unreachable:?}");
    let failed = road.call(2, &member, "refuse".into()).await;
    assert!(matches!(failed, Err(TransportError::Failed(_))), "{failed:?}");
}

#[tokio::test]
async fn a_device_is_not_served_as_a_hub() {
    let world = World::new();
    let one = world.hub(1);
    let wall = world.clock.clone();
    let mut options = ClientOptions::new(Arc::new(move || wall.wall()));
    options.road = ROAD;
    let dialer = Dialer::new(options);
    let connection = dialer.connect(one.at, &world.device()).await.unwrap();
    assert_eq!(soon(connection.closed()).await.code, CloseCode::NotAdmitted);
    assert!(one.calls.callers.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_hub_of_another_ca_is_refused_both_ways() {
    let (ours, theirs) = (World::new(), World::new());
    let (one, foreign) = (ours.hub(1), theirs.hub(2));
    one.expects(&[&foreign]);
    foreign.expects(&[&one]);
    for (hub, other) in [(&one, &foreign), (&foreign, &one)] {
        until(|| {
            hub.link(other.node).problem.is_some_and(|problem| problem.contains("not a hub of our cluster"))
        })
        .await;
        let unreachable = hub.ask(other, "hello").await;
        assert!(matches!(unreachable, Err(CallError::Unreachable(_))), "{unreachable:?}");
    }
    assert!(one.calls.callers.lock().unwrap().is_empty());
}
