//! Sessions: greeting, records, acks, and every way to end one.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use millrace_host::Clock;
use millrace_journal::{Options, Reader};
use millrace_link::{CloseCode, ConnectError};
use millrace_model::notice::{Gap, GapReason};
use millrace_model::{Incarnation, Lane, SeqRange, Wall};
use millrace_wire::limits::{FRAME_MAX, VERSION};
use millrace_wire::{Compare, Frame, GoodbyeCode, Lodging};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::world::World;

const NOON: Wall = Wall(1_800_000_000_000_000);

#[tokio::test]
async fn what_an_agent_sends_is_acked_when_it_is_on_disk_and_can_be_asked_for() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = Agent::connect(&world, &identity, 1).await;
    agent.hello(&[]).await;
    let welcome = agent.welcome().await;
    assert_eq!((welcome.name.as_str(), welcome.region.as_str()), ("hub-1", "north"));
    assert_eq!(welcome.hubs[0].addresses, [world.quic.to_string()], "port 0 stands for the real port");

    agent.run(1, "plant/press-7/temp", &["{\"c\":21.5}", "warm", "7"], NOON).await;
    agent.acked(3).await;
    // Another process sees them in the file: the ack did not run ahead of the flush.
    let reader = Reader::open(&world.places().journal(), &Options::hub()).unwrap();
    let checks = reader.checks(&agent.journal(), SeqRange::new(1, 3).unwrap()).unwrap();
    assert_eq!(checks.len(), 3);

    let records = world.records("device=press-7").await;
    assert_eq!(records.len(), 3);
    assert_eq!(records[0]["payload"], json!({"c": 21.5}));
    assert_eq!((&records[1]["text"], &records[2]["payload"]), (&json!("warm"), &json!(7)));
    assert_eq!(records[2]["name"], "press-7");
    let status = world.get("/v1/status").await;
    assert_eq!(
        (&status["sessions"], &status["records"], &status["ready"]),
        (&json!(1), &json!(3), &json!(true))
    );
    world.stop().await;
}

#[tokio::test]
async fn a_hub_that_stops_says_goodbye_and_knows_its_records_afterwards() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    agent.run(1, "a", &["1", "2"], NOON).await;
    agent.acked(2).await;
    world.shutdown.trigger();
    assert_eq!(agent.goodbye().await.code, GoodbyeCode::Shutdown);
    assert_eq!(agent.closed().await.code, CloseCode::Shutdown);
    let world = world.restarted().await;
    let mut again = Agent::connect(&world, &identity, 1).await;
    again.hello(&[]).await;
    assert!(again.welcome().await.session >= 2 << 32, "a new process has fences of its own");
    assert_eq!(world.records("device=press-7").await.len(), 2);
    assert!(world.places().announced().is_some());
    let dir = world.stop().await;
    assert!(!dir.path().join("hub/runtime.json").exists());
    assert!(!dir.path().join("hub/admin.sock").exists());
}

#[tokio::test]
async fn the_newer_session_of_an_incarnation_wins() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut first = world.session(&identity, 1).await;
    let _second = world.session(&identity, 1).await;
    assert_eq!(first.goodbye().await.code, GoodbyeCode::Superseded);
    assert_eq!(first.closed().await.code, CloseCode::Superseded);
}

#[tokio::test]
async fn two_incarnations_of_one_device_are_both_served_and_raise_an_alarm() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut first = world.session(&identity, 1).await;
    let mut second = world.session(&identity, 2).await;
    first.run(1, "a", &["1"], NOON).await;
    first.acked(1).await;
    second.run(1, "a", &["2"], NOON).await;
    second.acked(1).await;
    let status = world.get("/v1/status").await;
    assert_eq!(status["alarms"][0]["kind"], "cloned");
    assert_eq!(status["alarms"][0]["name"], "press-7");
}

#[tokio::test]
async fn a_revoked_device_is_cut_off_and_refused_at_the_next_handshake() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    let answer = world.admin.post("/v1/devices/press-7/revoke", &json!({"reason": "stolen"})).await.unwrap();
    assert_eq!(answer["revoked"]["reason"], "stolen");
    let goodbye = agent.goodbye().await;
    assert_eq!((goodbye.code, goodbye.reason.as_str()), (GoodbyeCode::Revoked, "stolen"));
    assert_eq!(agent.closed().await.code, CloseCode::Revoked);
    let reason = match world.dialer.connect(world.quic, &identity).await {
        Ok(connection) => connection.closed().await,
        Err(ConnectError::Refused { reason, .. }) => reason,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(reason.code, CloseCode::Revoked);
    let devices = world.get("/v1/devices").await;
    assert_eq!(devices["devices"][0]["revoked"]["reason"], "stolen");
}

#[tokio::test]
async fn what_is_no_frame_ends_the_session_with_a_reason_and_harms_nobody_else() {
    let world = World::new().await;
    let honest = world.enrol("honest").await;
    let hostile = world.enrol("hostile").await;
    let mut other = world.session(&honest, 1).await;

    let mut long = BytesMut::new();
    long.put_u32(u32::try_from(FRAME_MAX).unwrap());
    long.put_slice(&[VERSION, 4]);
    let mut kind = BytesMut::new();
    kind.put_u32(2);
    kind.put_slice(&[VERSION, 99]);
    let mut version = BytesMut::new();
    version.put_u32(2);
    version.put_slice(&[VERSION + 1, 1]);
    let mut body = BytesMut::new();
    body.put_u32(6);
    body.put_slice(&[VERSION, 1, 0xff, 0xff, 0xff, 0xff]);
    for (bytes, says) in [
        (long.freeze(), "at most"),
        (kind.freeze(), "kind 99"),
        (version.freeze(), "protocol version"),
        (body.freeze(), "Hello"),
    ] {
        let mut agent = world.session(&hostile, 1).await;
        agent.say_bytes(bytes).await;
        let goodbye = agent.goodbye().await;
        assert_eq!(goodbye.code, GoodbyeCode::Protocol);
        assert!(goodbye.reason.contains(says) && goodbye.retry_after_ms > 0, "{goodbye:?}");
        let closed = agent.closed().await;
        assert!(closed.code == CloseCode::ProtocolError && closed.text.contains(says), "{closed}");
    }
    other.run(1, "a", &["1"], NOON).await;
    other.acked(1).await;
    let status = world.get("/v1/status").await;
    assert_eq!(status["alarms"].as_array().unwrap().len(), 4);
    assert_eq!(status["alarms"][0]["kind"], "protocol");
}

#[tokio::test]
async fn records_before_a_greeting_end_the_session() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = Agent::connect(&world, &identity, 1).await;
    agent.say(agent.frame(1, &[])).await;
    assert_eq!(agent.goodbye().await.code, GoodbyeCode::Protocol);
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_ends_the_session_and_a_clean_end_does_not() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    let mut backlog = agent.connection.open_uni(0).await.unwrap();
    backlog.send(Bytes::from_static(&[0, 0])).await.unwrap();
    backlog.finish().await.unwrap();
    let goodbye = agent.goodbye().await;
    assert!(goodbye.reason.contains("ended inside a frame"), "{goodbye:?}");

    let mut agent = world.session(&identity, 1).await;
    let mut backlog = agent.connection.open_uni(0).await.unwrap();
    backlog.finish().await.unwrap();
    agent.run(1, "a", &["1"], NOON).await;
    agent.acked(1).await;
}

#[tokio::test]
async fn an_agent_may_compare_what_it_has_with_what_is_here() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    agent.run(1, "a", &["1", "2", "3"], NOON).await;
    agent.acked(3).await;
    let reader = Reader::open(&world.places().journal(), &Options::hub()).unwrap();
    let mut checks: Vec<_> = reader
        .checks(&agent.journal(), SeqRange::new(1, 3).unwrap())
        .unwrap()
        .into_iter()
        .map(|(_, check)| check)
        .collect();
    checks[1].0 ^= 1;
    agent.say(Frame::Compare(Compare::new(Lodging::from(agent.journal()), 1, &checks))).await;
    loop {
        match agent.next().await {
            Frame::Compared(compared) => {
                let equal: Vec<SeqRange> = compared.equal.iter().collect();
                assert_eq!(equal, [SeqRange::only(1), SeqRange::only(3)]);
                break;
            }
            Frame::Credit(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_agent_that_leaves_is_seen_to_be_gone() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let agent = world.session(&identity, 1).await;
    assert_eq!(world.get("/v1/devices").await["devices"][0]["online"].as_array().unwrap().len(), 1);
    agent.connection.close(CloseCode::Shutdown, "switched off");
    crate::world::soon(async {
        while world.get("/v1/status").await["sessions"] != json!(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_hub_sends_agents_away_and_says_so() {
    let world = World::with(Clock::system(), |config| config.store_budget_bytes = 1).await;
    let identity = world.enrol("press-7").await;
    let mut agent = Agent::connect(&world, &identity, 1).await;
    agent.hello(&[]).await;
    let goodbye = agent.goodbye().await;
    assert_eq!(goodbye.code, GoodbyeCode::Unavailable);
    assert!(goodbye.reason.contains("disk budget") && goodbye.retry_after_ms > 0, "{goodbye:?}");
    let status = world.get("/v1/status").await;
    assert_eq!((&status["ready"], &status["healthy"]), (&json!(false), &json!(true)));
    assert!(status["problem"].as_str().unwrap().contains("budget"), "{status}");
    assert!(world.caller().get("/readyz").await.unwrap_err().message.contains("budget"));
}

#[tokio::test]
async fn a_device_beyond_the_quota_is_told_to_try_another_hub() {
    let world = World::with(Clock::system(), |config| config.quota.sessions = 1).await;
    let (first, second) = (world.enrol("press-1").await, world.enrol("press-2").await);
    let mut served = world.session(&first, 1).await;
    let mut turned = Agent::connect(&world, &second, 1).await;
    turned.hello(&[]).await;
    assert_eq!(turned.goodbye().await.code, GoodbyeCode::Unavailable);
    served.run(1, "a", &["1"], NOON).await;
    served.acked(1).await;
}

#[tokio::test]
async fn a_declared_loss_is_an_alarm_and_a_figure() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    let gap = Gap {
        incarnation: agent.incarnation,
        lane: Lane::Bulk,
        range: Some((5, 9)),
        after: None,
        count: 5,
        reason: GapReason::DropOldest,
        from: NOON,
        to: NOON,
    };
    let frame = agent.frame(1, &[gap.to_record(NOON, 1).unwrap()]);
    agent.say(frame).await;
    agent.acked(1).await;
    let status = world.get("/v1/status").await;
    assert_eq!((&status["declared"], &status["alarms"][0]["kind"]), (&json!(5), &json!("gap")));
    assert!(status["alarms"][0]["message"].as_str().unwrap().contains("5 records of lane bulk"), "{status}");
    assert_eq!(world.records("").await.len(), 0, "readings alone, unless asked for");
    assert_eq!(world.records("kind=gap").await.len(), 1);
}

#[tokio::test]
async fn readings_that_were_rejected_before_they_had_a_number_count_as_lost_for_good() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    let gap = |reason, count| Gap {
        incarnation: Incarnation::new(1),
        lane: Lane::Bulk,
        range: None,
        after: None,
        count,
        reason,
        from: NOON,
        to: NOON,
    };
    let records = [gap(GapReason::DropNewest, 10_000), gap(GapReason::Oversize, 136)]
        .map(|gap| gap.to_record(NOON, 1).unwrap());
    // The same again is a duplicate, and counts once.
    for _ in 0..2 {
        let frame = agent.frame(1, &records);
        agent.say(frame).await;
        agent.acked(2).await;
    }
    let shown = |status: Value, devices: Value| {
        assert_eq!((&status["declared"], &status["rejected"]), (&json!(10_136), &json!(10_136)));
        let device = &devices["devices"][0];
        assert_eq!((&device["declared"], &device["rejected"]), (&json!(10_136), &json!(10_136)));
        assert_eq!((&device["records"], &device["missing"]), (&json!(2), &json!(0)));
    };
    let status = world.get("/v1/status").await;
    let hints: Vec<&str> =
        status["alarms"].as_array().unwrap().iter().filter_map(|alarm| alarm["hint"].as_str()).collect();
    assert!(hints.iter().any(|hint| hint.contains("512 KiB")), "{hints:?}");
    assert_eq!(hints.len(), 2, "told once");
    shown(status, world.get("/v1/devices").await);
    let world = world.restarted().await;
    shown(world.get("/v1/status").await, world.get("/v1/devices").await);
    // More of it adds up, and no number that a device may say does harm.
    let mut agent = world.session(&identity, 1).await;
    let frame = agent.frame(3, &[gap(GapReason::Thin, u64::MAX).to_record(NOON, 1).unwrap()]);
    agent.say(frame).await;
    agent.acked_since(3, 3).await;
    let before = world.get("/v1/status").await["rejected"].clone();
    assert!(before.as_u64().unwrap() > 10_136, "{before}");
    let world = world.restarted().await;
    assert_eq!(world.get("/v1/status").await["rejected"], before);
    world.stop().await;
}
