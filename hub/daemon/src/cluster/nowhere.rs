//! The road to the other hubs while there is none.

use bytes::Bytes;
use millrace_hub_control::{Call, Member, NodeId, Transport, TransportError};

/// The road of a hub that has nobody to talk to: while a command works without a running hub.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

impl Transport for Nowhere {
    fn call<'a>(&'a self, _node: NodeId, member: &'a Member, _request: Bytes) -> Call<'a> {
        Box::pin(async { Err(TransportError::Unreachable(member.address.clone())) })
    }
}
