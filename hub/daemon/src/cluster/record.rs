//! What stands under the keys of the cluster, as JSON. Fields are only ever added.
//!
//! Absent: devices and tokens ([`crate::registry::entry`]), placement (`millrace_hub_engine::placement`).

use millrace_hub_engine::placement::REPLICAS_DEFAULT;
use millrace_link::KeyHash;
use millrace_model::{HubId, Incarnation, NodeId, Wall};
use serde::{Deserialize, Serialize};

/// The cluster itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Its name: that of the CA.
    pub name: String,
    /// How often it was made anew after a disaster, from 1. Hubs of different epochs share nothing.
    pub epoch: u64,
    /// When.
    pub founded_at: Wall,
}

/// A hub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HubRecord {
    /// Its number.
    pub node: NodeId,
    /// Its id, which its certificate carries.
    pub hub: HubId,
    /// Its name, unique among hubs.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Where others reach it, `host:port`, in the order to be tried.
    pub addresses: Vec<String>,
    /// Whether it only votes and keeps no readings.
    #[serde(default)]
    pub witness: bool,
    /// Which life of its decisions' directory.
    pub control: Incarnation,
    /// Its readings' store; none before it was opened for the first time.
    #[serde(default)]
    pub store: Option<StoreRecord>,
    /// How far it has come.
    pub state: HubState,
    /// When it came.
    pub joined_at: Wall,
    /// The key that it came with, or told last.
    pub key: KeyHash,
}

/// A hub's store of readings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoreRecord {
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Whether it holds everything that it should: only then it counts for a quorum.
    pub full: bool,
}

/// How far a hub has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HubState {
    /// It is being taken in.
    Joining,
    /// It takes part.
    Member,
    /// It is being let go.
    Leaving,
}

impl HubState {
    /// As a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Member => "member",
            Self::Leaving => "leaving",
        }
    }
}

/// What the cluster was told to be like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Replicas of each reading, when there are hubs enough.
    pub replicas: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { replicas: REPLICAS_DEFAULT }
    }
}

/// A hub that was removed: its certificate is refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GoneRecord {
    /// Its id.
    pub hub: HubId,
    /// Its name.
    pub name: String,
    /// When.
    pub at: Wall,
}

/// A machine that has a hub's certificate and has not joined yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EnrolledRecord {
    /// Its key.
    pub key: KeyHash,
    /// Its name.
    pub name: String,
    /// The hub whose place it may take.
    #[serde(default)]
    pub replace: Option<String>,
    /// Whether it may only join as a witness, or only as a hub that keeps readings; `None`: a token of before left that open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<bool>,
    /// When.
    pub at: Wall,
}
