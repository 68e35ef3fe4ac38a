//! What the world tells the engine.

use std::time::Duration;

use millrace_merkle::Told;
use millrace_model::notice::GapReason;
use millrace_model::store::{Change, Outcome, Quarantined, Refusal, SegmentInfo, Usage};
use millrace_model::{Durable, JournalId, Lane, Record, RecordCheck, Run, Seq, SeqRange, Wall};
use millrace_wire::Frame;

use crate::{Channel, LoadRequest};

/// Names one publication between its arrival and its acknowledgement. The daemon chooses them, ascending.
pub type Ticket = u64;

/// Something happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A publication arrived.
    Arrived {
        /// Its name.
        ticket: Ticket,
        /// The lane of its subscription.
        lane: Lane,
        /// The record to be stored.
        record: Record,
    },
    /// A publication arrived that can be no record: its loss is to be declared.
    Unfit {
        /// Its name.
        ticket: Ticket,
        /// The lane of its subscription.
        lane: Lane,
        /// What is wrong with it.
        reason: GapReason,
        /// When it came.
        wall: Wall,
    },
    /// A commit was flushed.
    Committed {
        /// The proof, with the commit's number.
        durable: Durable,
        /// One outcome for each change, in order; then what damage the commit met.
        outcomes: Vec<Outcome>,
        /// What the store takes now.
        usage: Usage,
    },
    /// A commit was not made; nothing of it was applied.
    CommitRefused {
        /// The commit's number.
        commit: u64,
        /// The changes, given back.
        changes: Vec<Change>,
        /// Why.
        refusal: Refusal,
    },
    /// Records were read for sending.
    Loaded {
        /// What was asked.
        request: LoadRequest,
        /// What is there, oldest first; nothing when the range is gone.
        runs: Vec<Run>,
    },
    /// A read met records that are damaged; they have been put aside. (What a commit meets is told with its outcomes.)
    Damaged {
        /// The read, if it was one for sending: it may be asked for again, and reads what is left.
        request: Option<LoadRequest>,
        /// What was put aside, as the store counted it.
        aside: Quarantined,
    },
    /// Checks of records were read.
    Checked {
        /// Which journal.
        journal: JournalId,
        /// What was asked.
        range: SeqRange,
        /// What is there.
        checks: Vec<(Seq, RecordCheck)>,
    },
    /// The store has answered a question about a journal.
    Consulted {
        /// The session that asked.
        session: u64,
        /// The hub's number for the inquiry.
        number: u64,
        /// What there is.
        told: Told,
    },
    /// The oldest segments were listed.
    Surveyed {
        /// Oldest first within each journal.
        segments: Vec<SegmentInfo>,
    },
    /// The transport to a hub stands, authenticated both ways.
    Connected,
    /// It could not be made, or it ended.
    Disconnected {
        /// Why, for people.
        reason: String,
        /// Whether hubs will not have this device any more (revoked, expired beyond its grace): trying again soon
        /// is of no use, an operator has to act.
        unwelcome: bool,
    },
    /// After `Disconnected`: there is another hub that was not tried yet, so the back-off need not be waited for.
    Elsewhere {
        /// Dial within this time, at a moment that chance chooses.
        within: Duration,
    },
    /// A frame came in.
    Received(Frame),
    /// The transport took bytes of a channel, so that there is room for more.
    Sent {
        /// Which channel.
        channel: Channel,
        /// How many bytes of record bodies.
        bytes: u64,
    },
    /// The bandwidth budget changed: a time window opened or closed, or a switch was moved.
    Allowance {
        /// Bytes per second; `None` is unlimited, `Some(0)` pauses all but live urgent records.
        rate: Option<u64>,
        /// Whether each byte costs money: then only live records and the urgent backlog go.
        metered: bool,
    },
    /// Somebody wants the hubs asked again for what they have of older incarnations.
    Restore,
    /// The device's clocks, together, now. Sent at start and every few seconds.
    Clocks {
        /// The wall clock.
        wall: Wall,
        /// Microseconds since boot.
        mono: u64,
    },
    /// The time of [`crate::Engine::poll_timeout`] has come.
    Timer,
    /// The process is about to end: say goodbye, take nothing more.
    Shutdown,
}

/// Why the engine wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WakeReason {
    /// The back-off is over: dial.
    Dial,
    /// The hub did not answer a Hello in time.
    GreetingOverdue,
    /// The hub acknowledged nothing of what was sent in time.
    AnswerOverdue,
    /// The hubs were made anew, and the present one cannot say what they hold: look for another.
    Renewal,
    /// There are tokens again for the backlog.
    Tokens,
    /// Live records have lingered long enough.
    Linger,
    /// Acks have waited long enough to be written down.
    WriteAcks,
    /// Gaps have waited long enough to be declared.
    DeclareGaps,
    /// The hubs are asked again for history, or there are tokens for it.
    Restore,
    /// A look at what may be trimmed is due.
    Trim,
    /// A full store is tried again.
    RetryCommit,
}
