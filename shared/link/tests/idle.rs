//! What an idle session costs, measured in a process of its own, because other tests would count too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "link/world.rs"]
#[allow(dead_code, reason = "the fixture is shared with tests that need all of it")]
mod world;

use world::{World, session_of};

/// Resident memory of this process in bytes. Pages of 4 KiB, as on every machine that runs the tests.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test]
async fn an_idle_session_costs_less_than_100_kib_at_each_end() {
    const SESSIONS: u64 = 400;
    let world = World::new();
    let (listener, dialer, device) = (world.listen(), world.dialer(), world.device(7));
    let to = listener.local_addr().unwrap();
    let mut open = Vec::new();
    let mut connect = async |count: u64| {
        for _ in 0..count {
            let (dialed, accepted) = tokio::join!(dialer.connect(to, &device), session_of(&listener));
            open.push((dialed.unwrap(), accepted));
        }
    };
    // What the first sessions cost once is not what each further one costs.
    connect(20).await;
    let before = resident();
    connect(SESSIONS).await;
    let each = resident().saturating_sub(before) / SESSIONS;
    println!("{each} bytes for both ends of an idle session");
    assert!(each > 0 && each < 2 * 100 * 1_024, "{each} bytes for both ends of an idle session");
}
