//! Who takes part in the consensus.
//!
//! Absent: who seems alive; that is gossip's to say, and a hint.

use std::fmt;

/// Name of a node; given once by the cluster, never reused.
pub type NodeId = u64;

/// What the cluster committed about a node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Member {
    /// Its data directory: 64 random bits made together with it. Messages of another incarnation are refused.
    pub incarnation: u64,
    /// Where other hubs reach it, `host:port`, several separated by commas.
    pub address: String,
    /// Where it stands.
    pub region: String,
    /// Whether it only votes and stores no readings. The consensus treats it like every other.
    pub witness: bool,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.witness { ", witness" } else { "" };
        write!(f, "{} in {} ({:016x}{role})", self.address, self.region, self.incarnation)
    }
}
