//! What the engine asks of the world, in order.

use millrace_merkle::About;
use millrace_model::notice::GapReason;
use millrace_model::store::Change;
use millrace_model::{Durable, JournalId, SeqRange};
use millrace_wire::{Frame, HubEndpoint};

use crate::Ticket;

/// One of the streams of a session, most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Channel {
    /// Greetings, comparisons, seals: small frames.
    Control,
    /// The newest records.
    Live,
    /// What was missed.
    Backlog,
}

/// Something is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Apply these changes together and flush them; answer with `Committed` or `CommitRefused`.
    Commit {
        /// The commit's number.
        commit: u64,
        /// The changes, in order.
        changes: Vec<Change>,
    },
    /// Tell the publishers. Nothing else may.
    Acknowledge(Receipts),
    /// Make a connection to a hub (which one is the daemon's choice); answer with `Connected` or `Disconnected`.
    Connect,
    /// End the connection; answered with `Disconnected`.
    Disconnect {
        /// Why, for people and logs.
        reason: String,
    },
    /// Send a frame.
    Send {
        /// On which channel.
        channel: Channel,
        /// The frame.
        frame: Frame,
    },
    /// Read records for sending; answer with `Loaded` or `Damaged`.
    Load(LoadRequest),
    /// Read the checks of records; answer with `Checked`.
    Check {
        /// Which journal.
        journal: JournalId,
        /// Which records, at most [`millrace_wire::limits::COMPARE_RECORDS_MAX`].
        range: SeqRange,
    },
    /// List the oldest segments; answer with `Surveyed`.
    Survey {
        /// How many of each journal.
        per_journal: usize,
    },
    /// Ask the store about a journal; answer with `Consulted`.
    Consult {
        /// The session that asks.
        session: u64,
        /// The hub's number for the inquiry.
        number: u64,
        /// Which journal.
        journal: JournalId,
        /// What about it.
        about: About,
    },
    /// Keep the list of hubs for the next start.
    RememberHubs(Vec<HubEndpoint>),
    /// Tell people.
    Alarm(Alarm),
}

/// Publications whose fate is on disk. Carries the proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipts {
    durable: Durable,
    stored: Vec<Ticket>,
    rejected: Vec<(Ticket, GapReason)>,
}

impl Receipts {
    /// Receipts for what `durable` proves to be on disk.
    #[must_use]
    pub const fn new(durable: Durable, stored: Vec<Ticket>, rejected: Vec<(Ticket, GapReason)>) -> Self {
        Self { durable, stored, rejected }
    }

    /// The proof.
    #[must_use]
    pub const fn durable(&self) -> &Durable {
        &self.durable
    }

    /// Publications that are stored, in order of arrival.
    #[must_use]
    pub fn stored(&self) -> &[Ticket] {
        &self.stored
    }

    /// Publications that were refused, and whose loss is counted on disk.
    #[must_use]
    pub fn rejected(&self) -> &[(Ticket, GapReason)] {
        &self.rejected
    }
}

/// A wish to read records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadRequest {
    /// The session that it is for; answers for an older one are dropped.
    pub session: u64,
    /// The channel that it is for.
    pub channel: Channel,
    /// Which journal.
    pub journal: JournalId,
    /// Which records.
    pub range: SeqRange,
    /// How many bytes of bodies at most (one run may be more).
    pub bytes_max: usize,
}

/// Something that people should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// The hub remembers more than this device does: its disk went back in time.
    RolledBack {
        /// The journal that showed it.
        journal: JournalId,
    },
    /// Somebody else writes under this device's name: a clone.
    Forked {
        /// The journal that showed it.
        journal: JournalId,
    },
    /// Stored records are damaged.
    Damaged {
        /// Which journal.
        journal: JournalId,
        /// Which records.
        range: SeqRange,
    },
    /// The hub refused a run as damaged.
    Declined {
        /// Which journal.
        journal: JournalId,
        /// The hub's words.
        reason: String,
    },
    /// The disk has no room although nothing more can go.
    Full,
    /// The hubs were made anew after a disaster.
    HubsRenewed {
        /// The cluster's epoch now.
        epoch: u64,
        /// Records that they lost and that are sent again.
        again: u64,
        /// Records that they lost and that are not kept here any more: declared as lost.
        lost: u64,
    },
    /// A hub that its cluster left behind took this device in: what it says is worth nothing.
    LeftBehind {
        /// The hub, and its epoch and the one that replaced it.
        reason: String,
    },
    /// Everything that the hubs have of older incarnations, and that may come back, has come. Nothing to be alarmed about.
    Restored {
        /// Records that came.
        records: u64,
        /// Bytes of them, as they travelled.
        bytes: u64,
    },
    /// Records that damage took here came back from a hub. Nothing to be alarmed about.
    Regained {
        /// How many.
        records: u64,
    },
    /// Records that a hub brought back are not what their name says, or contradict what is here: they are left out.
    Unrestorable {
        /// Which journal.
        journal: JournalId,
        /// What is wrong.
        reason: String,
    },
    /// The hub says that this device's certificate is revoked.
    Revoked {
        /// The hub's words.
        reason: String,
    },
    /// The hub broke the protocol.
    Protocol {
        /// How.
        reason: String,
    },
}
