//! A probe: how many QoS 1 publications a second the embedded broker takes when receipts are answered in groups.
//!
//! It always checks that each publication arrives once and is acknowledged once; the rate is printed (`--nocapture`), never
//! asserted. `MILLRACE_MQTT_PROBE=1000000` makes it long enough for a figure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod mqtt_support;

use std::net::{Ipv4Addr, SocketAddr};

use millrace_agent::mqtt::{Arrival, EmbeddedBroker, EmbeddedOptions};
use millrace_model::Durable;
use mqtt_support::{Raw, publication, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

const PUBLISHERS: usize = 4;

/// Publications that a publisher sends before it waits for the first of their acknowledgements.
const IN_FLIGHT: usize = 1_000;

async fn publisher(address: SocketAddr, name: String, count: usize) {
    let (raw, _) = Raw::greet(address, 4, &name, true, 60).await;
    let (mut reader, mut writer) = raw.0.into_split();
    let topic = format!("plant/{name}/temperature");
    let payload = [b'7'; 200];
    let block: Vec<u8> = (1..=100).flat_map(|id| publication(4, 1, false, id, &topic, &payload)).collect();
    let mut sent = 0;
    let mut acked = 0;
    let mut acks = vec![0; 64 << 10];
    let mut bytes = 0;
    while acked < count {
        while sent < count && sent - acked < IN_FLIGHT {
            writer.write_all(&block).await.unwrap();
            sent += 100;
        }
        bytes += reader.read(&mut acks).await.unwrap();
        acked = bytes / 4;
    }
    assert_eq!(acked, count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_publishers_are_acknowledged_in_groups() {
    let total: usize = std::env::var("MILLRACE_MQTT_PROBE").map_or(20_000, |n| n.parse().unwrap());
    let each = total / PUBLISHERS / 100 * 100;
    let (sender, mut arrivals) = mpsc::channel::<Arrival>(8_192);
    let (stop, stopping) = watch::channel(false);
    let options =
        EmbeddedOptions { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..EmbeddedOptions::default() };
    let broker = EmbeddedBroker::bind(options, sender).await.unwrap();
    let (address, status) = (broker.local_addr(), broker.status());
    let running = tokio::spawn(broker.run(stopping));
    let engine = tokio::spawn(async move {
        let mut group = Vec::with_capacity(4_096);
        let mut seen = 0;
        while arrivals.recv_many(&mut group, 4_096).await > 0 {
            seen += group.len();
            for arrival in group.drain(..) {
                arrival.receipt.stored(&Durable::attest(1));
            }
        }
        seen
    });
    let began = tokio::time::Instant::now();
    let publishers: Vec<_> =
        (0..PUBLISHERS).map(|n| tokio::spawn(publisher(address, format!("press-{n}"), each))).collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let rate = (each * PUBLISHERS) as f64 / began.elapsed().as_secs_f64();
    println!("{} QoS 1 publications of 200 bytes, {PUBLISHERS} publishers: {rate:.0}/s", each * PUBLISHERS);
    stop.send(true).unwrap();
    soon(running).await.unwrap();
    assert_eq!(soon(engine).await.unwrap(), each * PUBLISHERS);
    assert_eq!(status.snapshot().acked_total, (each * PUBLISHERS) as u64);
}
