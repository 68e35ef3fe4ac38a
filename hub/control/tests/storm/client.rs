//! Who uses a hub, and writes down what it saw.

use std::sync::Arc;
use std::time::Duration;

use millrace_hub_control::kv::Command;
use millrace_hub_control::{Control, NodeId};
use tokio::time::sleep;

use super::operating::{operate, read};
use super::world::{Phase, World};

/// Registers that all clients share: few, so that they meet.
pub const KEYS: u8 = 5;

/// Simulated time, the same on all machines.
fn now() -> u64 {
    let elapsed = turmoil::sim_elapsed().expect("clients live in the simulation");
    u64::try_from(elapsed.as_micros()).unwrap()
}

/// Works while faults happen.
pub async fn work(world: Arc<World>, control: Control) {
    let client = world.next_client();
    let mut rng = fastrand::Rng::with_seed(world.draw());
    let mut written = client << 32;
    loop {
        if world.phase() == Phase::Work {
            written += 1;
            let what = (client, rng.u8(..KEYS), written);
            operate(&control, &mut rng, &world.history, what, now).await;
        }
        sleep(Duration::from_millis(rng.u64(20..200))).await;
    }
}

/// Decides something when everything is healed, and reads everything at the end.
pub async fn finish(world: Arc<World>, control: Control, id: NodeId) -> turmoil::Result {
    let pause = Duration::from_millis(50);
    while world.phase() < Phase::Healed {
        sleep(pause).await;
    }
    while control.propose(&Command::put(format!("healed/{id}"), "yes")).await.is_err() {
        sleep(pause).await;
    }
    world.decided(id);
    while world.phase() < Phase::Reading {
        sleep(pause).await;
    }
    let client = world.next_client();
    for key in 0..KEYS {
        while !read(&control, &world.history, client, key, now).await {
            sleep(pause).await;
        }
    }
    world.has_read(id);
    std::future::pending().await
}
