//! Draining, and what clients and agents are told of the hubs.

use millrace_link::CloseCode;
use millrace_wire::{Frame, GoodbyeCode};
use serde_json::json;

use crate::agent::Agent;
use crate::world::World;

#[tokio::test]
async fn a_hub_that_drains_sends_its_agents_away_takes_none_and_is_not_ready() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    let answer = world.admin.post("/v1/drain", &json!({ "on": true })).await.unwrap();
    assert_eq!((&answer["draining"], &answer["others"]), (&true.into(), &0.into()));
    loop {
        match agent.any().await {
            Frame::Hubs(hubs) if hubs.hubs.iter().all(|hub| hub.draining) => break,
            // What the table said before.
            Frame::Hubs(_) => {}
            other => panic!("the hubs were due, and {other:?} came"),
        }
    }
    assert_eq!(agent.goodbye().await.code, GoodbyeCode::Moved);
    assert_eq!(agent.closed().await.code, CloseCode::Moved);
    let mut late = Agent::connect(&world, &identity, 1).await;
    late.hello(&[]).await;
    assert_eq!(late.goodbye().await.code, GoodbyeCode::Moved, "nobody is taken in");
    let status = world.get("/v1/status").await;
    assert_eq!(
        (&status["draining"], &status["ready"], &status["healthy"]),
        (&true.into(), &false.into(), &true.into())
    );
    assert!(status["problem"].as_str().unwrap().contains("drain --off"), "{status}");

    world.admin.post("/v1/drain", &json!({ "on": false })).await.unwrap();
    let back = world.session(&identity, 1).await;
    assert_eq!(world.get("/v1/status").await["ready"], true);
    drop(back);
    assert!(
        world.caller().post("/v1/drain", &json!({ "on": true })).await.is_err(),
        "only over the admin socket"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_client_is_told_which_hub_to_turn_to_and_why() {
    let world = World::new().await;
    world.enrol("press-7").await;
    let route = world.get("/v1/route?device=press-7&region=south").await;
    assert_eq!(route["device"]["name"], "press-7");
    assert!(route["partition"].is_u64(), "{route}");
    let hub = &route["hubs"][0];
    assert_eq!((&hub["name"], &hub["region"]), (&"hub-1".into(), &"north".into()));
    assert_eq!((&hub["toll"]["region_us"], &hub["toll"]["road_us"]), (&30_000.into(), &50_000.into()));
    assert_eq!(route["weights"]["other_region_us"], 30_000);
    assert!(route["note"].as_str().unwrap().contains("round trips are not known"), "{route}");
    for (path, says) in [("device=nobody", "no device"), ("region=", "empty"), ("what=1", "no parameter")] {
        let refused = world.caller().get(&format!("/v1/route?{path}")).await.unwrap_err();
        assert!(refused.to_string().contains(says), "{path}: {refused}");
    }
    world.stop().await;
}

#[tokio::test]
async fn whoever_only_measures_the_road_is_no_session() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let connection = world.dialer.connect(world.quic, &identity).await.unwrap();
    connection.close(CloseCode::Measured, "only measured the road");
    let _agent = world.session(&identity, 1).await;
    let status = world.get("/v1/status").await;
    assert_eq!((&status["sessions"], &status["alarms"]), (&1.into(), &json!([])), "{status}");
    world.stop().await;
}
