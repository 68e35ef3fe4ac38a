//! The consensus' road: its messages as calls between hubs.
//!
//! Promise: a node in the table is reached over the connection to it, and no other; one that is not there yet, at the addresses that the
//! consensus committed for it. What certainly did not leave is said to be unreachable, anything else not.
//! Absent: the message's own envelope, which says whom it is from and for (`millrace-hub-control`).

use std::time::Duration;

use bytes::Bytes;
use millrace_hub_control::{Call, Member, Transport, TransportError};
use millrace_model::NodeId;
use millrace_wire::CallKind;

use super::{CallError, Peers};

/// How long the other side may work on a message. The consensus gives each call up much sooner by itself; only the last piece of a snapshot
/// takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Peers, as the consensus sees them.
#[derive(Clone)]
pub struct ControlRoad(Peers);

impl ControlRoad {
    /// A road over these peers.
    #[must_use]
    pub const fn new(peers: Peers) -> Self {
        Self(peers)
    }
}

impl Transport for ControlRoad {
    fn call<'a>(&'a self, node: u64, member: &'a Member, request: Bytes) -> Call<'a> {
        Box::pin(async move {
            let answer = if self.0.knows(NodeId(node)) {
                self.0.call(NodeId(node), CallKind::Control, request, PATIENCE).await
            } else {
                self.0.call_at(&addresses(member), CallKind::Control, request, PATIENCE).await
            };
            answer.map_err(|error| match error {
                CallError::Unreachable(why) => TransportError::Unreachable(why),
                CallError::Failed(why) | CallError::Refused(why) => TransportError::Failed(why),
            })
        })
    }
}

/// Where a member is reached.
fn addresses(member: &Member) -> Vec<String> {
    let parts = member.address.split(',').map(str::trim);
    parts.filter(|address| !address.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_have_several_addresses() {
        let member = Member { address: "a:1, b:2,,".to_owned(), ..Member::default() };
        assert_eq!(addresses(&member), ["a:1", "b:2"]);
    }
}
