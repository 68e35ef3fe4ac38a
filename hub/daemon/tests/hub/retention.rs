//! Retention in a whole hub: records go by their age, are not asked for again, and everybody can see it.

use std::time::Duration;

use millrace_host::Clock;
use millrace_host::times::rfc3339;
use millrace_hub::Config;
use millrace_hub_engine::WhenFull;
use millrace_journal::{Options, Reader};
use millrace_link::CloseCode;
use millrace_model::{Lane, RecordCheck, Wall};
use millrace_wire::JournalSummary;
use serde_json::json;

use crate::agent::Agent;
use crate::api::raw;
use crate::world::{World, soon};

const NOON: Wall = Wall(1_800_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// Waits until a figure of `/v1/status` is as it should be.
async fn until(world: &World, pointer: &str, value: u64) {
    soon(async {
        while world.get("/v1/status").await.pointer(pointer) != Some(&json!(value)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Waits until the hub has noted what is there.
async fn noted(world: &World) {
    let path = world.places().retention();
    soon(async {
        while !std::fs::read_to_string(&path).is_ok_and(|text| text.contains("normal")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn greeted(agent: &mut Agent, head: u64) -> String {
    let head_check: Option<RecordCheck> = None;
    let incarnation = agent.incarnation;
    agent.hello(&[JournalSummary { incarnation, lane: Lane::Normal, floor: 1, head, head_check }]).await;
    agent.welcome().await.holdings[0].held.to_string()
}

#[tokio::test]
async fn old_records_go_are_counted_and_are_not_asked_for_again() {
    let (clock, hand) = Clock::manual(NOON);
    let keep = |config: &mut Config| config.retention.keep = Some(16 * HOUR);
    let world = World::with(clock, keep).await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    agent.run(1, "a", &["1", "2", "3"], NOON).await;
    agent.acked(3).await;
    // Each start looks: the second one notes what is here, the third one finds it old.
    let world = world.restarted_with(keep).await;
    noted(&world).await;
    hand.advance(20 * HOUR);
    let world = world.restarted_with(keep).await;
    until(&world, "/dropped", 2).await;
    let status = world.get("/v1/status").await;
    assert_eq!(status["retention"], json!({"aged": 2, "evicted": 0, "evicting": false}));
    assert_eq!((&status["records"], &status["missing"]), (&json!(1), &json!(0)));
    assert_eq!(world.get("/v1/devices").await["devices"][0]["dropped"], 2);
    let metrics = soon(raw(world.http, "/metrics")).await;
    assert!(metrics.contains("millrace_hub_records_dropped_total{reason=\"age\"} 2"), "{metrics}");
    let mut again = Agent::connect(&world, &identity, 1).await;
    assert_eq!(greeted(&mut again, 3).await, "1–3", "what was dropped was held");
    // The count and the floor outlive the process.
    let world = world.restarted_with(keep).await;
    let status = world.get("/v1/status").await;
    assert_eq!((&status["retention"]["aged"], &status["dropped"]), (&json!(2), &json!(2)));
    let mut again = Agent::connect(&world, &identity, 1).await;
    assert_eq!(greeted(&mut again, 3).await, "1–3");
    world.stop().await;
}

#[tokio::test]
async fn a_store_that_is_nearly_full_drops_the_oldest_when_it_may() {
    let (clock, hand) = Clock::manual(NOON);
    let small = |config: &mut Config| {
        config.retention.when_full = WhenFull::DropOldest { keep_at_least: HOUR };
        config.store_budget_bytes = 1 << 20;
    };
    let world = World::with(clock, small).await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    let payload = "x".repeat(30_000);
    let some = [payload.as_str(); 10];
    agent.run(1, "a", &some, NOON).await;
    agent.acked(10).await;
    let world = world.restarted_with(small).await;
    noted(&world).await;
    hand.advance(2 * HOUR);
    let mut agent = Agent::connect(&world, &identity, 1).await;
    greeted(&mut agent, 10).await;
    // What came lately stays: agents are refused before it would go.
    for turn in 1..=20 {
        if !agent.try_run(turn * 10 + 1, "a", &some, NOON).await {
            break;
        }
        if !agent.try_acked(turn * 10 + 10).await {
            break;
        }
    }
    until(&world, "/retention/evicted", 9).await;
    let status = world.get("/v1/status").await;
    assert!(status["alarms"].as_array().unwrap().iter().any(|alarm| alarm["kind"] == "evicting"), "{status}");
    assert_eq!(status["records"], json!(world.records("device=press-7&limit=1000").await.len()));
    world.stop().await;
}

#[tokio::test]
async fn stored_bytes_are_those_of_the_store_and_not_those_of_the_wire() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    agent.run(1, "a", &["1", "2", "3"], NOON).await;
    agent.acked(3).await;
    let reader = Reader::open(&world.places().journal(), &Options::hub()).unwrap();
    let stored = reader.journals().unwrap()[0].stored_bytes;
    assert_eq!(world.get("/v1/devices").await["devices"][0]["stored_bytes"], stored);
    world.stop().await;
}

#[tokio::test]
async fn a_device_is_seen_now_while_it_is_here_and_last_when_it_left() {
    let (clock, hand) = Clock::manual(NOON);
    let world = World::with(clock, |_| {}).await;
    let identity = world.enrol("press-7").await;
    let agent = world.session(&identity, 1).await;
    hand.advance(HOUR);
    let device = world.get("/v1/devices").await["devices"][0].clone();
    assert_eq!(device["last_seen"], rfc3339(NOON.plus(HOUR)), "it is here");
    agent.connection.close(CloseCode::Shutdown, "done");
    until(&world, "/sessions", 0).await;
    let left = rfc3339(NOON.plus(HOUR));
    soon(async {
        loop {
            let device = world.get("/v1/devices").await["devices"][0].clone();
            if device["last_seen"] == left.as_str() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    hand.advance(HOUR);
    assert_eq!(world.get("/v1/devices").await["devices"][0]["last_seen"], left);
    world.stop().await;
}

#[tokio::test]
async fn a_hub_that_stops_notes_who_was_here_until_then() {
    let (clock, hand) = Clock::manual(NOON);
    let world = World::with(clock, |_| {}).await;
    let identity = world.enrol("press-7").await;
    let _agent = world.session(&identity, 1).await;
    hand.advance(Duration::from_secs(30));
    let world = world.restarted().await;
    hand.advance(HOUR);
    let device = world.get("/v1/devices").await["devices"][0].clone();
    assert_eq!(device["last_seen"], rfc3339(NOON.plus(Duration::from_secs(30))));
    world.stop().await;
}
