//! Who finds a place: hubs beside many agents, agents at a hub that is not in its cluster's table yet.

use millrace_link::{CloseCode, Identity};
use millrace_model::NodeId;

use crate::world::{World, soon};

#[tokio::test]
async fn another_hub_finds_a_place_when_more_agents_have_come_than_may() {
    let world = World::with(millrace_host::Clock::system(), |config| config.quota.sessions = 1).await;
    let agent = world.enrol("press-7").await;
    // Any hub will do, also this one itself.
    let hub = Identity::load(&world.places().identity()).unwrap();
    let mut connections = Vec::new();
    // As many as the quota and what is kept beyond it.
    for _ in 0..257 {
        connections.push(world.dialer.connect(world.quic, &agent).await.unwrap());
    }
    let surplus = world.dialer.connect(world.quic, &agent).await.unwrap();
    let reason = soon(surplus.closed()).await;
    assert_eq!(reason.code, CloseCode::Shutdown, "{reason}");
    assert!(reason.text.contains("as many agents"), "{reason}");
    let connection = world.dialer.connect(world.quic, &hub).await.unwrap();
    let opened = connection.open_bi(0).await;
    assert!(opened.is_ok(), "it is served");
    drop((connections, connection));
    world.stop().await;
}

#[tokio::test]
async fn a_hub_that_its_cluster_has_not_taken_in_yet_is_not_ready_and_says_why() {
    // As after `join`, when none of the others has called yet.
    let world = World::with(millrace_host::Clock::system(), |config| {
        let mut seat = config.places.read_seat().unwrap().unwrap();
        (seat.node, seat.founding) = (NodeId(2), false);
        config.places.write_seat(&seat).unwrap();
    })
    .await;
    let status = world.get("/v1/status").await;
    assert_eq!((&status["ready"], &status["healthy"]), (&false.into(), &true.into()), "{status}");
    assert!(status["problem"].as_str().unwrap().contains("table of its cluster"), "{status}");
    let refused = world.caller().get("/readyz").await.unwrap_err();
    assert!(refused.message.contains("table of its cluster"), "{refused}");
    world.stop().await;
}
