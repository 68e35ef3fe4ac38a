//! What membership hears, what it says, and what it counts.

use bytes::Bytes;
use millrace_model::NodeId;

use super::peer::Peer;
use super::profile::Profile;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A datagram came over the connection to a hub.
    Datagram {
        /// Who the certificate of the connection says it is. A hub's certificate; a device's never gets here.
        from: NodeId,
        /// What it sent.
        bytes: Bytes,
    },
    /// These hubs should be there: at the start, and whenever the committed member table changes. Replaces those that were
    /// named before. Those that are not up are knocked at, now and then, for ever. May be repeated whenever a connection has come
    /// up, so that the knock need not wait for its turn.
    Joined(Vec<NodeId>),
    /// This hub has something new to say of itself. Equal ones cost nothing; changes of the load alone are told at intervals.
    ProfileChanged(Profile),
    /// This hub goes. It says so at once and a few times more, until `poll_timeout` is `None`; it hears nothing any more.
    Leave,
    /// The time that was asked for has come.
    Timer,
}

/// What is to be done, or to be known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this over the connection to that hub, or drop it when there is none.
    Send {
        /// The receiver.
        to: NodeId,
        /// At most `millrace_wire::limits::GOSSIP_DATAGRAM_MAX` bytes.
        bytes: Bytes,
    },
    /// A hub seems to live.
    Up(Peer),
    /// A hub seems to be dead, or has left.
    Down(Peer),
    /// A hub began a new life while it was up, or while it was down (then [`Output::Up`] follows).
    Renamed {
        /// Its former life.
        before: Peer,
        /// Its present one.
        after: Peer,
    },
    /// A hub said something new of itself; [`super::Membership::member`] has it.
    Profile(NodeId),
    /// The others had taken this hub for dead, or knew a later life of it: it began this one.
    Rejoined(Peer),
    /// No other hub seems to live. Perhaps it is this one that is cut off.
    Alone,
}

/// Counts since the start, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Datagrams to be sent.
    pub sent_datagrams: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Datagrams that came.
    pub received_datagrams: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Refused: the source that a datagram claims is not the hub that the certificate names, or it is this hub itself.
    pub refused_source: u64,
    /// Refused: not well formed, too long, or of a version or kind that is not known.
    pub refused_form: u64,
    /// Refused: it speaks of more hubs than are remembered.
    pub refused_room: u64,
    /// Well-formed datagrams and timers that foca could make no sense of. Some after a long sleep are normal.
    pub faults: u64,
    /// Hubs that came under suspicion, here or elsewhere.
    pub suspicions: u64,
    /// How often this hub began a new life because the others took it for dead or knew a later one. One that rises for ever
    /// means that two hubs run with the same number: one data directory was copied.
    pub renewals: u64,
    /// How often this hub noticed that it had not run for longer than a probe period.
    pub sleeps: u64,
}
