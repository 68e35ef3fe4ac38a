//! The road to the other nodes: bytes out, bytes back.
//!
//! Absent: how. The daemon brings QUIC, tests bring a network that breaks on command.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::raft::member::{Member, NodeId};

/// Largest message, request or answer: one entry at its limit, or a reading of some smaller ones. A transport may refuse
/// more.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What a call leads to.
pub type Call<'a> = Pin<Box<dyn Future<Output = Result<Bytes, TransportError>> + Send + 'a>>;

/// Why no answer came.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransportError {
    /// The request did not leave: it certainly has no effect there.
    #[error("{0} is unreachable")]
    Unreachable(String),
    /// It may have arrived, or not.
    #[error("no answer: {0}")]
    Failed(String),
}

/// Sends requests to other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` to `node` and waits for its answer. Whoever calls bounds the time and drops the call when it is over.
    fn call<'a>(&'a self, node: NodeId, member: &'a Member, request: Bytes) -> Call<'a>;
}
