//! What a node notices of its connections.

use super::{ChannelId, ConnectionId, Node};

/// Something that a node notices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice<F> {
    /// The attempt succeeded.
    Connected {
        /// Which connection.
        connection: ConnectionId,
        /// Who notices.
        node: Node,
    },
    /// Somebody connected.
    Accepted {
        /// Which connection.
        connection: ConnectionId,
        /// Who notices.
        node: Node,
        /// Who connected.
        from: Node,
    },
    /// A frame came.
    Frame {
        /// On which connection.
        connection: ConnectionId,
        /// Who notices.
        node: Node,
        /// On which channel.
        channel: ChannelId,
        /// The frame.
        frame: F,
    },
    /// The transport took bytes, so that there is room for more.
    Taken {
        /// Of which connection.
        connection: ConnectionId,
        /// Who notices.
        node: Node,
        /// Of which channel.
        channel: ChannelId,
        /// How many.
        bytes: u64,
    },
    /// The connection ended or was never made; never told to the end that ended it.
    Ended {
        /// Which connection.
        connection: ConnectionId,
        /// Who notices.
        node: Node,
        /// Why.
        reason: &'static str,
    },
}

impl<F> Notice<F> {
    /// Who notices.
    #[must_use]
    pub const fn node(&self) -> Node {
        match self {
            Self::Connected { node, .. }
            | Self::Accepted { node, .. }
            | Self::Frame { node, .. }
            | Self::Taken { node, .. }
            | Self::Ended { node, .. } => *node,
        }
    }
}
