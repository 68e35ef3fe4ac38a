//! The subscriber against Debian's mosquitto, and against a broker that says what the test tells it to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod mqtt_support;

use std::net::Ipv4Addr;
use std::path::Path;

use millrace_agent::mqtt::{
    Arrival, BrokerClient, BrokerOptions, BrokerTls, Filter, Login, StatusHandle, Subscription, Version,
};
use millrace_model::{Durable, Lane};
use mqtt_support::{Mosquitto, PINGREQ, Raw, free_port, packet, publication, publish, soon, stored};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const PROOF: Durable = Durable::attest(1);
const BOTH: [Version; 2] = [Version::V4, Version::V5];

struct Bench {
    status: StatusHandle,
    arrivals: mpsc::Receiver<Arrival>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Bench {
    /// As SIGKILL would end it: no goodbye, no last acknowledgement.
    async fn kill(self) {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        soon(self.running).await.unwrap();
    }
}

fn subscription(filter: &str, qos: u8, lane: Lane) -> Subscription {
    Subscription { filter: Filter::new(filter).unwrap(), qos, lane }
}

fn options(port: u16, version: Version) -> BrokerOptions {
    let all = vec![subscription("plant/#", 2, Lane::Normal)];
    BrokerOptions { version, ..BrokerOptions::new("127.0.0.1", port, "agent", all) }
}

fn start(options: BrokerOptions) -> Bench {
    start_with(options, 1_024)
}

fn start_with(options: BrokerOptions, capacity: usize) -> Bench {
    let (sender, arrivals) = mpsc::channel(capacity);
    let (stop, stopping) = watch::channel(false);
    let client = BrokerClient::new(options).unwrap();
    let status = client.status();
    Bench { status, arrivals, stop, running: tokio::spawn(client.run(sender, stopping)) }
}

async fn connected(options: BrokerOptions) -> Bench {
    let bench = start(options);
    soon(bench.status.until_connected(true)).await;
    bench
}

async fn say(port: u16, qos: &str, topic: &str, payload: &str) {
    assert!(publish(port, &["-q", qos, "-t", topic, "-m", payload]).await.success());
}

#[tokio::test]
async fn every_qos_arrives_once_in_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path(), "allow_anonymous true").await;
    for version in BOTH {
        let mut bench = connected(options(broker.port, version)).await;
        for qos in ["0", "1", "2"] {
            say(broker.port, qos, "plant/a", qos).await;
            let seen = stored(&mut bench.arrivals).await;
            assert_eq!(seen, ("plant/a".to_owned(), qos.as_bytes().to_vec(), qos.parse().unwrap()));
        }
        assert!(bench.arrivals.try_recv().is_err());
        assert_eq!(bench.status.snapshot().received_total, 3);
        bench.end().await;
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_is_delivered_to_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path(), "allow_anonymous true").await;
    for version in BOTH {
        for qos in ["1", "2"] {
            let mut bench = connected(options(broker.port, version)).await;
            say(broker.port, qos, "plant/a", "once more").await;
            let unanswered = soon(bench.arrivals.recv()).await.unwrap();
            bench.kill().await;
            // Too late: the connection that it belonged to is gone.
            unanswered.receipt.stored(&PROOF);
            let mut bench = connected(options(broker.port, version)).await;
            assert_eq!(stored(&mut bench.arrivals).await.1, b"once more");
            bench.end().await;
            let mut bench = connected(options(broker.port, version)).await;
            say(broker.port, qos, "plant/a", "the next").await;
            assert_eq!(stored(&mut bench.arrivals).await.1, b"the next");
            bench.end().await;
        }
    }
}

#[tokio::test]
async fn a_dropped_receipt_makes_the_broker_deliver_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path(), "allow_anonymous true").await;
    for version in BOTH {
        let mut bench = connected(options(broker.port, version)).await;
        say(broker.port, "1", "plant/a", "x").await;
        drop(soon(bench.arrivals.recv()).await.unwrap());
        assert_eq!(stored(&mut bench.arrivals).await.1, b"x");
        assert_eq!(bench.status.snapshot().reconnects, 1);
        bench.end().await;
    }
}

#[tokio::test]
async fn the_session_survives_a_restart_of_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    for version in BOTH {
        let broker = Mosquitto::start_on(dir.path(), port, "allow_anonymous true").await;
        let mut bench = connected(options(port, version)).await;
        say(port, "1", "plant/a", "before").await;
        assert_eq!(stored(&mut bench.arrivals).await.1, b"before");
        broker.stop().await;
        soon(bench.status.until_connected(false)).await;
        let broker = Mosquitto::start_on(dir.path(), port, "allow_anonymous true").await;
        // The broker still holds the session, so this is kept even if we are not back yet.
        say(port, "1", "plant/a", "after").await;
        assert_eq!(stored(&mut bench.arrivals).await.1, b"after");
        assert!(bench.status.snapshot().reconnects >= 1);
        bench.end().await;
        broker.stop().await;
    }
}

#[tokio::test]
async fn what_came_while_the_agent_was_away_is_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path(), "allow_anonymous true").await;
    for version in BOTH {
        connected(options(broker.port, version)).await.end().await;
        for n in 0..5 {
            say(broker.port, "1", "plant/a", &n.to_string()).await;
        }
        let mut bench = start(options(broker.port, version));
        for n in 0..5 {
            assert_eq!(stored(&mut bench.arrivals).await.1, n.to_string().as_bytes());
        }
        bench.end().await;
    }
}

#[tokio::test]
async fn subscriptions_with_wildcards_have_their_lanes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path(), "allow_anonymous true").await;
    for version in BOTH {
        let subscriptions = vec![
            subscription("+/alarm", 2, Lane::Urgent),
            subscription("press/#", 1, Lane::Normal),
            subscription("wave/+/raw", 0, Lane::Bulk),
        ];
        let id = format!("{version:?}");
        let options =
            BrokerOptions { version, ..BrokerOptions::new("127.0.0.1", broker.port, &id, subscriptions) };
        let mut bench = connected(options).await;
        for (topic, qos, subscription, lane) in [
            ("robot/alarm", 2, 0, Lane::Urgent),
            ("press/7/temp", 1, 1, Lane::Normal),
            ("wave/7/raw", 0, 2, Lane::Bulk),
        ] {
            say(broker.port, "2", topic, "x").await;
            let arrival = soon(bench.arrivals.recv()).await.unwrap();
            assert_eq!(
                (arrival.topic.as_str(), arrival.qos, arrival.subscription, arrival.lane),
                (topic, qos, subscription, lane)
            );
            arrival.receipt.stored(&PROOF);
        }
        assert_eq!(bench.status.snapshot().unmatched_total, 0);
        bench.end().await;
    }
}

#[tokio::test]
async fn a_retained_message_is_a_record_once_and_not_at_each_reconnection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path(), "allow_anonymous true").await;
    assert!(publish(broker.port, &["-q", "1", "-r", "-t", "plant/state", "-m", "on"]).await.success());
    let mut bench = connected(options(broker.port, Version::V5)).await;
    let arrival = soon(bench.arrivals.recv()).await.unwrap();
    assert!(arrival.retained);
    arrival.receipt.stored(&PROOF);
    // A dropped receipt forces a reconnection.
    say(broker.port, "1", "plant/a", "x").await;
    drop(soon(bench.arrivals.recv()).await.unwrap());
    assert_eq!(stored(&mut bench.arrivals).await.0, "plant/a");
    bench.end().await;
    // And so does a restart of the agent.
    let mut bench = connected(options(broker.port, Version::V5)).await;
    say(broker.port, "1", "plant/a", "y").await;
    assert_eq!(stored(&mut bench.arrivals).await.1, b"y");
    bench.end().await;
}

#[tokio::test]
async fn a_full_channel_stops_the_reading_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path(), "allow_anonymous true\nmax_queued_messages 0").await;
    for version in BOTH {
        let options = BrokerOptions { window_publications: 4, ..options(broker.port, version) };
        let mut bench = start_with(options, 1);
        soon(bench.status.until_connected(true)).await;
        let lines: String = (0..300).map(|n| format!("{n}\n")).collect();
        let file = dir.path().join("lines");
        std::fs::write(&file, lines).unwrap();
        let port = broker.port.to_string();
        let script = format!("mosquitto_pub -h 127.0.0.1 -p {port} -q 1 -t plant/n -l < {}", file.display());
        let mut publisher = tokio::process::Command::new("sh").args(["-c", &script]).spawn().unwrap();
        for n in 0..300 {
            assert_eq!(stored(&mut bench.arrivals).await.1, n.to_string().as_bytes());
        }
        assert!(soon(publisher.wait()).await.unwrap().success());
        bench.end().await;
    }
}

#[tokio::test]
async fn an_oversized_message_comes_through_to_be_rejected_and_the_next_one_follows() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path(), "allow_anonymous true").await;
    let file = dir.path().join("large");
    std::fs::write(&file, vec![b'x'; 20_000]).unwrap();
    for version in BOTH {
        let options = BrokerOptions { packet_bytes_max: 1_000, ..options(broker.port, version) };
        let mut bench = connected(options).await;
        let arguments = ["-q", "1", "-t", "plant/large", "-f", file.to_str().unwrap()];
        assert!(publish(broker.port, &arguments).await.success());
        say(broker.port, "1", "plant/small", "x").await;
        let large = soon(bench.arrivals.recv()).await.unwrap();
        assert_eq!(large.payload.len(), 20_000);
        large.receipt.rejected("larger than a record may be", &PROOF);
        assert_eq!(stored(&mut bench.arrivals).await.0, "plant/small");
        bench.end().await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_named_in_the_status_and_the_right_one_comes_in() {
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("passwords");
    let made = tokio::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c", passwords.to_str().unwrap(), "agent", "s3cret"])
        .status();
    assert!(soon(made).await.unwrap().success());
    let broker = Mosquitto::start(dir.path(), "allow_anonymous false\npassword_file {dir}/passwords").await;
    for version in BOTH {
        let login = |password: &str| Some(Login { user: "agent".to_owned(), password: password.to_owned() });
        let bench = start(BrokerOptions { login: login("wrong"), ..options(broker.port, version) });
        soon(async {
            while bench.status.snapshot().last_error.is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let error = bench.status.snapshot().last_error.unwrap();
        assert!(error.contains("check user, password"), "{error}");
        bench.end().await;
        let mut bench =
            connected(BrokerOptions { login: login("s3cret"), ..options(broker.port, version) }).await;
        let arguments = ["-u", "agent", "-P", "s3cret", "-q", "1", "-t", "plant/a", "-m", "x"];
        assert!(publish(broker.port, &arguments).await.success());
        assert_eq!(stored(&mut bench.arrivals).await.1, b"x");
        bench.end().await;
    }
}

/// An authority, a server certificate for `localhost` and a client certificate, as PEM files.
fn certificates(dir: &Path) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key).unwrap();
    std::fs::write(dir.join("ca.pem"), certificate.pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    for (file, name) in [("server", "localhost"), ("client", "agent")] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        // OpenSSL takes a certificate for self-signed when its subject equals its issuer.
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.join(format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn tls_verifies_the_broker_and_shows_our_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let settings = "allow_anonymous true\ncafile {dir}/ca.pem\ncertfile {dir}/server.pem\n\
                    keyfile {dir}/server.key\nrequire_certificate true";
    let broker = Mosquitto::start(dir.path(), settings).await;
    let tls = BrokerTls {
        ca_file: Some(dir.path().join("ca.pem")),
        client_files: Some((dir.path().join("client.pem"), dir.path().join("client.key"))),
        server_name: None,
    };
    for version in BOTH {
        let secure = BrokerOptions {
            host: "localhost".to_owned(),
            tls: Some(tls.clone()),
            ..options(broker.port, version)
        };
        let mut bench = connected(secure.clone()).await;
        let files: Vec<String> =
            ["ca.pem", "client.pem", "client.key"].map(|f| dir.path().join(f).display().to_string()).into();
        let arguments = [
            "--cafile",
            &files[0],
            "--cert",
            &files[1],
            "--key",
            &files[2],
            "-h",
            "localhost",
            "-q",
            "2",
            "-t",
            "plant/a",
            "-m",
            "x",
        ];
        assert!(publish(broker.port, &arguments).await.success());
        assert_eq!(stored(&mut bench.arrivals).await.1, b"x");
        bench.end().await;
        // An authority that did not sign this broker, and a name that the certificate does not carry.
        let elsewhere = tempfile::tempdir().unwrap();
        certificates(elsewhere.path());
        let strange = BrokerTls { ca_file: Some(elsewhere.path().join("ca.pem")), ..tls.clone() };
        let misnamed = BrokerTls { server_name: Some("other.example".to_owned()), ..tls.clone() };
        for wrong in [strange, misnamed] {
            let bench = start(BrokerOptions { tls: Some(wrong), ..secure.clone() });
            soon(async {
                while bench.status.snapshot().last_error.is_none() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert!(bench.status.snapshot().last_error.unwrap().contains("TLS"));
            assert_eq!(bench.status.snapshot().received_total, 0);
            bench.end().await;
        }
    }
}

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

/// A road to the broker that breaks after a number of bytes, again and again, until it is told to hold.
async fn breaking_road(broker: u16, mut hold: watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut random = fastrand::Rng::with_seed(11);
        while let Ok((near, _)) = listener.accept().await {
            let far = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await.unwrap();
            let (near_in, mut near_out) = near.into_split();
            let (far_in, mut far_out) = far.into_split();
            // The handshake fits; somewhere in the exchange after it the road breaks, in either direction.
            let limit = |bytes| if *hold.borrow() { u64::MAX } else { bytes };
            let mut up = near_in.take(limit(random.u64(120..400)));
            let mut down = far_in.take(limit(random.u64(120..400)));
            tokio::select! {
                _ = tokio::io::copy(&mut up, &mut far_out) => {}
                _ = tokio::io::copy(&mut down, &mut near_out) => {}
                _ = hold.changed() => {}
            }
        }
    });
    port
}

#[tokio::test]
async fn a_road_that_breaks_again_and_again_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path(), "allow_anonymous true").await;
    for version in BOTH {
        let (hold, holds) = watch::channel(false);
        let port = breaking_road(broker.port, holds).await;
        let id = format!("{version:?}");
        connected(BrokerOptions { client_id: id.clone(), ..options(broker.port, version) }).await.end().await;
        for n in 0..40 {
            say(broker.port, "1", "plant/n", &n.to_string()).await;
        }
        let mut bench = start(BrokerOptions { client_id: id, ..options(port, version) });
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 40 {
            seen.insert(stored(&mut bench.arrivals).await.1);
            if bench.status.snapshot().reconnects > 3 {
                hold.send_replace(true);
            }
        }
        assert!(bench.status.snapshot().reconnects > 0, "the road must break");
        bench.end().await;
    }
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
