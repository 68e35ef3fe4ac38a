//! Replication streams between drivers that are the test's own.

use millrace_hub_engine::{Event, LinkId};
use millrace_model::{DeviceId, Encoding, Incarnation, JournalId, Lane};
use millrace_wire::peer::{Holds, Offer, PeerRun};
use millrace_wire::{Lodging, PeerFrame, RunFrame};

use super::super::*;
use super::world::{Hub, World, soon, until};
use crate::driver::input::Input;
use crate::driver::way::{FRAMES_MAX, Way};

const OFFER: PeerFrame = PeerFrame::Offer(Offer { epoch: 1, node: NodeId(1), store: Incarnation::new(7) });

fn run(first: u64, bytes: usize) -> PeerFrame {
    let device = DeviceId::from_bytes([7; 16]);
    let journal = JournalId { device, incarnation: Incarnation::new(5), lane: Lane::Normal };
    let (journal, body) = (Lodging::from(journal), Bytes::from(vec![1; bytes]));
    let run = RunFrame { journal, first, count: 1, encoding: Encoding::Plain, body, segment: None };
    PeerFrame::Run(PeerRun { device, run })
}

async fn peer_up(hub: &mut Hub) -> (NodeId, Way) {
    match hub.input().await {
        Input::PeerUp { node, way } => (node, way),
        other => panic!("{other:?}"),
    }
}

async fn guest_up(hub: &mut Hub) -> (LinkId, NodeId, Way) {
    match hub.input().await {
        Input::GuestUp { guest, node, way } => (guest, node, way),
        other => panic!("{other:?}"),
    }
}

async fn event(hub: &mut Hub) -> Event {
    match hub.input().await {
        Input::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

/// One hub that owes, and one that receives and dials nobody.
async fn stream(world: &World) -> (Hub, Way, Hub, LinkId, Way) {
    let (mut one, mut two) = (world.hub(1), world.hub(2));
    one.expects(&[&two]);
    let (node, way) = peer_up(&mut one).await;
    assert_eq!(node, two.node);
    assert!(way.send(OFFER));
    let (guest, from, back) = guest_up(&mut two).await;
    assert_eq!(from, one.node);
    assert_eq!(event(&mut two).await, Event::GuestSaid { guest, frame: OFFER });
    (one, way, two, guest, back)
}

#[tokio::test]
async fn frames_go_both_ways_in_order() {
    let world = World::new();
    let (mut one, way, mut two, guest, back) = stream(&world).await;
    for first in 1..=50 {
        assert!(way.send(run(first, 64 << 10)));
    }
    for first in 1..=50 {
        let frame = run(first, 64 << 10);
        assert_eq!(event(&mut two).await, Event::GuestSaid { guest, frame });
    }
    let flushed = PeerFrame::Flushed(Holds { held: Vec::new() });
    assert!(back.send(flushed.clone()));
    assert_eq!(event(&mut one).await, Event::PeerSaid { node: two.node, frame: flushed });
}

#[tokio::test]
async fn a_stream_that_either_driver_ends_is_told_of_at_both_and_begins_again() {
    let world = World::new();
    let (mut one, way, mut two, guest, back) = stream(&world).await;
    way.end("it broke the protocol");
    assert_eq!(event(&mut one).await, Event::PeerDown { node: two.node });
    assert_eq!(event(&mut two).await, Event::GuestDown { guest });
    drop(back);
    let (_, way) = peer_up(&mut one).await;
    assert!(way.send(OFFER));
    let (next, _, back) = guest_up(&mut two).await;
    assert!(next > guest);
    assert!(matches!(event(&mut two).await, Event::GuestSaid { .. }));
    back.end("not this one");
    assert_eq!(event(&mut two).await, Event::GuestDown { guest: next });
    assert_eq!(event(&mut one).await, Event::PeerDown { node: two.node });
    peer_up(&mut one).await;
    assert!(one.link(two.node).connected, "the connection was never touched");
}

#[tokio::test]
async fn a_hub_that_is_not_in_the_table_cannot_replicate_until_it_is() {
    let world = World::new();
    let (mut one, mut two) = (world.hub(1), world.hub(2));
    world.unseat(1);
    one.expects(&[&two]);
    let (_, way) = peer_up(&mut one).await;
    assert!(way.send(OFFER));
    assert_eq!(event(&mut one).await, Event::PeerDown { node: two.node });
    assert!(two.inputs.try_recv().is_err(), "the driver heard nothing of it");
    world.seat(1);
    soon(async {
        while two.inputs.is_empty() {
            if let Ok(Input::PeerUp { way, .. }) = one.inputs.try_recv() {
                way.send(OFFER);
                std::mem::forget(way);
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    guest_up(&mut two).await;
}

#[tokio::test]
async fn the_driver_hears_of_the_end_of_an_older_stream_before_a_newer_one_of_the_same_hub() {
    let world = World::new();
    let (_one, _way, mut two, guest, _back) = stream(&world).await;
    // The same hub, started again while its former connection has not timed out.
    let mut again = world.hub_at(world.identity(1), 1, super::world::LOOPBACK);
    again.expects(&[&two]);
    let (_, way) = peer_up(&mut again).await;
    assert!(way.send(OFFER));
    assert_eq!(event(&mut two).await, Event::GuestDown { guest });
    let (next, node, _) = guest_up(&mut two).await;
    assert_eq!((node, next > guest), (NodeId(1), true));
}

#[tokio::test]
async fn a_driver_that_takes_nothing_holds_the_other_hub_back_and_calls_go_on() {
    let world = World::new();
    let (one, way, mut two, guest, _back) = stream(&world).await;
    // 48 MiB: more than the road and the driver's inputs hold together.
    let sent = (1..=48).take_while(|first| way.send(run(*first, 1 << 20))).count();
    assert_eq!(sent, 48);
    assert_eq!(one.ask(&two, "heartbeat").await.unwrap(), "heartbeat");
    for first in 1..=48 {
        assert_eq!(event(&mut two).await, Event::GuestSaid { guest, frame: run(first, 1 << 20) });
    }
}

#[tokio::test]
async fn what_is_no_frame_of_replication_ends_the_stream_alone() {
    let world = World::new();
    let (one, _way, mut two, guest, _back) = stream(&world).await;
    let connection = one.peers.0.links()[&two.node].connection().unwrap();
    let (mut outlet, _inlet) = connection.open_bi(0).await.unwrap();
    outlet.send(OFFER.encode().unwrap()).await.unwrap();
    assert_eq!(event(&mut two).await, Event::GuestDown { guest }, "the newest stream counts");
    let (guest, _, _back) = guest_up(&mut two).await;
    event(&mut two).await;
    outlet.send(Bytes::from_static(&[0, 0, 0, 3, 1, 1, 0])).await.unwrap();
    assert_eq!(event(&mut two).await, Event::GuestDown { guest });
    assert_eq!(connection.close_reason(), None);
    // A stream that begins with anything else is no stream between hubs.
    let (mut outlet, _inlet) = connection.open_bi(0).await.unwrap();
    outlet.send(Bytes::from_static(&[0, 0, 0, 3, 1, 1, 0])).await.unwrap();
    assert_eq!(soon(connection.closed()).await.code, CloseCode::ProtocolError);
}

#[tokio::test]
async fn a_way_that_is_full_ends_its_stream() {
    let world = World::new();
    let (mut one, way, two, ..) = stream(&world).await;
    let tell = || way.send(PeerFrame::Holds(Holds { held: Vec::new() }));
    // Faster than any road, since nothing else runs on this thread meanwhile.
    let taken = (0..2 * FRAMES_MAX).take_while(|_| tell()).count();
    assert!((FRAMES_MAX..2 * FRAMES_MAX).contains(&taken), "{taken}");
    assert_eq!(event(&mut one).await, Event::PeerDown { node: two.node });
    until(|| !one.inputs.is_empty()).await;
}
