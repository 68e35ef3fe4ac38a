//! What one hub refuses, without a network.

use millrace_model::{HubId, Incarnation};
use millrace_wire::limits::GOSSIP_DATAGRAM_MAX;

use super::*;

fn peer(node: u64, life: u64) -> Peer {
    Peer { node: NodeId(node), life, incarnation: Incarnation::new(node) }
}

fn hub(node: u64) -> Membership {
    Membership::new(peer(node, 1_000), Preset::Lan, node, Moment(0))
}

fn sent(from: &mut Membership) -> Vec<(NodeId, Bytes)> {
    let outputs = std::iter::from_fn(|| from.poll());
    let sends = outputs.filter_map(|output| match output {
        Output::Send { to, bytes } => Some((to, bytes)),
        _ => None,
    });
    sends.collect()
}

fn announcement(from: &mut Membership, to: u64) -> Bytes {
    from.handle(Input::Joined(vec![NodeId(to)]), Moment(1));
    sent(from).remove(0).1
}

fn profile(name: &str) -> Profile {
    Profile {
        hub: HubId::from_bytes([1; 16]),
        name: name.to_owned(),
        region: "eu".to_owned(),
        addresses: Vec::new(),
        software: String::new(),
        load_permille: 0,
        draining: false,
        fullness: Fullness::Full,
    }
}

#[test]
fn a_datagram_from_the_wrong_sender_is_refused_and_counted() {
    let (mut one, mut two) = (hub(1), hub(2));
    let bytes = announcement(&mut one, 2);
    for liar in [3, 2] {
        two.handle(Input::Datagram { from: NodeId(liar), bytes: bytes.clone() }, Moment(2));
    }
    assert_eq!((two.counts().refused_source, two.members().count()), (2, 0));
    assert!(sent(&mut two).is_empty());
    two.handle(Input::Datagram { from: NodeId(1), bytes }, Moment(3));
    assert_eq!(two.members().map(|view| view.peer).collect::<Vec<_>>(), [peer(1, 1_000)]);
}

#[test]
fn nobody_answers_for_another_hub() {
    let (mut one, mut two) = (hub(1), hub(2));
    let bytes = announcement(&mut one, 2);
    two.handle(Input::Datagram { from: NodeId(1), bytes }, Moment(2));
    let edition = Edition { life: 9_999, version: 1 };
    let news = Announced { node: NodeId(1), edition, profile: profile("forged") };
    let forged = datagram::of_answer(&Answer { number: 1, news: Some(news) }).unwrap();
    two.handle(Input::Datagram { from: NodeId(3), bytes: forged }, Moment(3));
    assert_eq!(two.counts().refused_source, 1);
    assert_eq!(two.member(NodeId(1)).unwrap().profile, None);
}

#[test]
fn bytes_that_are_no_datagram_are_refused_and_change_nothing() {
    let mut two = hub(2);
    let mut dice = fastrand::Rng::with_seed(7);
    let good = announcement(&mut hub(1), 2);
    let mut refused = 0;
    for _ in 0..2_000 {
        let mut bytes = good.to_vec();
        match dice.u8(0..3) {
            0 => bytes.truncate(dice.usize(0..good.len())),
            1 => bytes.extend(std::iter::repeat_with(|| dice.u8(..)).take(3)),
            _ => bytes = std::iter::repeat_with(|| dice.u8(..)).take(60).collect(),
        }
        two.handle(Input::Datagram { from: NodeId(1), bytes: bytes.into() }, Moment(2));
        refused += 1;
    }
    two.handle(
        Input::Datagram { from: NodeId(1), bytes: vec![0; GOSSIP_DATAGRAM_MAX + 1].into() },
        Moment(2),
    );
    assert_eq!(two.counts().refused_form + two.counts().faults, refused + 1);
    assert_eq!(two.members().count(), 0);
}

#[test]
fn hubs_beyond_the_limit_are_refused_and_counted() {
    let mut crowded = hub(100_000);
    for node in 1..=MEMBERS_MAX as u64 + 5 {
        let bytes = announcement(&mut hub(node), 100_000);
        crowded.handle(Input::Datagram { from: NodeId(node), bytes }, Moment(2));
        let too_long = sent(&mut crowded).into_iter().find(|(_, bytes)| bytes.len() > GOSSIP_DATAGRAM_MAX);
        assert_eq!(too_long, None);
    }
    assert_eq!((crowded.members().count(), crowded.counts().refused_room), (MEMBERS_MAX, 5));
}

#[test]
fn a_load_that_flickers_is_told_at_intervals_and_anything_else_at_once() {
    let mut one = hub(1);
    one.handle(Input::ProfileChanged(profile("one")), Moment(0));
    for load in 1..=100 {
        one.handle(Input::ProfileChanged(Profile { load_permille: load, ..profile("one") }), Moment(1));
        one.handle(Input::ProfileChanged(profile("one")), Moment(1));
    }
    assert_eq!(
        (one.profile().unwrap().0.version, one.out.agenda.len()),
        (1, 3),
        "one errand for all of them"
    );
    one.handle(Input::ProfileChanged(Profile { draining: true, ..profile("one") }), Moment(2));
    assert_eq!(one.profile().unwrap().0.version, 2);
    one.handle(
        Input::ProfileChanged(Profile { draining: true, load_permille: 7, ..profile("one") }),
        Moment(3),
    );
    let mut now = Moment(3);
    while one.profile().unwrap().0.version < 3 {
        now = one.poll_timeout().unwrap().0;
        one.handle(Input::Timer, now);
    }
    assert!(now >= Moment(0) + one.numbers().load_every, "{now:?}");
    assert_eq!(one.profile().unwrap().1.load_permille, 7);
}

#[test]
fn datagrams_with_flipped_bytes_never_bring_a_hub_out_of_order() {
    let mut dice = fastrand::Rng::with_seed(11);
    let (mut one, mut two, mut now) = (hub(1), hub(2), Moment(0));
    [&mut one, &mut two].into_iter().for_each(|hub| hub.handle(Input::ProfileChanged(profile("one")), now));
    one.handle(Input::Joined(vec![NodeId(2)]), now);
    for _ in 0..5_000 {
        now = one.poll_timeout().into_iter().chain(two.poll_timeout()).map(|(at, _)| at).min().unwrap();
        one.handle(Input::Timer, now);
        two.handle(Input::Timer, now);
        for turn in 0..4 {
            let (from, to, node) =
                if turn % 2 == 0 { (&mut one, &mut two, 1) } else { (&mut two, &mut one, 2) };
            for (target, bytes) in sent(from) {
                assert_ne!(target, NodeId(node), "a hub sends to itself");
                let mut twisted = bytes.to_vec();
                let at = dice.usize(2..twisted.len());
                twisted[at] = dice.u8(..);
                to.handle(Input::Datagram { from: NodeId(node), bytes: twisted.into() }, now);
                to.handle(Input::Datagram { from: NodeId(node), bytes }, now);
                assert!(to.members().count() <= MEMBERS_MAX && to.out.agenda.len() <= 4 * MEMBERS_MAX);
            }
        }
    }
    assert!(one.counts().refused_form > 100, "{:?}", one.counts());
    assert!(two.member(NodeId(1)).is_some());
}
