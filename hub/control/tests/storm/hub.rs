//! What runs on each machine: the listener, the consensus, two clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use millrace_hub_control::{Control, Member, NodeId, Options, Seat};
use millrace_link::{Accepted, Listener, Role, ServerOptions};
use tokio::time::sleep;

use super::client;
use super::road::{self, Road};
use super::underlay::Simulated;
use super::world::{Anybody, Phase, World};

/// Where hubs listen.
pub const PORT: u16 = 7_443;
const EPOCH: u64 = 3;
/// How often leaders are compared.
const TELL_EVERY: Duration = Duration::from_millis(10);
/// Clients on each machine.
const CLIENTS: usize = 2;

pub fn name(node: NodeId) -> String {
    format!("hub{node}")
}

pub fn incarnation(node: NodeId) -> u64 {
    7_000 + node
}

fn member(node: NodeId) -> Member {
    Member { incarnation: incarnation(node), address: name(node), ..Member::default() }
}

/// A process, from its start to its crash.
pub async fn run(world: Arc<World>, id: NodeId) -> turmoil::Result {
    let identity = world.identity(id);
    let listening = ServerOptions {
        underlay: Some(Arc::new(Simulated)),
        ..ServerOptions::new(identity.clone(), Arc::new(Anybody), world.clock())
    };
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)), listening)?;
    let road = Arc::new(Road::start(&world, id, &identity));
    let seat = Seat {
        id,
        incarnation: incarnation(id),
        epoch: EPOCH,
        directory: world.directory(id),
        seed: world.draw(),
        inline: true,
    };
    // Few entries to a snapshot, so that snapshots travel too.
    let options = Options { snapshot_entries: 150, keep_entries: 20, ..Options::lan() };
    let control = Control::open(seat, options, road).await?;
    tokio::spawn(tell(Arc::clone(&world), control.clone()));
    tokio::spawn(accept(listener, control.clone(), world.nodes));
    if id == 1 && world.phase() == Phase::Founding {
        // Until the others listen.
        sleep(Duration::from_millis(500)).await;
        control.found((1..=world.nodes).map(|node| (node, member(node))).collect()).await?;
    }
    for _ in 0..CLIENTS {
        tokio::spawn(client::work(Arc::clone(&world), control.clone()));
    }
    client::finish(world, control, id).await
}

/// Tells the world how this node sees the consensus.
async fn tell(world: Arc<World>, control: Control) {
    loop {
        world.told(&control);
        sleep(TELL_EVERY).await;
    }
}

async fn accept(listener: Listener, control: Control, nodes: u64) {
    while let Some(accepted) = listener.accept().await {
        let Accepted::Session(connection) = accepted else { continue };
        let Role::Hub(hub) = connection.peer().role else { continue };
        let peer = (1..=nodes).find(|node| World::hub(*node) == hub);
        if let Some(peer) = peer {
            tokio::spawn(road::serve(control.clone(), connection, peer));
        }
    }
}
