//! What was published and what the publisher knows of it: one side of the proof.
//!
//! | fate | what the publisher saw | how often the hub may hold it |
//! |---|---|---|
//! | acknowledged | PUBACK (QoS 1) or PUBREC (QoS 2) | exactly once |
//! | written | QoS 0, written to the socket, and the connection lived on | exactly once |
//! | unanswered | QoS 1 or 2, and the connection broke before the answer; the reading was published again | 0 or 1 times |
//! | in flight | QoS 0, and the connection broke right after it was written | 0 or 1 times |
//!
//! Promise: each publication has one fate, and nothing is dropped from the tally.

use std::collections::BTreeMap;

use rumqttc::QoS;

use crate::Stamp;

/// What the publisher knows of a publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The agent said that it is stored.
    Acknowledged,
    /// QoS 0: written, and nothing speaks against its arrival.
    Written,
    /// The connection broke before the agent answered.
    Unanswered,
    /// QoS 0: written just before the connection broke.
    InFlight,
}

impl Fate {
    /// Whether the hub must hold it.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        matches!(self, Self::Acknowledged | Self::Written)
    }
}

/// One publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its quality of service.
    pub qos: QoS,
    /// What became of it.
    pub fate: Fate,
    /// [`crate::publication::fingerprint`] of topic and payload.
    pub fingerprint: u64,
}

/// All publications of one device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// By name.
    pub entries: BTreeMap<Stamp, Entry>,
}

impl Tally {
    /// How many publications have this fate.
    #[must_use]
    pub fn count(&self, fate: Fate) -> u64 {
        self.entries.values().filter(|entry| entry.fate == fate).count() as u64
    }

    /// How many publications of this quality of service must be at the hub.
    #[must_use]
    pub fn certain(&self, qos: QoS) -> u64 {
        let certain = |entry: &&Entry| entry.qos == qos && entry.fate.is_certain();
        self.entries.values().filter(certain).count() as u64
    }

    /// Both tallies together.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self
    }
}
