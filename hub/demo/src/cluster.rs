//! Several hub processes that take part in one cluster, each in a region of its own.
//!
//! Promise: on a network of namespaces each hub is on a machine of its own, and roads between them can be cut in each
//! direction; on loopback they cannot, and a cut is an error. Commands reach a hub through its admin socket, which no cut touches.
//! Absent: what goes wrong with them (`nemesis`).

use std::time::Duration;

use serde_json::Value;

use crate::network::Network;
use crate::{Hub, HubOptions, Plant, PlantError};

/// Until a hub that joined is full and votes.
const JOIN_LIMIT: Duration = Duration::from_secs(60);

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many hubs.
    pub hubs: usize,
    /// Whether each has a machine of its own, whose roads can be cut.
    pub machines: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { hubs: 3, machines: false }
    }
}

/// Hubs that decide together.
#[derive(Debug)]
pub struct Cluster {
    /// In the order in which they joined: `hub-1` of `region-1`, and so on.
    pub hubs: Vec<Hub>,
    network: Option<Network>,
}

impl Cluster {
    /// Founds a cluster with its first hub, and lets the others join. Returns when all of them are full and vote.
    ///
    /// # Errors
    /// When a command fails, a process is not ready in time, or namespaces cannot be made.
    pub async fn start(plant: &Plant, options: &ClusterOptions) -> Result<Self, PlantError> {
        let network = options.machines.then(|| Network::build(options.hubs)).transpose()?;
        let mut cluster = Self { hubs: Vec::new(), network };
        for number in 0..options.hubs {
            let machine = cluster.network.as_ref().map(|network| network.machine(number));
            let (name, region) = (format!("hub-{}", number + 1), format!("region-{}", number + 1));
            let options = HubOptions { name, region, machine, ..HubOptions::default() };
            let hub = match cluster.hubs.first() {
                None => Hub::start(plant, options).await?,
                Some(founder) => Hub::join(plant, founder, options).await?,
            };
            cluster.hubs.push(hub);
        }
        if let Some(founder) = cluster.hubs.first() {
            founder.complete(options.hubs, JOIN_LIMIT).await?;
        }
        Ok(cluster)
    }

    /// The place in [`Cluster::hubs`] of the one that leads, in the eyes of the first.
    ///
    /// # Errors
    /// When it does not answer, or nobody leads.
    pub async fn leader(&self) -> Result<usize, PlantError> {
        let nobody = || PlantError::answer("the cluster", &"nobody leads");
        let seen = self.hubs.first().ok_or_else(nobody)?.members().await?;
        let members = seen.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is =
            |member: &&Value, key: &str, text: &str| member.get(key).and_then(Value::as_str) == Some(text);
        let leader = members.iter().find(|member| is(member, "role", "leader")).ok_or_else(nobody)?;
        self.hubs.iter().position(|hub| is(&leader, "name", hub.name())).ok_or_else(nobody)
    }

    /// The roads between the machines.
    ///
    /// # Errors
    /// When the hubs stand on loopback, where there is nothing to cut.
    pub fn network(&self) -> Result<&Network, PlantError> {
        self.network
            .as_ref()
            .ok_or_else(|| PlantError::answer("the cluster", &"it has no machines of its own"))
    }
}
