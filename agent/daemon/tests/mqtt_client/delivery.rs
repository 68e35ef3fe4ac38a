//! What arrives, and what comes again when it was not acknowledged or somebody was away.

use std::net::Ipv4Addr;

use millrace_agent::mqtt::BrokerOptions;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::bench::{BOTH, PROOF, connected, options, say, start};
use crate::mqtt_support::{Mosquitto, free_port, soon, stored};

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
