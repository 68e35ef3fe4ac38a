//! Runs, seals, acks, credit: how records travel.

use bytes::Bytes;
use millrace_model::{
    AckLevel, DeviceId, Encoding, Incarnation, JournalId, Lane, RangeSet, Run, SegmentName, Seq, SeqRange,
};
use serde::{Deserialize, Serialize};

/// Which of a device's journals: the device is known from its certificate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Lodging {
    /// The life of the data directory.
    pub incarnation: Incarnation,
    /// The lane.
    pub lane: Lane,
}

impl Lodging {
    /// The journal of `device` that is meant.
    #[must_use]
    pub const fn of(self, device: DeviceId) -> JournalId {
        JournalId { device, incarnation: self.incarnation, lane: self.lane }
    }
}

impl From<JournalId> for Lodging {
    fn from(journal: JournalId) -> Self {
        Self { incarnation: journal.incarnation, lane: journal.lane }
    }
}

/// Consecutive records of one journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunFrame {
    /// Which journal.
    pub journal: Lodging,
    /// The first record.
    pub first: Seq,
    /// How many.
    pub count: u32,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// Their canonical block, encoded.
    pub body: Bytes,
    /// The sealed segment that all of them belong to.
    pub segment: Option<SegmentName>,
}

impl RunFrame {
    /// The frame that carries `run`.
    #[must_use]
    pub fn of(run: Run) -> Self {
        let Run { journal, first, count, encoding, body, segment } = run;
        Self { journal: journal.into(), first, count, encoding, body, segment }
    }

    /// The run of `device` that it carries.
    #[must_use]
    pub fn into_run(self, device: DeviceId) -> Run {
        let Self { journal, first, count, encoding, body, segment } = self;
        Run { journal: journal.of(device), first, count, encoding, body, segment }
    }

    /// The bytes that it costs of the session's credit.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.body.len() as u64
    }
}

/// The author sealed records that were sent before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seal {
    /// Which journal.
    pub journal: Lodging,
    /// The name of the segment.
    pub segment: SegmentName,
}

/// Records that are safe now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acks {
    /// By journal.
    pub acks: Vec<Ack>,
}

/// Records of one journal that are safe now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ack {
    /// Which journal.
    pub journal: Lodging,
    /// How durable they are.
    pub level: AckLevel,
    /// Which records.
    pub ranges: RangeSet,
}

/// How much the agent may send: a running total since Welcome, so that a lost or doubled frame does no harm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credit {
    /// Bytes of record bodies, counted from the beginning of the session.
    pub total: u64,
}

/// The hub holds other records under these numbers. They must travel under a new incarnation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conflict {
    /// Which journal.
    pub journal: Lodging,
    /// Which records.
    pub ranges: RangeSet,
}

/// The hub could not take a run: it was damaged on the way or at its source. It may be sent again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decline {
    /// Which journal.
    pub journal: Lodging,
    /// First record of the run.
    pub first: Seq,
    /// Last record of the run.
    pub last: Seq,
    /// Why, for people.
    pub reason: String,
}

impl Decline {
    /// The records that were declined; `None` when the frame is malformed.
    #[must_use]
    pub const fn range(&self) -> Option<SeqRange> {
        SeqRange::new(self.first, self.last)
    }
}
