//! Links: cut, healed, revoked, and a device that sends what it should not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_demo::patience::{Look, until};
use millrace_demo::proof::Exhibit;
use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{Agent, AgentOptions, Body, Hub, HubOptions, Plant, Proof, Publication, Road, Stamp};
use millrace_host::Clock;
use millrace_link::{ClientOptions, CloseCode, Connection, Dialer, Identity};
use rumqttc::QoS;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);

/// More than one window of credit and several segments.
const BACKLOG: usize = 20_000;

async fn plant() -> (Plant, Hub, Road) {
    let plant = Plant::build().unwrap();
    let hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
    let road = plant.road(&hub).await.unwrap();
    (plant, hub, road)
}

async fn dial(hub: &Hub, agent: &Agent) -> (Dialer, Connection) {
    let clock = Clock::system();
    let dialer = Dialer::new(ClientOptions::new(Arc::new(move || clock.wall())));
    let identity = Identity::load(&agent.data().join("identity")).unwrap();
    let connection = dialer.connect(hub.quic(), &identity).await.unwrap();
    (dialer, connection)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cut_the_newest_record_arrives_before_the_backlog() {
    let (plant, mut hub, road) = plant().await;
    // Slow enough that the backlog takes many times longer than the newest record.
    let options = AgentOptions::new("press-line", road.addr()).with("uplink", json!({ "rate": "128KiB/s" }));
    let mut agent = Agent::start(&plant, &hub, options).await.unwrap();
    let device = agent.online(LIMIT).await.unwrap().device;
    let publisher = agent.publisher("presses");
    let mut line = Line::new("press-line", LineKind::Presses, false, 4);
    road.cut();
    publisher.publish_from(&mut line, BACKLOG).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    let status = agent.status().await.unwrap();
    assert!(status.ledger.pending >= BACKLOG as u64, "{status:?}");
    // A hub that knows nothing of the old session: the agent need not wait for its idle timeout to begin a new one.
    hub.process.kill().await.unwrap();
    hub.restart().await.unwrap();
    road.heal();
    agent.until("a moving backlog", LIMIT, |now| now.ledger.acked > status.ledger.acked).await.unwrap();
    let stamp = Stamp { source: "andon".into(), number: 1, attempt: 1 };
    let body = Body::Json([("light".to_owned(), json!("green"))].into_iter().collect());
    let topic = "plant/press-line/andon/state".to_owned();
    let newest = Publication { topic, qos: QoS::AtLeastOnce, stamp: stamp.clone(), body };
    publisher.publish(newest).await.unwrap();
    until("the newest record at the hub", LIMIT, || async {
        let found = hub.newest(&device).await?.and_then(|record| record.stamp);
        Ok(if found.as_ref() == Some(&stamp) { Look::Found(()) } else { Look::NotYet(format!("{found:?}")) })
    })
    .await
    .unwrap();
    let behind = agent.status().await.unwrap().ledger.pending;
    assert!(behind > BACKLOG as u64 / 4, "the backlog was still on its way: {behind} pending");
    let exhibit = Exhibit::gather(&hub, &mut agent, &[&publisher], 3 * LIMIT).await.unwrap();
    Proof::of(&[exhibit]).must_hold();
    assert!(road.traffic().up_bytes > 0, "the records took the road");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_road_loses_packets_and_no_records() {
    let (plant, hub, road) = plant().await;
    let mut agent = Agent::start(&plant, &hub, AgentOptions::new("robot-cell", road.addr())).await.unwrap();
    road.set_loss(5);
    road.set_delay(Duration::from_millis(15));
    road.set_jitter(Duration::from_millis(10));
    let publisher = agent.publisher("robots");
    let mut line = Line::new("robot-cell", LineKind::Robots, true, 5);
    for round in 0..5 {
        publisher.publish_from(&mut line, 400).await.unwrap();
        if round % 2 == 0 {
            road.rebind();
        }
    }
    let exhibit = Exhibit::gather(&hub, &mut agent, &[&publisher], 2 * LIMIT).await.unwrap();
    Proof::of(&[exhibit]).must_hold();
    assert!(road.traffic().lost_packets > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_cuts_the_live_session_and_refuses_the_next_handshake() {
    let (plant, hub, road) = plant().await;
    let mut bad = Agent::start(&plant, &hub, AgentOptions::new("stolen", road.addr())).await.unwrap();
    let mut good = Agent::start(&plant, &hub, AgentOptions::new("energy", road.addr())).await.unwrap();
    bad.online(LIMIT).await.unwrap();
    good.online(LIMIT).await.unwrap();
    let publisher = bad.publisher("thief");
    let mut line = Line::new("stolen", LineKind::Meters, false, 6);
    publisher.publish_from(&mut line, 50).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    let before = bad.settled(LIMIT).await.unwrap();
    hub.revoke("stolen", "found on a market").await.unwrap();
    bad.until("the end of the session", Duration::from_secs(10), |status| !status.is_online()).await.unwrap();
    publisher.publish_from(&mut line, 50).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    let (_dialer, connection) = dial(&hub, &bad).await;
    let reason = tokio::time::timeout(LIMIT, connection.closed()).await.unwrap();
    assert_eq!(reason.code, CloseCode::Revoked, "{reason}");
    let after = bad.status().await.unwrap();
    assert!(!after.is_online() && after.adds_up());
    assert_eq!(after.ledger.acked, before.ledger.acked);
    assert!(after.ledger.pending >= 50, "it keeps what it cannot deliver: {after:?}");
    assert_eq!(hub.inventory_of(&before.device).await.unwrap().data().count(), 50);
    assert!(good.status().await.unwrap().is_online(), "the others are not touched");
}

/// Bytes that no honest device sends, each on a stream of a session of its own.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let frame = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 2).unwrap();
        [&length.to_be_bytes()[..], &[millrace_wire::limits::VERSION, kind], body].concat()
    };
    let mut noise = vec![0; 4_096];
    fastrand::Rng::with_seed(8).fill(&mut noise);
    vec![
        ("noise", noise.clone()),
        ("a frame of four gigabytes", vec![0xff; 64]),
        ("a frame of another version", vec![0, 0, 0, 3, 99, 1, 0xa0]),
        ("a frame of an unknown kind", frame(200, &[0xa0])),
        ("a Hello that is no CBOR", frame(1, &noise)),
        ("a Hello that nests without end", frame(1, &[0x81; 4_000])),
        (
            "a Hello that promises a billion journals",
            frame(1, &[0x84, 0x60, 0x00, 0x00, 0x9a, 0x3b, 0x9a, 0xca, 0x00]),
        ),
        ("records before Hello", frame(4, &[0x80])),
        ("acks, which only hubs send", frame(6, &[0x81, 0x80])),
        ("a frame that never ends", vec![0, 0, 1, 0, millrace_wire::limits::VERSION, 1, 0x80]),
        ("nothing at all", Vec::new()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_device_ends_its_own_sessions_and_nobody_elses() {
    let (plant, mut hub, road) = plant().await;
    let enemy = Agent::enrol(&plant, &hub, AgentOptions::new("enemy", road.addr())).await.unwrap();
    let mut friend = Agent::start(&plant, &hub, AgentOptions::new("energy", road.addr())).await.unwrap();
    let publisher = friend.publisher("meters");
    let mut line = Line::new("energy", LineKind::Meters, true, 7);
    let fence = friend.online(LIMIT).await.unwrap();
    for (what, bytes) in hostile() {
        let (dialer, connection) = dial(&hub, &enemy).await;
        for bidirectional in [true, false] {
            let opened = if bidirectional {
                connection.open_bi(0).await.map(|(outlet, inlet)| (outlet, Some(inlet)))
            } else {
                connection.open_uni(0).await.map(|outlet| (outlet, None))
            };
            // The hub may have cut the connection because of the first stream, which is what it should do.
            let Ok((mut outlet, _inlet)) = opened else { continue };
            let _ = outlet.send(Bytes::from(bytes.clone())).await;
            let _ = outlet.finish().await;
        }
        publisher.publish_from(&mut line, 20).await.unwrap();
        publisher.drained(LIMIT).await.unwrap();
        hub.process.must_run().unwrap();
        dialer.close(CloseCode::Shutdown, what).await;
    }
    let exhibit = Exhibit::gather(&hub, &mut friend, &[&publisher], LIMIT).await.unwrap();
    assert_eq!(exhibit.status.incarnation, fence.incarnation);
    Proof::of(&[exhibit]).must_hold();
    assert!(hub.status().await.unwrap()["healthy"] == true, "the hub is well");
    let theirs = Identity::load(&enemy.data().join("identity")).unwrap();
    let device = theirs.own().device().unwrap().to_string();
    assert_eq!(hub.inventory_of(&device).await.unwrap().records.len(), 0, "nothing of it was kept");
}
