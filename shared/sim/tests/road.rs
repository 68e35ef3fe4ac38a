//! The road, over real sockets on the loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use millrace_sim::{Road, RoadOptions};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Answers every datagram with the port that it came from.
async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&from.port().to_be_bytes(), from).await;
        }
    });
    addr
}

async fn ask(sensor: &UdpSocket, patience: Duration) -> Option<u16> {
    sensor.send(b"hello").await.unwrap();
    let mut buffer = [0; 64];
    let length = timeout(patience, sensor.recv(&mut buffer)).await.ok()?.unwrap();
    Some(u16::from_be_bytes(buffer[..length].try_into().unwrap()))
}

async fn sensor(road: &Road) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(road.addr()).await.unwrap();
    socket
}

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(80);

#[tokio::test]
async fn a_cut_road_carries_nothing_until_it_is_healed() {
    let road = Road::start(echo().await, RoadOptions::default()).await.unwrap();
    let sensor = sensor(&road).await;
    assert!(ask(&sensor, LONG).await.is_some());
    road.cut();
    assert!(road.is_cut());
    assert_eq!(ask(&sensor, SHORT).await, None);
    road.heal();
    assert!(ask(&sensor, LONG).await.is_some());
    let traffic = road.traffic();
    assert_eq!((traffic.up_bytes, traffic.down_bytes), (10, 4));
    assert_eq!(traffic.lost_packets, 1);
}

#[tokio::test]
async fn rebinding_changes_the_port_that_the_target_sees() {
    let road = Road::start(echo().await, RoadOptions::default()).await.unwrap();
    let sensor = sensor(&road).await;
    let before = ask(&sensor, LONG).await.unwrap();
    assert_eq!(ask(&sensor, LONG).await, Some(before));
    road.rebind();
    tokio::task::yield_now().await;
    let mut after = ask(&sensor, LONG).await.unwrap();
    if after == before {
        // The packet may have overtaken the rebinding.
        after = ask(&sensor, LONG).await.unwrap();
    }
    assert_ne!(after, before);
}

#[tokio::test]
async fn delay_and_loss_are_as_set() {
    let options = RoadOptions { delay: Duration::from_millis(20), ..RoadOptions::default() };
    let road = Road::start(echo().await, options).await.unwrap();
    let sensor = sensor(&road).await;
    let begun = tokio::time::Instant::now();
    assert!(ask(&sensor, LONG).await.is_some());
    assert!(begun.elapsed() >= Duration::from_millis(40), "20 ms each way");
    road.set_loss(100);
    assert_eq!(ask(&sensor, SHORT).await, None);
    road.set_loss(0);
    road.set_delay(Duration::ZERO);
    assert!(ask(&sensor, LONG).await.is_some());
}

#[tokio::test]
async fn an_idle_flow_is_closed_and_the_next_packet_opens_another() {
    let options = RoadOptions { idle: Duration::from_millis(30), ..RoadOptions::default() };
    let road = Road::start(echo().await, options).await.unwrap();
    let sensor = sensor(&road).await;
    let before = ask(&sensor, LONG).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_ne!(ask(&sensor, LONG).await.unwrap(), before);
}
