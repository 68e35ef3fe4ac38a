//! What hubs say to each other about records: the frames of a replication stream.
//!
//! ```text
//!  the hub that dialled (it owes)                 the hub that was dialled (it receives)
//!    │ Offer {cluster epoch, node, store}
//!    │ ─────────────────────────────────────────────▶ │ refuses another epoch, or a node that it does not know
//!    │              Holds {journal, ranges} …, Told {store} │
//!    │ ◀───────────────────────────────────────────── │
//!    │ Run, Seal, Gone …                               │ commit, flush
//!    │ ─────────────────────────────────────────────▶ │
//!    │       Flushed {journal, ranges}, Declined, Clash │
//!    │       Holds {journal, ranges}, Told {version}     │
//!    │ ◀───────────────────────────────────────────── │
//!    │ Inquiry {question}, Doubt {journal, ranges}       │ compares: see `repairing`
//!    │ ─────────────────────────────────────────────▶ │
//!    │       Reply {answer}, Lacks {journal, ranges}     │ lost something: it is owed again
//!    │ ◀───────────────────────────────────────────── │
//! ```
//!
//! Flushed answers runs: those very records, compared with what is there, are on disk. Holds after Told says what else the receiver
//! has flushed since, whoever sent it: so the dialling hub knows what a third one has already delivered. Told comes again, alone,
//! whenever the receiver learns of a newer placement: everything that it says later, it says knowing that one. Each pair of hubs has
//! two such streams, one for each direction.
//!
//! Promise: as for agents' frames ([`crate::frame`]); an agent cannot say these, and a hub cannot say an agent's here.

use bytes::Bytes;
use millrace_model::{DeviceId, Incarnation, JournalId, NodeId, RangeSet, Seq, SeqRange};
use serde::{Deserialize, Serialize};

use crate::frame::{FrameError, counted, framed, opened, pack, unpack};
use crate::limits::{BODY_MAX, HELD_JOURNALS_MAX, RUN_BODY_MAX, TEXT_CHARS_MAX};
use crate::{PeerInquiry, PeerReply, RunFrame, Seal};

/// The first kind that only hubs say, to hubs.
pub const FIRST_KIND: u8 = 64;

/// Everything that two hubs can say on a replication stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerFrame {
    /// First from the dialling hub: who I am.
    Offer(Offer),
    /// Some of what I hold.
    Holds(Holds),
    /// That was all that I hold.
    Told(Told),
    /// Records.
    Run(PeerRun),
    /// Records sent before are a segment now.
    Seal(PeerSeal),
    /// These are on my disk now.
    Flushed(Holds),
    /// I could not take a run.
    Declined(Declined),
    /// I hold other records under these numbers, and keep them.
    Clash(Held),
    /// These were promised and are not here any more: do not wait for them.
    Gone(Held),
    /// In this life of your store you told that you hold these, and now you do not: it went back in time, or lost them.
    Lost(Held),
    /// I had these and lost them: do not count them as here.
    Lacks(Lacks),
    /// What do you have?
    Inquiry(PeerInquiry),
    /// This.
    Reply(PeerReply),
    /// What I have here and what you say you have differ, and mine is sound: look whether yours is.
    Doubt(Held),
}

/// Who offers its records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// How often the cluster was made anew; hubs of different epochs share nothing.
    pub epoch: u64,
    /// The hub's number.
    pub node: NodeId,
    /// Which life of its store.
    pub store: Incarnation,
}

/// Records of some journals.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holds {
    /// By journal.
    pub held: Vec<Held>,
}

/// Records of one journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Which journal.
    pub journal: JournalId,
    /// Which records: flushed, or flushed once and trimmed by retention.
    pub ranges: RangeSet,
}

/// Records that a hub lost to damage. It sees to it itself that they come again: whoever hears of it does nothing, unless it is to
/// bring them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lacks {
    /// Which journal.
    pub journal: JournalId,
    /// Which records.
    #[serde(with = "millrace_merkle::spans")]
    pub ranges: RangeSet,
    /// Whether the hub that hears this is to bring what it has of them.
    pub bring: bool,
}

/// The end of what a hub holds; later, the placement that it knows by now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Which life of its store says so.
    pub store: Incarnation,
    /// The version of the placement that it knows.
    #[serde(default)]
    pub version: u64,
}

/// Records of a device, with its name: hubs speak for all devices.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerRun {
    /// Whose.
    pub device: DeviceId,
    /// The records.
    pub run: RunFrame,
}

/// A segment of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerSeal {
    /// Whose.
    pub device: DeviceId,
    /// The segment.
    pub seal: Seal,
}

/// A run that was not taken: it was damaged. It may be read and sent again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Declined {
    /// Which journal.
    pub journal: JournalId,
    /// First record of the run.
    pub first: Seq,
    /// Last record of the run.
    pub last: Seq,
    /// Why, for people.
    pub reason: String,
}

impl Declined {
    /// The records; `None` when the frame is malformed.
    #[must_use]
    pub const fn range(&self) -> Option<SeqRange> {
        SeqRange::new(self.first, self.last)
    }
}

pub(crate) const fn kind_of(kind: u8) -> Option<(&'static str, usize)> {
    Some(match kind {
        64 => ("Offer", BODY_MAX),
        65 => ("Holds", BODY_MAX),
        66 => ("Told", BODY_MAX),
        67 => ("PeerRun", RUN_BODY_MAX),
        68 => ("PeerSeal", BODY_MAX),
        69 => ("Flushed", BODY_MAX),
        70 => ("Declined", BODY_MAX),
        71 => ("Clash", BODY_MAX),
        72 => ("Gone", BODY_MAX),
        73 => ("Lost", BODY_MAX),
        74 => ("Lacks", BODY_MAX),
        75 => ("PeerInquiry", BODY_MAX),
        76 => ("PeerReply", BODY_MAX),
        77 => ("PeerDoubt", BODY_MAX),
        _ => return None,
    })
}

impl PeerFrame {
    const fn kind(&self) -> u8 {
        match self {
            Self::Offer(_) => 64,
            Self::Holds(_) => 65,
            Self::Told(_) => 66,
            Self::Run(_) => 67,
            Self::Seal(_) => 68,
            Self::Flushed(_) => 69,
            Self::Declined(_) => 70,
            Self::Clash(_) => 71,
            Self::Gone(_) => 72,
            Self::Lost(_) => 73,
            Self::Lacks(_) => 74,
            Self::Inquiry(_) => 75,
            Self::Reply(_) => 76,
            Self::Doubt(_) => 77,
        }
    }

    /// Its name in logs and errors.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match kind_of(self.kind()) {
            Some((name, _)) => name,
            None => "unknown",
        }
    }

    /// The bytes of the frame, header included.
    ///
    /// # Errors
    /// When it is over the limit of its kind: then it must not be sent.
    pub fn encode(&self) -> Result<Bytes, FrameError> {
        let body = match self {
            Self::Offer(body) => pack(self.name(), body),
            Self::Holds(body) | Self::Flushed(body) => pack(self.name(), body),
            Self::Told(body) => pack(self.name(), body),
            Self::Run(body) => pack(self.name(), body),
            Self::Seal(body) => pack(self.name(), body),
            Self::Declined(body) => pack(self.name(), body),
            Self::Clash(body) | Self::Gone(body) | Self::Lost(body) | Self::Doubt(body) => {
                pack(self.name(), body)
            }
            Self::Lacks(body) => pack(self.name(), body),
            Self::Inquiry(body) => pack(self.name(), body),
            Self::Reply(body) => pack(self.name(), body),
        }?;
        framed(self.kind(), &body)
    }

    /// The frame with these bytes, header included.
    ///
    /// # Errors
    /// When they are not exactly one well-formed frame within its limits, or one that agents say.
    pub fn decode(bytes: &Bytes) -> Result<Self, FrameError> {
        let (code, kind, body) = opened(bytes)?;
        let frame = match code {
            64 => Self::Offer(unpack(kind, body)?),
            65 => Self::Holds(unpack(kind, body)?),
            66 => Self::Told(unpack(kind, body)?),
            67 => Self::Run(unpack(kind, body)?),
            68 => Self::Seal(unpack(kind, body)?),
            69 => Self::Flushed(unpack(kind, body)?),
            70 => Self::Declined(unpack(kind, body)?),
            71 => Self::Clash(unpack(kind, body)?),
            72 => Self::Gone(unpack(kind, body)?),
            73 => Self::Lost(unpack(kind, body)?),
            74 => Self::Lacks(unpack(kind, body)?),
            75 => Self::Inquiry(unpack(kind, body)?),
            76 => Self::Reply(unpack(kind, body)?),
            77 => Self::Doubt(unpack(kind, body)?),
            other => return Err(FrameError::Kind(other)),
        };
        match &frame {
            Self::Holds(holds) | Self::Flushed(holds) => {
                counted(kind, &[("journals", holds.held.len(), HELD_JOURNALS_MAX)])?;
            }
            Self::Declined(declined) => {
                counted(kind, &[("characters of reason", declined.reason.len(), TEXT_CHARS_MAX)])?;
            }
            _ => {}
        }
        Ok(frame)
    }
}
