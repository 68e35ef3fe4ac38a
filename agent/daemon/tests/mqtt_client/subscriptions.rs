//! Lanes by filter, retained messages, messages that are too many or too large.

use millrace_agent::mqtt::{BrokerOptions, Version};
use millrace_model::Lane;

use crate::bench::{BOTH, PROOF, connected, options, say, start_with, subscription};
use crate::mqtt_support::{Mosquitto, publish, soon, stored};

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
