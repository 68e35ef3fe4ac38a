//! Three nodes of ours in this process: files of their own that are really flushed, and a network that costs nothing but the
//! encoding of its messages.
//!
//! Absent: what three processes and QUIC cost on top.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use millrace_hub_control::kv::Command;
use millrace_hub_control::{Call, Control, Member, NodeId, Options, Seat, Transport, TransportError};
use tokio::time::{Instant, sleep};

use super::load::Putter;

const NODES: u64 = 3;
const START_LIMIT: Duration = Duration::from_secs(10);

type Nodes = Arc<Mutex<BTreeMap<NodeId, Control>>>;

struct Port {
    nodes: Nodes,
    me: NodeId,
}

impl Transport for Port {
    fn call<'a>(&'a self, node: NodeId, member: &'a Member, request: Bytes) -> Call<'a> {
        let target = find(&self.nodes, node);
        Box::pin(async move {
            let target = target.ok_or_else(|| TransportError::Unreachable(member.address.clone()))?;
            Ok(target.receive(Some(self.me), request).await)
        })
    }
}

fn find(nodes: &Nodes, node: NodeId) -> Option<Control> {
    nodes.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
}

/// Three running nodes.
pub(crate) struct Inside {
    nodes: Nodes,
    leader: Control,
}

impl Inside {
    /// Founds a cluster in `directory` and waits until one of it leads.
    pub(crate) async fn found(directory: &Path) -> anyhow::Result<Self> {
        let nodes = Nodes::default();
        let member = |id| Member { incarnation: id, address: format!("node {id}"), ..Member::default() };
        for id in 1..=NODES {
            let directory = directory.join(format!("n{id}"));
            let seat = Seat { id, incarnation: id, epoch: 1, directory, seed: id, inline: false };
            let port = Arc::new(Port { nodes: Arc::clone(&nodes), me: id });
            let control = Control::open(seat, Options::lan(), port).await?;
            nodes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, control);
        }
        let first = find(&nodes, 1).context("node 1 was just opened")?;
        first.found((1..=NODES).map(|id| (id, member(id))).collect()).await?;
        let began = Instant::now();
        loop {
            if let Some(leader) = first.leader().and_then(|leader| find(&nodes, leader)) {
                return Ok(Self { nodes, leader });
            }
            ensure!(began.elapsed() < START_LIMIT, "nobody leads");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Clients of the leader.
    pub(crate) fn clients(&self, count: usize) -> Vec<InsideClient> {
        (0..count).map(|_| InsideClient(self.leader.clone())).collect()
    }

    /// Ends the nodes.
    pub(crate) async fn close(self) {
        let nodes = std::mem::take(&mut *self.nodes.lock().unwrap_or_else(PoisonError::into_inner));
        for node in nodes.values() {
            node.close().await;
        }
    }
}

/// A client that calls the leader.
pub(crate) struct InsideClient(Control);

impl Putter for InsideClient {
    async fn put(&mut self, key: String, value: Bytes) -> anyhow::Result<()> {
        self.0.propose(&Command::put(key, value)).await?;
        Ok(())
    }
}
