//! Who gossips: a hub, which life of it, and which life of its store.
//!
//! Promise: of two peers with the same node the one with the higher life is the later one, everywhere.
//! Absent: who may be a hub. The certificate says that, and the committed member table.

use std::fmt;

use foca::Identity;
use millrace_model::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};

/// Lives above this are nobody's: a number that is wrong must leave room for the ones that come after it. Microseconds since
/// 1970, which is what a daemon begins with, reach a thousandth of it in our time.
pub const LIFE_MAX: u64 = 1 << 62;

/// One life of a hub.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Which hub; also its address, since a datagram goes over the connection to that hub.
    pub node: NodeId,
    /// Rises whenever the hub starts, and whenever it learns that the others took it for dead. A daemon begins with its
    /// wall clock in microseconds; one whose clock went back learns its last life from the others and goes on above it.
    pub life: u64,
    /// The incarnation of its store.
    pub incarnation: Incarnation,
}

impl Peer {
    /// Stands for a hub of which nothing but the number is known; any life of it comes later.
    pub(crate) const fn unmet(node: NodeId) -> Self {
        Self { node, life: 0, incarnation: Incarnation::new(0) }
    }

    /// The next life, above `life`.
    pub(crate) fn above(self, life: u64) -> Self {
        Self { life: life.max(self.life).saturating_add(1), ..self }
    }

    /// Whether this is a later life of the same hub.
    pub(crate) fn succeeds(&self, other: &Self) -> bool {
        self.node == other.node && self > other
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.node, self.life, self.incarnation)
    }
}

impl Identity for Peer {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(self.above(self.life))
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self > adversary
    }
}
