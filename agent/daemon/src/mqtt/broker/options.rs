//! What the embedded broker must know, and its limits.
//!
//! Absent: the configuration file; the daemon translates it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use millrace_model::Lane;

use crate::mqtt::filter::Filter;
use crate::mqtt::login::Login;

/// Which topics go to which lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LanePattern {
    /// Which topics.
    pub filter: Filter,
    /// Their lane.
    pub lane: Lane,
}

/// The embedded broker's options. Start from `Default` and change what must differ.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who may come in; without it everybody who reaches the address.
    pub login: Option<Login>,
    /// Whether to listen beyond loopback without a login.
    pub open_to_the_network: bool,
    /// Lanes by topic, the first that covers it; what none covers is `normal`.
    pub lanes: Vec<LanePattern>,
    /// Clients at once. Full: a new one is closed at once.
    pub connections_max: usize,
    /// Sessions that are remembered, connected or not. Full: the one that rests longest is forgotten.
    pub sessions_max: usize,
    /// Bytes of the largest packet. A larger one ends its client's connection.
    pub packet_bytes_max: usize,
    /// Publications of one client on their way to the disk. Full: its socket is not read.
    pub window_publications: u16,
    /// Bytes of one client on their way to the disk. Full: its socket is not read.
    pub window_bytes: usize,
    /// Bytes of all clients on their way to the disk. Full: sockets are not read, except for one publication of a
    /// client that has none on its way.
    pub held_bytes_max: usize,
    /// Subscriptions of one client. Full: refused.
    pub subscriptions_max: usize,
    /// Messages that may wait for one subscriber, connected or resting. Full: new ones are dropped and counted.
    pub outbox_messages: usize,
    /// QoS 1 messages that a subscriber may leave unacknowledged. Full: its outbox fills.
    pub unacked_max: u16,
    /// Topics with a retained message. Full: new topics are not retained.
    pub retained_topics_max: usize,
    /// Bytes of all retained messages. Full: new ones are not retained.
    pub retained_bytes_max: usize,
    /// How long a client may take to say CONNECT.
    pub connect_timeout: Duration,
    /// How long open receipts are waited for at the end.
    pub drain_timeout: Duration,
}

impl Default for EmbeddedOptions {
    /// Loopback, port 1883, and limits for a device with 64 MiB of memory.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            login: None,
            open_to_the_network: false,
            lanes: Vec::new(),
            connections_max: 256,
            sessions_max: 512,
            // Twice the largest record, so that one that is too large still gets its answer from the engine.
            packet_bytes_max: 1 << 20,
            // 4,096 between two flushes of 20 ms are 200,000 a second for one publisher.
            window_publications: 4_096,
            window_bytes: 2 << 20,
            held_bytes_max: 8 << 20,
            subscriptions_max: 64,
            outbox_messages: 1_024,
            unacked_max: 64,
            retained_topics_max: 1_024,
            retained_bytes_max: 1 << 20,
            connect_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(3),
        }
    }
}

/// Why the embedded broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error(
        "mqtt cannot listen on {address}: {source}; choose another `listen`, or stop what holds the port"
    )]
    Address {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// An open door to the network.
    #[error(
        "mqtt would listen on {0} without a password: set user and password, listen on 127.0.0.1, or say \
         that it is meant to be open"
    )]
    Open(SocketAddr),
    /// A limit of zero.
    #[error("mqtt {0} must not be 0")]
    Zero(&'static str),
}

impl EmbeddedOptions {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// The first thing that cannot work.
    pub fn validate(&self) -> Result<(), BindError> {
        if !self.listen.ip().is_loopback() && self.login.is_none() && !self.open_to_the_network {
            return Err(BindError::Open(self.listen));
        }
        let limits = [
            ("connections_max", self.connections_max),
            ("sessions_max", self.sessions_max),
            ("packet_bytes_max", self.packet_bytes_max),
            ("window_publications", usize::from(self.window_publications)),
            ("window_bytes", self.window_bytes),
            ("held_bytes_max", self.held_bytes_max),
            ("outbox_messages", self.outbox_messages),
            ("unacked_max", usize::from(self.unacked_max)),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(BindError::Zero(name)),
            None => Ok(()),
        }
    }

    /// The lane of a topic.
    pub(crate) fn lane(&self, topic: &str) -> Lane {
        let pattern = self.lanes.iter().find(|pattern| pattern.filter.covers(topic));
        pattern.map_or(Lane::Normal, |pattern| pattern.lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_stay_on_loopback() {
        let options = EmbeddedOptions::default();
        assert!(options.validate().is_ok());
        assert!(options.listen.ip().is_loopback());
    }

    #[test]
    fn an_open_door_must_be_asked_for() {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut options = EmbeddedOptions { listen, ..EmbeddedOptions::default() };
        assert!(matches!(options.validate(), Err(BindError::Open(_))));
        options.open_to_the_network = true;
        assert!(options.validate().is_ok());
    }

    #[test]
    fn the_first_pattern_that_covers_a_topic_gives_its_lane() {
        let pattern = |filter, lane| LanePattern { filter: Filter::new(filter).unwrap(), lane };
        let lanes = vec![pattern("+/alarm", Lane::Urgent), pattern("press/#", Lane::Bulk)];
        let options = EmbeddedOptions { lanes, ..EmbeddedOptions::default() };
        assert_eq!(options.lane("press/alarm"), Lane::Urgent);
        assert_eq!(options.lane("press/wave"), Lane::Bulk);
        assert_eq!(options.lane("robot"), Lane::Normal);
    }
}
