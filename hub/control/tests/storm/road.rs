//! Requests and answers of the consensus over the real link: a stream for each call, the request in one frame and the answer
//! in another.
//!
//! Each hub dials every other one, again and again while there is no connection. A call without one is refused at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use millrace_hub_control::{Call, Control, MESSAGE_BYTES_MAX, Member, NodeId, Transport, TransportError};
use millrace_link::{ClientOptions, Connection, Dialer, Identity, Inlet, Outlet, Road as Expectations};
use tokio::time::sleep;

use super::hub::{PORT, name};
use super::underlay::Simulated;
use super::world::World;

/// A frame: its length in four bytes, and the message.
const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 4;
/// Between two attempts to dial.
const REDIAL: Duration = Duration::from_millis(200);
type Open = Arc<Mutex<BTreeMap<NodeId, Connection>>>;

/// The way to the others.
pub struct Road {
    open: Open,
}

impl Road {
    /// Dials all others from now on.
    pub fn start(world: &Arc<World>, me: NodeId, identity: &Identity) -> Self {
        let open = Open::default();
        let options = ClientOptions {
            road: Expectations::HUBS_NEAR,
            connect_timeout: Duration::from_secs(2),
            underlay: Some(Arc::new(Simulated)),
            ..ClientOptions::new(world.clock())
        };
        let dialer = Arc::new(Dialer::new(options));
        for node in (1..=world.nodes).filter(|node| *node != me) {
            tokio::spawn(keep(Arc::clone(&open), Arc::clone(&dialer), identity.clone(), node));
        }
        Self { open }
    }
}

/// Keeps a connection to `node`.
async fn keep(open: Open, dialer: Arc<Dialer>, identity: Identity, node: NodeId) {
    loop {
        let address = SocketAddr::new(turmoil::lookup(name(node)), PORT);
        if let Ok(connection) = dialer.connect(address, &identity).await {
            open.lock().unwrap().insert(node, connection.clone());
            connection.closed().await;
            open.lock().unwrap().remove(&node);
        }
        sleep(REDIAL).await;
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 4);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

async fn next(inlet: &mut Inlet) -> Result<Bytes, String> {
    let frame = inlet.next(FRAME_BYTES_MAX).await.map_err(|error| error.to_string())?;
    Ok(frame.ok_or("the stream ended")?.slice(4..))
}

async fn send(outlet: &mut Outlet, message: &[u8]) -> Result<(), String> {
    outlet.send(framed(message)).await.map_err(|error| error.to_string())?;
    outlet.finish().await.map_err(|error| error.to_string())
}

impl Transport for Road {
    fn call<'a>(&'a self, node: NodeId, member: &'a Member, request: Bytes) -> Call<'a> {
        Box::pin(async move {
            let connection = self.open.lock().unwrap().get(&node).cloned();
            let connection = connection.ok_or_else(|| TransportError::Unreachable(member.address.clone()))?;
            let opened = connection.open_bi(0).await;
            let (mut outlet, mut inlet) = opened
                .map_err(|reason| TransportError::Unreachable(format!("{}: {reason}", member.address)))?;
            send(&mut outlet, &request).await.map_err(TransportError::Failed)?;
            next(&mut inlet).await.map_err(TransportError::Failed)
        })
    }
}

/// Answers what a hub asks on a connection that it dialled.
pub async fn serve(control: Control, connection: Connection, peer: NodeId) {
    while let Ok((mut outlet, mut inlet)) = connection.accept_bi().await {
        let control = control.clone();
        tokio::spawn(async move {
            // Whoever asked has given up, or asks again.
            let Ok(request) = next(&mut inlet).await else { return };
            let answer = control.receive(Some(peer), request).await;
            let _ = send(&mut outlet, &answer).await;
        });
    }
}
