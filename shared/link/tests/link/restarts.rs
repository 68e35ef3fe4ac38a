//! A hub that was killed and started again on its port.

use std::net::SocketAddr;
use std::time::Duration;

use millrace_link::{
    Admission, ClientOptions, CloseCode, Connection, Dialer, Identity, Listener, Road, ServerOptions, Verdict,
};

use crate::world::{LOOPBACK, World, hub_role, session_of};

struct Everyone;

impl Admission for Everyone {
    fn admits(&self, _: &millrace_link::PeerIdentity) -> Verdict {
        Verdict::CurrentKey
    }
}

/// A hub with a runtime of its own, which can be stopped without a farewell: nothing of it runs any more.
struct Hub {
    runtime: tokio::runtime::Runtime,
    listener: Listener,
}

impl Hub {
    fn start(world: &World, identity: Identity, at: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = ServerOptions::new(identity, std::sync::Arc::new(Everyone), world.clock());
        let inside = runtime.enter();
        let listener = Listener::bind(at, options).unwrap();
        drop(inside);
        Self { runtime, listener }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// As SIGKILL does: the socket is gone, and nobody was told. Without its runtime nothing can send the farewells of what
    /// is dropped after it.
    fn kill(self, accepted: Connection) {
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        drop((accepted, self.listener));
    }
}

/// A dialer whose idle timeout is long, so that only a word of the hub can end its session early.
fn patient(world: &World) -> Dialer {
    let mut options = ClientOptions::new(world.clock());
    let idle = Duration::from_secs(50);
    options.road = Road { idle_timeout: idle, keep_alive: Duration::from_millis(100), ..Road::FIBRE };
    Dialer::new(options)
}

async fn restart(world: &World, before: Identity, after: Identity) -> Option<CloseCode> {
    let first = Hub::start(world, before, LOOPBACK);
    let at = first.address();
    let dialer = patient(world);
    let dialed = dialer.connect(at, &world.device(7)).await.unwrap();
    let accepted = session_of(&first.listener).await;
    tokio::task::spawn_blocking(move || first.kill(accepted)).await.unwrap();
    assert_eq!(dialed.close_reason(), None, "nobody was told");
    let options = ServerOptions::new(after, std::sync::Arc::new(Everyone), world.clock());
    let again = Listener::bind(at, options).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(2), dialed.closed()).await;
    drop(again);
    ended.ok().map(|reason| reason.code)
}

#[tokio::test]
async fn a_hub_that_was_killed_tells_its_old_peers_when_it_is_back() {
    let world = World::new();
    let hub = world.hub();
    assert_eq!(restart(&world, hub.clone(), hub).await, Some(CloseCode::Lost));
}

#[tokio::test]
async fn nobody_without_the_private_key_can_end_a_session() {
    let world = World::new();
    let (hub, other) = (world.hub(), world.certified(hub_role(1)).0);
    assert_eq!(restart(&world, hub, other).await, None);
}
