//! Three hub processes on loopback, each with a data directory of its own, asked at the one that leads.

use std::path::PathBuf;

use anyhow::Context;
use millrace_demo::{Cluster, ClusterOptions, Plant};

use super::socket::SocketClient;

/// Three running hubs; they end when this is dropped.
pub(crate) struct Hubs {
    _cluster: Cluster,
    _plant: Plant,
    leader: PathBuf,
}

impl Hubs {
    /// Founds a cluster and lets two others join.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let plant = Plant::build()?;
        let cluster = Cluster::start(&plant, &ClusterOptions::default()).await?;
        let leader = cluster.hubs.get(cluster.leader().await?).context("the leader is a hub")?.socket();
        Ok(Self { _cluster: cluster, _plant: plant, leader })
    }

    /// Clients of the leader.
    pub(crate) async fn clients(&self, count: usize) -> anyhow::Result<Vec<SocketClient>> {
        let mut clients = Vec::with_capacity(count);
        while clients.len() < count {
            clients.push(SocketClient::connect(&self.leader).await?);
        }
        Ok(clients)
    }
}
