//! Calls of other hubs, and the road to them, in the words that this room needs.
//!
//! Absent: connections.

use bytes::Bytes;
use millrace_hub_control::{Call, Member, NodeId, Transport, TransportError};
use millrace_link::KeyHash;
use millrace_model::HubId;

/// Which hub asks something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Its id.
    pub hub: HubId,
    /// Its number, when it is in the table.
    pub node: Option<millrace_model::NodeId>,
    /// Its key.
    pub key: KeyHash,
    /// Its name, from its certificate.
    pub name: String,
}

/// The road of a hub that has nobody to talk to: while a command works without a running hub.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

impl Transport for Nowhere {
    fn call<'a>(&'a self, _node: NodeId, member: &'a Member, _request: Bytes) -> Call<'a> {
        Box::pin(async { Err(TransportError::Unreachable(member.address.clone())) })
    }
}
