//! The embedded broker against Debian's mosquitto clients and against hand-written bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod mqtt_support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use millrace_agent::mqtt::{
    Arrival, BindError, EmbeddedBroker, EmbeddedOptions, Filter, LanePattern, LocalPublisher, Login,
    StatusHandle,
};
use millrace_model::{Durable, Lane};
use mqtt_support::{PINGREQ, PINGRESP, Raw, packet, publication, publish, soon, stored, subscribe};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const PROOF: Durable = Durable::attest(1);

struct Bench {
    address: SocketAddr,
    status: StatusHandle,
    publisher: LocalPublisher,
    arrivals: mpsc::Receiver<Arrival>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

async fn bench(options: EmbeddedOptions) -> Bench {
    bench_with(options, 1_024).await
}

async fn bench_with(options: EmbeddedOptions, capacity: usize) -> Bench {
    let (sender, arrivals) = mpsc::channel(capacity);
    let (stop, stopping) = watch::channel(false);
    let options = EmbeddedOptions { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..options };
    let broker = EmbeddedBroker::bind(options, sender).await.unwrap();
    let (address, status, publisher) = (broker.local_addr(), broker.status(), broker.publisher());
    Bench { address, status, publisher, arrivals, stop, running: tokio::spawn(broker.run(stopping)) }
}

/// A subscriber that is known to be subscribed: it has its first, retained message.
async fn subscribed(
    bench: &Bench,
    arguments: &[&str],
) -> (Lines<BufReader<ChildStdout>>, tokio::process::Child) {
    assert!(bench.publisher.publish("ready", &Bytes::from_static(b"yes"), 1, true));
    let mut child = subscribe(bench.address.port(), &[&["-v", "-t", "ready"], arguments].concat());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(soon(lines.next_line()).await.unwrap().unwrap(), "ready yes");
    (lines, child)
}

#[tokio::test]
async fn a_puback_leaves_only_after_the_record_is_stored() {
    let mut bench = bench(EmbeddedOptions::default()).await;
    for (level, ack) in [(4, vec![0x40, 2, 0, 7]), (5, vec![0x40, 2, 0, 7])] {
        let (mut sensor, _) = Raw::greet(bench.address, level, "sensor", true, 60).await;
        sensor.say(&publication(level, 1, false, 7, "press/temp", b"21")).await;
        let arrival = soon(bench.arrivals.recv()).await.unwrap();
        assert_eq!(
            (arrival.topic.as_str(), &arrival.payload[..], arrival.qos),
            ("press/temp", &b"21"[..], 1)
        );
        // The answer to a later ping comes first: there was no PUBACK.
        sensor.say(&PINGREQ).await;
        assert_eq!(sensor.hear().await, PINGRESP);
        arrival.receipt.stored(&PROOF);
        assert_eq!(sensor.hear().await, ack);
    }
}

#[tokio::test]
async fn mosquitto_pub_delivers_every_qos_in_both_versions() {
    let mut bench = bench(EmbeddedOptions::default()).await;
    let port = bench.address.port();
    for version in ["311", "5"] {
        for qos in ["0", "1", "2"] {
            let payload = format!("{version}-{qos}");
            let arguments = ["-V", version, "-q", qos, "-t", "plant/a", "-m", &payload];
            let (status, seen) = tokio::join!(publish(port, &arguments), stored(&mut bench.arrivals));
            assert!(status.success(), "{payload}");
            assert_eq!(seen, ("plant/a".to_owned(), payload.into_bytes(), qos.parse().unwrap()));
        }
    }
    assert_eq!(bench.status.snapshot().received_total, 6);
    assert_eq!(bench.status.snapshot().acked_total, 4);
}

#[tokio::test]
async fn a_qos_2_message_that_is_repeated_after_a_reconnect_becomes_one_record() {
    let mut bench = bench(EmbeddedOptions::default()).await;
    let (mut sensor, present) = Raw::greet(bench.address, 4, "sensor", false, 60).await;
    assert!(!present);
    sensor.say(&publication(4, 2, false, 9, "count", b"1")).await;
    let first = soon(bench.arrivals.recv()).await.unwrap();
    drop(sensor);
    // Still on its way to the disk when the sensor asks again.
    let (mut sensor, present) = Raw::greet(bench.address, 4, "sensor", false, 60).await;
    assert!(present);
    sensor.say(&publication(4, 2, true, 9, "count", b"1")).await;
    sensor.say(&PINGREQ).await;
    assert_eq!(sensor.hear().await, PINGRESP);
    first.receipt.stored(&PROOF);
    assert_eq!(sensor.hear().await, [0x50, 2, 0, 9]);
    drop(sensor);
    // Stored, PUBREC sent, and the sensor asks once more.
    let (mut sensor, _) = Raw::greet(bench.address, 4, "sensor", false, 60).await;
    sensor.say(&publication(4, 2, true, 9, "count", b"1")).await;
    assert_eq!(sensor.hear().await, [0x50, 2, 0, 9]);
    sensor.say(&[0x62, 2, 0, 9]).await;
    assert_eq!(sensor.hear().await, [0x70, 2, 0, 9]);
    assert_eq!(bench.status.snapshot().received_total, 1);
    assert!(bench.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn a_refusal_and_a_rejection_are_told_as_far_as_the_protocol_can() {
    let mut bench = bench(EmbeddedOptions::default()).await;
    let (mut modern, _) = Raw::greet(bench.address, 5, "modern", true, 60).await;
    modern.say(&publication(5, 1, false, 1, "t", b"x")).await;
    soon(bench.arrivals.recv()).await.unwrap().receipt.refused("no room");
    assert_eq!(modern.hear().await[..5], [0x40, 4, 0, 1, 0x83]);
    modern.say(&publication(5, 1, false, 2, "t", b"x")).await;
    soon(bench.arrivals.recv()).await.unwrap().receipt.rejected("too large", &PROOF);
    assert_eq!(modern.hear().await[..5], [0x40, 4, 0, 2, 0x97]);

    let (mut old, _) = Raw::greet(bench.address, 4, "old", true, 60).await;
    old.say(&publication(4, 1, false, 1, "t", b"x")).await;
    soon(bench.arrivals.recv()).await.unwrap().receipt.rejected("too large", &PROOF);
    assert_eq!(old.hear().await, [0x40, 2, 0, 1]);
    old.say(&publication(4, 1, false, 2, "t", b"x")).await;
    soon(bench.arrivals.recv()).await.unwrap().receipt.refused("no room");
    old.closed().await;
}

#[tokio::test]
async fn a_dropped_receipt_ends_the_connection_without_an_acknowledgement() {
    let mut bench = bench(EmbeddedOptions::default()).await;
    for level in [4, 5] {
        let (mut sensor, _) = Raw::greet(bench.address, level, "sensor", true, 60).await;
        sensor.say(&publication(level, 1, false, 1, "t", b"x")).await;
        drop(soon(bench.arrivals.recv()).await.unwrap());
        sensor.closed().await;
    }
    assert_eq!(bench.status.snapshot().acked_total, 0);
}

#[tokio::test]
async fn a_full_channel_stops_the_reading_and_loses_nothing() {
    let mut bench =
        bench_with(EmbeddedOptions { window_publications: 8, ..EmbeddedOptions::default() }, 1).await;
    let (mut sensor, _) = Raw::greet(bench.address, 4, "sensor", true, 60).await;
    let mut burst = Vec::new();
    for id in 1..=200_u8 {
        burst.extend_from_slice(&publication(4, 1, false, id, "n", &[id]));
    }
    sensor.say(&burst).await;
    for id in 1..=200_u8 {
        assert_eq!(stored(&mut bench.arrivals).await.1, [id]);
        assert_eq!(sensor.hear().await, [0x40, 2, 0, id]);
    }
}

#[tokio::test]
async fn a_newer_connection_takes_over_its_client_id() {
    let bench = bench(EmbeddedOptions::default()).await;
    let (mut older, _) = Raw::greet(bench.address, 4, "twin", false, 60).await;
    let (mut newer, present) = Raw::greet(bench.address, 4, "twin", false, 60).await;
    assert!(present);
    older.closed().await;
    newer.say(&PINGREQ).await;
    assert_eq!(newer.hear().await, PINGRESP);
}

#[tokio::test]
async fn a_silent_client_is_disconnected_and_its_last_will_becomes_a_reading() {
    let mut bench = bench(EmbeddedOptions::default()).await;
    let mut sensor = Raw::connect(bench.address).await;
    // Flags: clean, will with QoS 1. Keep-alive of one second. Client "s", will "gone" on "state".
    let body = [
        &[0, 4, b'M', b'Q', b'T', b'T', 4, 0b0000_1110, 0, 1, 0, 1, b's', 0, 5][..],
        b"state",
        &[0, 4],
        b"gone",
    ]
    .concat();
    sensor.say(&packet(0x10, &body)).await;
    assert_eq!(sensor.hear().await, [0x20, 2, 0, 0]);
    sensor.closed().await;
    assert_eq!(stored(&mut bench.arrivals).await, ("state".to_owned(), b"gone".to_vec(), 1));
}

#[tokio::test]
async fn a_goodbye_discards_the_last_will() {
    let mut bench = bench(EmbeddedOptions::default()).await;
    let port = bench.address.port();
    for version in ["311", "5"] {
        let arguments = [
            "-V",
            version,
            "-q",
            "1",
            "-t",
            "a",
            "-m",
            "1",
            "--will-topic",
            "state",
            "--will-payload",
            "gone",
        ];
        let (status, seen) = tokio::join!(publish(port, &arguments), stored(&mut bench.arrivals));
        assert!(status.success());
        assert_eq!(seen.0, "a");
    }
    assert!(bench.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn local_subscribers_get_what_their_wildcards_cover_and_what_was_retained() {
    let mut bench = bench(EmbeddedOptions::default()).await;
    let port = bench.address.port();
    let all = ["-q", "1", "-r", "-t", "hall/2/temp", "-m", "old"];
    let (status, _) = tokio::join!(publish(port, &all), stored(&mut bench.arrivals));
    assert!(status.success());
    for version in ["311", "5"] {
        let arguments = ["-V", version, "-q", "1", "-t", "press/+/temp", "-t", "hall/#"];
        let (mut lines, _child) = subscribed(&bench, &arguments).await;
        assert_eq!(soon(lines.next_line()).await.unwrap().unwrap(), "hall/2/temp old");
        for (topic, payload) in [("press/7/pressure", "no"), ("press/7/temp", "71"), ("hall/1/light", "on")] {
            let arguments = ["-q", "2", "-t", topic, "-m", payload];
            let (status, _) = tokio::join!(publish(port, &arguments), stored(&mut bench.arrivals));
            assert!(status.success());
        }
        assert_eq!(soon(lines.next_line()).await.unwrap().unwrap(), "press/7/temp 71");
        assert_eq!(soon(lines.next_line()).await.unwrap().unwrap(), "hall/1/light on");
    }
}

#[tokio::test]
async fn a_resting_subscriber_gets_later_what_it_missed() {
    let bench = bench(EmbeddedOptions::default()).await;
    let (mut actuator, _) = Raw::greet(bench.address, 4, "actuator", false, 60).await;
    actuator.say(&packet(0x82, &[0, 1, 0, 3, b's', b'e', b't', 1])).await;
    assert_eq!(actuator.hear().await, [0x90, 3, 0, 1, 1]);
    assert!(bench.publisher.publish("set", &Bytes::from_static(b"1"), 1, false));
    assert_eq!(actuator.hear().await, publication(4, 1, false, 1, "set", b"1"));
    // Gone without a PUBACK; a second message comes meanwhile.
    actuator.say(&[0xE0, 0]).await;
    actuator.closed().await;
    assert!(bench.publisher.publish("set", &Bytes::from_static(b"2"), 1, false));
    let (mut actuator, present) = Raw::greet(bench.address, 4, "actuator", false, 60).await;
    assert!(present);
    assert_eq!(actuator.hear().await, publication(4, 1, true, 1, "set", b"1"));
    assert_eq!(actuator.hear().await, publication(4, 1, false, 2, "set", b"2"));
}

#[tokio::test]
async fn only_the_right_password_comes_in() {
    let login = Some(Login { user: "press".to_owned(), password: "s3cret".to_owned() });
    let mut bench = bench(EmbeddedOptions { login, ..EmbeddedOptions::default() }).await;
    let port = bench.address.port();
    for version in ["311", "5"] {
        let message = ["-V", version, "-q", "1", "-t", "a", "-m", "1"];
        for wrong in [&["-u", "press", "-P", "wrong"][..], &["-u", "other", "-P", "s3cret"], &[]] {
            assert!(!publish(port, &[&message[..], wrong].concat()).await.success());
        }
        let right = [&message[..], &["-u", "press", "-P", "s3cret"]].concat();
        let (status, _) = tokio::join!(publish(port, &right), stored(&mut bench.arrivals));
        assert!(status.success());
    }
    assert_eq!(bench.status.snapshot().refused_total, 6);
    assert_eq!(bench.status.snapshot().received_total, 2);
}

#[tokio::test]
async fn hostile_bytes_end_only_their_own_connection() {
    let mut bench = bench(EmbeddedOptions::default()).await;
    let (mut honest, _) = Raw::greet(bench.address, 4, "honest", true, 60).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"[..],
        &[0x10, 0xFF, 0xFF, 0xFF, 0x7F],
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x10, 2, 0, 4],
        &[0x00; 64],
    ] {
        let mut hostile = Raw::connect(bench.address).await;
        hostile.say(garbage).await;
        hostile.closed().await;
    }
    for (level, garbage) in [
        (4, vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F]),
        (4, vec![0x30, 3, 0, 9, b'a']),
        (4, vec![0x36, 4, 0, 1, b'a', 0]),
        (4, publication(4, 1, false, 1, "a/+", b"x")),
        (4, publication(4, 1, false, 0, "a", b"x")),
        (4, vec![0xF0, 0]),
        (4, vec![0x20, 2, 0, 0]),
        (5, vec![0x30, 4, 0, 1, b'a', 0x80]),
        (5, vec![0x30, 7, 0, 1, b'a', 3, 35, 0, 1]),
        (5, vec![0x82, 3, 0, 1, 0]),
    ] {
        let (mut hostile, _) = Raw::greet(bench.address, level, "hostile", true, 60).await;
        hostile.say(&garbage).await;
        hostile.closed().await;
    }
    // Half a packet, and then nothing: it waits for its keep-alive, and nobody else waits with it.
    let (mut half, _) = Raw::greet(bench.address, 4, "half", true, 60).await;
    half.say(&[0x30, 100, 0, 50, b'a']).await;
    honest.say(&publication(4, 1, false, 1, "ü/ß", b"x")).await;
    assert_eq!(stored(&mut bench.arrivals).await.0, "ü/ß");
    assert_eq!(honest.hear().await, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn a_silent_stranger_is_not_kept_for_ever() {
    let options =
        EmbeddedOptions { connect_timeout: Duration::from_millis(50), ..EmbeddedOptions::default() };
    let bench = bench(options).await;
    Raw::connect(bench.address).await.closed().await;
}

#[tokio::test]
async fn more_clients_than_allowed_are_turned_away() {
    let bench = bench(EmbeddedOptions { connections_max: 1, ..EmbeddedOptions::default() }).await;
    let (mut first, _) = Raw::greet(bench.address, 4, "first", true, 60).await;
    Raw::connect(bench.address).await.closed().await;
    first.say(&PINGREQ).await;
    assert_eq!(first.hear().await, PINGRESP);
}

#[tokio::test]
async fn topics_choose_their_lane() {
    let lanes = vec![LanePattern { filter: Filter::new("+/alarm").unwrap(), lane: Lane::Urgent }];
    let mut bench = bench(EmbeddedOptions { lanes, ..EmbeddedOptions::default() }).await;
    let (mut sensor, _) = Raw::greet(bench.address, 4, "sensor", true, 60).await;
    for (topic, lane) in [("press/alarm", Lane::Urgent), ("press/temp", Lane::Normal)] {
        sensor.say(&publication(4, 0, false, 0, topic, b"x")).await;
        assert_eq!(soon(bench.arrivals.recv()).await.unwrap().lane, lane);
    }
}

#[tokio::test]
async fn stopping_waits_for_open_receipts_and_acknowledges_them() {
    let mut bench = bench(EmbeddedOptions::default()).await;
    let (mut sensor, _) = Raw::greet(bench.address, 4, "sensor", true, 60).await;
    sensor.say(&publication(4, 1, false, 3, "t", b"x")).await;
    let arrival = soon(bench.arrivals.recv()).await.unwrap();
    bench.stop.send(true).unwrap();
    arrival.receipt.stored(&PROOF);
    assert_eq!(sensor.hear().await, [0x40, 2, 0, 3]);
    assert_eq!(soon(sensor.0.read_u8()).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    soon(bench.running).await.unwrap();
    assert!(!bench.status.snapshot().connected);
}

#[tokio::test]
async fn an_address_in_use_is_an_error_with_its_fix() {
    let bench = bench(EmbeddedOptions::default()).await;
    let (sender, _arrivals) = mpsc::channel(1);
    let options = EmbeddedOptions { listen: bench.address, ..EmbeddedOptions::default() };
    let error = EmbeddedBroker::bind(options, sender).await.unwrap_err();
    assert!(matches!(error, BindError::Address { .. }));
    assert!(error.to_string().contains("listen"));
}
