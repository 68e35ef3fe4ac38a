//! What the engine knows of one connection.

use millrace_model::{DeviceId, Fence, Incarnation, JournalId, Moment, RecordCheck, SeqRange};
use millrace_wire::Hello;

use crate::credit::Account;

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
    /// Changes that it sent and that wait for a flush.
    pub waiting: usize,
    /// When it gets credit again, if it is over its rate.
    pub credit_at: Option<Moment>,
    /// A newer session of another incarnation stands beside it; by then a dead connection would have timed out.
    pub doubted_until: Option<Moment>,
    /// Comparisons that are being read.
    pub comparing: Option<millrace_wire::Compare>,
}
