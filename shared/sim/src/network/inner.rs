//! What happens inside of the network, by and by.

use super::{ChannelId, ConnectionId};
use crate::connection::Side;

#[derive(Clone, Copy, Debug)]
pub(super) enum Inner {
    /// The dialer's first packet arrives.
    Knock(ConnectionId),
    /// The listener's answer arrives.
    Answer(ConnectionId),
    /// The time for connecting is over.
    GiveUp(ConnectionId),
    Attempt {
        connection: ConnectionId,
        from: Side,
        channel: ChannelId,
        place: u64,
        tries: u32,
    },
    Taken {
        connection: ConnectionId,
        from: Side,
        channel: ChannelId,
        bytes: u64,
    },
    LastWord {
        connection: ConnectionId,
        from: Side,
        tries: u32,
    },
    Reset {
        connection: ConnectionId,
        to: Side,
    },
    Pulse(ConnectionId),
}
