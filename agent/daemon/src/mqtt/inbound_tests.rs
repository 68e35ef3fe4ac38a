//! What the receiving half promises, packet by packet.

use bytes::Bytes;

use super::*;

fn publication(qos: Qos, packet_id: u16, payload: &'static str, dup: bool) -> Publication {
    let payload = Bytes::from_static(payload.as_bytes());
    Publication { topic: "t".to_owned(), payload, qos, retain: false, dup, packet_id }
}

fn inbound(peer: Peer) -> Inbound {
    let window = Window { publications_max: 4, bytes_max: 1 << 20 };
    let mut inbound = Inbound::new(peer, window, Arc::new(Budget::new(1 << 20)));
    inbound.begin(false, peer);
    inbound
}

fn fresh(inbound: &mut Inbound, qos: Qos, packet_id: u16, payload: &'static str, dup: bool) -> Claim {
    match inbound.admit(&publication(qos, packet_id, payload, dup)) {
        Admission::Fresh(claim) => claim,
        other => panic!("expected a fresh admission, got {other:?}"),
    }
}

fn answer(inbound: &mut Inbound, claim: Claim, answer: Answer) {
    inbound.verdict(Verdict { claim, answer });
}

#[test]
fn nothing_is_acknowledged_before_it_is_stored() {
    let mut inbound = inbound(Peer::Plain);
    let claim = fresh(&mut inbound, Qos::AtLeastOnce, 1, "a", false);
    assert_eq!(inbound.poll_reply(), None);
    answer(&mut inbound, claim, Answer::Stored);
    assert_eq!(inbound.poll_reply(), Some(Reply::PubAck(1, Code::Success)));
    assert_eq!(inbound.poll_reply(), None);
}

#[test]
fn replies_leave_in_the_order_of_arrival() {
    let mut inbound = inbound(Peer::Plain);
    let first = fresh(&mut inbound, Qos::AtLeastOnce, 1, "a", false);
    let second = fresh(&mut inbound, Qos::ExactlyOnce, 2, "b", false);
    answer(&mut inbound, second, Answer::Stored);
    assert_eq!(inbound.poll_reply(), None);
    answer(&mut inbound, first, Answer::Stored);
    assert_eq!(inbound.poll_reply(), Some(Reply::PubAck(1, Code::Success)));
    assert_eq!(inbound.poll_reply(), Some(Reply::PubRec(2, Code::Success)));
}

#[test]
fn a_late_answer_acknowledges_nothing_on_the_next_connection() {
    let mut inbound = inbound(Peer::Plain);
    let old = fresh(&mut inbound, Qos::AtLeastOnce, 1, "a", false);
    inbound.begin(true, Peer::Plain);
    let new = fresh(&mut inbound, Qos::AtLeastOnce, 1, "b", false);
    answer(&mut inbound, old, Answer::Stored);
    assert_eq!(inbound.poll_reply(), None);
    answer(&mut inbound, new, Answer::Stored);
    assert_eq!(inbound.poll_reply(), Some(Reply::PubAck(1, Code::Success)));
}

#[test]
fn a_repeated_qos_2_publication_is_one_record_until_its_release() {
    let mut inbound = inbound(Peer::Plain);
    let claim = fresh(&mut inbound, Qos::ExactlyOnce, 9, "a", false);
    answer(&mut inbound, claim, Answer::Stored);
    assert_eq!(inbound.poll_reply(), Some(Reply::PubRec(9, Code::Success)));
    inbound.begin(true, Peer::Plain);
    assert_eq!(inbound.admit(&publication(Qos::ExactlyOnce, 9, "a", true)), Admission::Duplicate);
    assert_eq!(inbound.poll_reply(), Some(Reply::PubRec(9, Code::Success)));
    assert_eq!(inbound.release(9), Reply::PubComp(9, true));
    let _next = fresh(&mut inbound, Qos::ExactlyOnce, 9, "a", false);
}

#[test]
fn a_qos_2_publication_repeated_while_it_is_being_stored_waits_for_the_first_copy() {
    let mut inbound = inbound(Peer::Plain);
    let claim = fresh(&mut inbound, Qos::ExactlyOnce, 9, "a", false);
    inbound.begin(true, Peer::Plain);
    assert_eq!(inbound.admit(&publication(Qos::ExactlyOnce, 9, "a", true)), Admission::Duplicate);
    assert_eq!(inbound.poll_reply(), None);
    answer(&mut inbound, claim, Answer::Stored);
    assert_eq!(inbound.poll_reply(), Some(Reply::PubRec(9, Code::Success)));
    assert_eq!(inbound.poll_reply(), None);
}

#[test]
fn a_sender_that_lost_its_state_does_not_lose_its_new_message() {
    let mut inbound = inbound(Peer::Plain);
    let claim = fresh(&mut inbound, Qos::ExactlyOnce, 1, "before the reboot", false);
    answer(&mut inbound, claim, Answer::Stored);
    inbound.begin(true, Peer::Plain);
    let _new = fresh(&mut inbound, Qos::ExactlyOnce, 1, "after the reboot", false);
}

#[test]
fn an_unknown_release_is_answered() {
    assert_eq!(inbound(Peer::Plain).release(77), Reply::PubComp(77, false));
}

#[test]
fn a_refusal_closes_where_the_protocol_has_no_word_for_it() {
    for (peer, reply) in [
        (Peer::Plain, Reply::Close),
        (Peer::Broker, Reply::Close),
        (Peer::Publisher, Reply::PubAck(1, Code::Refused)),
    ] {
        let mut inbound = inbound(peer);
        let claim = fresh(&mut inbound, Qos::AtLeastOnce, 1, "a", false);
        answer(&mut inbound, claim, Answer::Refused);
        assert_eq!(inbound.poll_reply(), Some(reply));
    }
}

#[test]
fn an_abandoned_qos_2_publication_can_be_sent_again() {
    let mut inbound = inbound(Peer::Publisher);
    let claim = fresh(&mut inbound, Qos::ExactlyOnce, 5, "a", false);
    answer(&mut inbound, claim, Answer::Abandoned);
    assert_eq!(inbound.poll_reply(), Some(Reply::Close));
    inbound.begin(true, Peer::Publisher);
    let _again = fresh(&mut inbound, Qos::ExactlyOnce, 5, "a", true);
}

#[test]
fn a_rejection_is_acknowledged_and_ends_the_exchange() {
    let mut inbound = inbound(Peer::Publisher);
    let claim = fresh(&mut inbound, Qos::ExactlyOnce, 5, "a", false);
    answer(&mut inbound, claim, Answer::Rejected);
    assert_eq!(inbound.poll_reply(), Some(Reply::PubRec(5, Code::QuotaExceeded)));
    let _next = fresh(&mut inbound, Qos::ExactlyOnce, 5, "a", false);
}

#[test]
fn a_full_window_takes_nothing_until_the_disk_answers() {
    let mut inbound = inbound(Peer::Plain);
    let claims: Vec<Claim> =
        (1..=4).map(|id| fresh(&mut inbound, Qos::AtLeastOnce, id, "a", false)).collect();
    assert!(!inbound.has_room());
    answer(&mut inbound, claims[0], Answer::Stored);
    assert_eq!(inbound.poll_reply(), Some(Reply::PubAck(1, Code::Success)));
    assert!(inbound.has_room());
}

#[test]
fn qos_0_counts_in_the_window_and_asks_for_no_reply() {
    let mut inbound = inbound(Peer::Plain);
    let claim = fresh(&mut inbound, Qos::AtMostOnce, 0, "a", false);
    assert_eq!(inbound.outstanding(), 1);
    answer(&mut inbound, claim, Answer::Abandoned);
    assert_eq!(inbound.poll_reply(), None);
    assert_eq!(inbound.outstanding(), 0);
}

#[test]
fn a_resting_or_forgotten_session_gives_the_common_budget_back() {
    let budget = Arc::new(Budget::new(1));
    let window = Window { publications_max: 4, bytes_max: 1 << 20 };
    let mut inbound = Inbound::new(Peer::Plain, window, Arc::clone(&budget));
    inbound.begin(false, Peer::Plain);
    let claim = fresh(&mut inbound, Qos::AtLeastOnce, 1, "a", false);
    assert!(!budget.has_room());
    inbound.end();
    assert!(budget.has_room());
    answer(&mut inbound, claim, Answer::Stored);
    let _held = fresh(&mut inbound, Qos::AtLeastOnce, 2, "a", false);
    assert!(!budget.has_room());
    drop(inbound);
    assert!(budget.has_room());
}
