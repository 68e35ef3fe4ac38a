//! One reading or event: immutable from the moment it is appended.
//!
//! Absent: its sequence number (its place in a journal gives it that) and its bytes ([`crate::canon`]).

use bytes::Bytes;

use crate::{Topic, Wall};

/// What a record is. Unknown kinds are carried and kept, so that versions can be mixed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Kind(pub u8);

impl Kind {
    /// A reading or event from a sensor.
    pub const DATA: Self = Self(0);
    /// A process began to write: boot id, nonce, clock quality, software version.
    pub const OPEN: Self = Self(1);
    /// Records are missing here, on purpose and counted.
    pub const GAP: Self = Self(2);
    /// The wall clock jumped or became trustworthy.
    pub const CLOCK: Self = Self(3);
    /// What a background job found: a repair, a scrub.
    pub const REPORT: Self = Self(4);

    /// Its name in tables and JSON; unknown kinds are `other`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DATA => "data",
            Self::OPEN => "open",
            Self::GAP => "gap",
            Self::CLOCK => "clock",
            Self::REPORT => "report",
            _ => "other",
        }
    }
}

/// How a record arrived. Unknown bits are carried and kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Flags(pub u8);

impl Flags {
    const QOS: u8 = 0b0000_0011;
    /// The publication was a retained one.
    pub const RETAINED: Self = Self(0b0000_0100);
    /// The wall clock was not known to be right when this record was stamped.
    pub const TIME_UNCERTAIN: Self = Self(0b0000_1000);
    /// The record carries a time that its source gave it.
    pub const SOURCE_TIME: Self = Self(0b0001_0000);

    /// The MQTT quality of service it came with: 0, 1 or 2.
    #[must_use]
    pub const fn qos(self) -> u8 {
        self.0 & Self::QOS
    }

    /// These flags with another quality of service (0 to 2; more counts as 2).
    #[must_use]
    pub const fn with_qos(self, qos: u8) -> Self {
        Self(self.0 & !Self::QOS | if qos > 2 { 2 } else { qos })
    }

    /// These flags and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all flags of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One reading or event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// How it arrived. [`Flags::SOURCE_TIME`] is set exactly when `source` is present.
    pub flags: Flags,
    /// What it is about.
    pub topic: Topic,
    /// What it says, byte for byte as published.
    pub payload: Bytes,
    /// The device's wall clock at arrival.
    pub wall: Wall,
    /// The device's monotonic clock at arrival, µs since its boot: orders readings when the wall clock lies.
    pub mono: u64,
    /// The time that the source itself claimed, if it did.
    pub source: Option<Wall>,
}

impl Record {
    /// A reading on `topic`.
    #[must_use]
    pub fn data(topic: Topic, payload: Bytes, wall: Wall, mono: u64) -> Self {
        Self { kind: Kind::DATA, flags: Flags::default(), topic, payload, wall, mono, source: None }
    }

    /// About how many bytes it takes in memory and in canonical form; never too few for the canonical form.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.payload.len() + self.topic.as_str().len() + 48
    }
}
