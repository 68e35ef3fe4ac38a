//! What the engine knows of one connection.

use std::collections::BTreeSet;

use millrace_model::{
    AckLevel, DeviceId, Fence, Incarnation, JournalId, Moment, RangeSet, RecordCheck, SeqRange,
};
use millrace_wire::{Compare, Hello};

use crate::credit::Account;
use crate::recalling::Recalling;

/// Where a connection stands.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    /// Hello has not come.
    Silent {
        /// Until when it must.
        deadline: Moment,
    },
    /// Checks are being read for the Welcome.
    Greeting(Box<Greeting>),
    /// Records flow.
    Open {
        /// The session's fence.
        fence: Fence,
        /// Which life of the data directory the agent writes to.
        incarnation: Incarnation,
    },
    /// Goodbye is said; frames that still come are dropped.
    Closing,
}

/// A Hello whose answer waits for checks.
#[derive(Clone, PartialEq, Debug)]
pub struct Greeting {
    /// What the agent said.
    pub hello: Hello,
    /// Checks that are still being read.
    pub awaited: Vec<(JournalId, SeqRange)>,
    /// The last change that has to be flushed before checks are read: those up to it carry the last records of older sessions.
    pub after: Option<u64>,
    /// Checks that were read: journal, sequence number, and what is there.
    pub found: Vec<(JournalId, u64, Option<RecordCheck>)>,
}

/// One connection.
#[derive(Clone, PartialEq, Debug)]
pub struct Link {
    /// Who the certificate says it is.
    pub device: DeviceId,
    /// Where it stands.
    pub stage: Stage,
    /// What it may send.
    pub account: Account,
    /// When records of it were stored last.
    pub stored_at: Option<Moment>,
    /// Changes that it sent and that wait for a flush.
    pub waiting: usize,
    /// When it gets credit again, if it is over its rate.
    pub credit_at: Option<Moment>,
    /// A newer session of another incarnation stands beside it; by then a dead connection would have timed out.
    pub doubted_until: Option<Moment>,
    /// The comparison that is under way.
    pub comparing: Option<Comparing>,
    /// The question about older incarnations that is under way.
    pub recalling: Option<Recalling>,
    /// Journals of which this hub wants records again: of those that the session does not write, it takes no other runs.
    pub wanted: BTreeSet<JournalId>,
    /// How durable a record must be before the agent wants to hear of it.
    pub level: AckLevel,
}

/// What an agent asked to have compared.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparing {
    /// Its words.
    pub asked: Compare,
    /// Records that are here, the very same, once they were read. Told when they are as durable as the agent wants.
    pub equal: Option<RangeSet>,
}

impl Link {
    /// Whether the session writes to this life of the device's directory.
    #[must_use]
    pub fn writes(&self, to: Incarnation) -> bool {
        matches!(self.stage, Stage::Open { incarnation, .. } if incarnation == to)
    }
}
