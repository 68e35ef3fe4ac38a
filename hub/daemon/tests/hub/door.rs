//! Who finds a place: hubs beside many agents.

use millrace_link::{CloseCode, Identity};

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
