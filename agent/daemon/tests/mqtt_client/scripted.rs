//! The subscriber against a broker that says what the test tells it to.

use std::net::Ipv4Addr;

use millrace_agent::mqtt::Version;
use tokio::net::TcpListener;

use crate::bench::{PROOF, options, start};
use crate::mqtt_support::{PINGREQ, Raw, packet, publication, soon, stored};

/// A broker of our own: takes one connection, answers CONNECT and, if it comes, SUBSCRIBE.
async fn scripted(listener: &TcpListener, session_present: bool, subscribes: bool) -> Raw {
    let mut raw = Raw(soon(listener.accept()).await.unwrap().0);
    assert_eq!(raw.hear().await[0], 0x10);
    raw.say(&[0x20, 2, u8::from(session_present), 0]).await;
    if subscribes {
        let subscribe = raw.hear().await;
        assert_eq!(subscribe[0], 0x82);
        raw.say(&packet(0x90, &[subscribe[2], subscribe[3], 2])).await;
    }
    raw
}

#[tokio::test]
async fn qos_2_is_exactly_once_across_a_lost_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut bench = start(options(listener.local_addr().unwrap().port(), Version::V4));
    let mut broker = scripted(&listener, false, true).await;
    broker.say(&publication(4, 2, false, 5, "plant/a", b"x")).await;
    let arrival = soon(bench.arrivals.recv()).await.unwrap();
    drop(broker);
    let mut broker = scripted(&listener, true, false).await;
    broker.say(&publication(4, 2, true, 5, "plant/a", b"x")).await;
    arrival.receipt.stored(&PROOF);
    assert_eq!(broker.hear().await, [0x50, 2, 0, 5]);
    drop(broker);
    let mut broker = scripted(&listener, true, false).await;
    broker.say(&publication(4, 2, true, 5, "plant/a", b"x")).await;
    assert_eq!(broker.hear().await, [0x50, 2, 0, 5]);
    broker.say(&[0x62, 2, 0, 5]).await;
    assert_eq!(broker.hear().await, [0x70, 2, 0, 5]);
    assert_eq!(bench.status.snapshot().received_total, 1);
    drop(broker);
    bench.end().await;
}

#[tokio::test]
async fn a_release_from_before_our_restart_is_answered() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let bench = start(options(listener.local_addr().unwrap().port(), Version::V4));
    let mut broker = scripted(&listener, true, true).await;
    broker.say(&[0x62, 2, 0, 42]).await;
    assert_eq!(broker.hear().await, [0x70, 2, 0, 42]);
    assert_eq!(bench.status.snapshot().reconnects, 0);
    drop(broker);
    bench.end().await;
}

#[tokio::test]
async fn acknowledgements_leave_in_order_and_never_for_an_older_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut bench = start(options(listener.local_addr().unwrap().port(), Version::V4));
    let mut broker = scripted(&listener, false, true).await;
    broker.say(&publication(4, 1, false, 1, "plant/a", b"old")).await;
    let old = soon(bench.arrivals.recv()).await.unwrap();
    drop(broker);
    let mut broker = scripted(&listener, false, true).await;
    // A new session: the same packet id is another message now.
    broker.say(&publication(4, 1, false, 1, "plant/a", b"first")).await;
    broker.say(&publication(4, 1, false, 2, "plant/a", b"second")).await;
    let first = soon(bench.arrivals.recv()).await.unwrap();
    let second = soon(bench.arrivals.recv()).await.unwrap();
    old.receipt.stored(&PROOF);
    second.receipt.stored(&PROOF);
    // An unknown release is answered at once: had an acknowledgement been due, it would have come before.
    broker.say(&[0x62, 2, 0, 9]).await;
    assert_eq!(broker.hear().await, [0x70, 2, 0, 9]);
    first.receipt.stored(&PROOF);
    assert_eq!(broker.hear().await, [0x40, 2, 0, 1]);
    assert_eq!(broker.hear().await, [0x40, 2, 0, 2]);
    drop(broker);
    bench.end().await;
}

#[tokio::test]
async fn a_broker_that_sends_nonsense_is_left_and_tried_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut bench = start(options(listener.local_addr().unwrap().port(), Version::V4));
    for nonsense in [&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF][..], &[0x30, 3, 0, 9, b'a'], &PINGREQ] {
        let mut broker = scripted(&listener, false, true).await;
        broker.say(nonsense).await;
        broker.closed().await;
    }
    let mut broker = scripted(&listener, false, true).await;
    broker.say(&publication(4, 1, false, 1, "plant/a", b"x")).await;
    assert_eq!(stored(&mut bench.arrivals).await.1, b"x");
    drop(broker);
    bench.end().await;
}
