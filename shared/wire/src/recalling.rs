//! How a device gets back what the hubs still have: with a new disk, of its older incarnations; after damage, of the present one.
//!
//! ```text
//!  agent                                              hub
//!    │ Recall
//!    │ ─────────────────────────────────────────────▶ │ reads what it keeps of this device
//!    │                 Recalled {journals, complete}   │
//!    │ ◀───────────────────────────────────────────── │
//!    │ Fetch {journal, ranges, bytes_max}              │
//!    │ ─────────────────────────────────────────────▶ │ reads the newest of them
//!    │   Run … (on the control stream, newest first)   │
//!    │   Fetched {journal, absent}                     │
//!    │ ◀───────────────────────────────────────────── │
//! ```
//!
//! What damage took of the present incarnation the device knows, or hears with a Regain ([`crate::repairing`]): it is fetched without a Recall.
//! One question is under way at a time, and what answers a Fetch is bounded, so acks never wait long behind it. A device hears only of its
//! own journals: no frame names one.

use millrace_model::{RangeSet, Wall};
use serde::{Deserialize, Serialize};

use crate::Lodging;
use crate::limits::FETCH_BYTES_MAX;

/// Agent → hub: which of my journals have you, from before the incarnation that I write to?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Recall {
    /// Journals that the agent wants to hear of at most; the hub has a limit of its own.
    pub journals_max: u16,
}

/// Hub → agent: these.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recalled {
    /// Those with the newest records, at most [`crate::limits::JOURNALS_MAX`].
    pub journals: Vec<Kept>,
    /// Whether that is all that the hubs have: this one keeps the readings of the device, its store is full, and nothing of them is damaged.
    pub complete: bool,
}

/// What a hub keeps of one journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Which journal.
    pub journal: Lodging,
    /// The records that it can bring.
    #[serde(with = "millrace_merkle::spans")]
    pub ranges: RangeSet,
    /// Bytes that they take in its store, about.
    pub bytes: u64,
    /// Arrival of the newest of them at the device, by the device's own clock. It orders journals of one device, nothing else.
    pub newest: Wall,
}

/// Agent → hub: bring me the newest of these.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fetch {
    /// Which journal.
    pub journal: Lodging,
    /// Which records. A sealed segment comes whole, also when only a part of it is named.
    #[serde(with = "millrace_merkle::spans")]
    pub ranges: RangeSet,
    /// Bytes of bodies that are enough; one run comes in any case. At most [`FETCH_BYTES_MAX`] count.
    pub bytes_max: u32,
}

impl Fetch {
    /// Bytes that the hub reads for it at most, beside one run.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::try_from(self.bytes_max).unwrap_or(FETCH_BYTES_MAX).min(FETCH_BYTES_MAX)
    }
}

/// Hub → agent: that was all for now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fetched {
    /// The journal that was asked for.
    pub journal: Lodging,
    /// Of what was asked for, what is not here: let go, never come, or damaged. What neither came nor is named here may be asked for again.
    #[serde(with = "millrace_merkle::spans")]
    pub absent: RangeSet,
}
