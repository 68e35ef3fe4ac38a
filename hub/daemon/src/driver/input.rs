//! What the driver is told, and what it tells.

use millrace_hub_engine::{DeviceSummary, Event, LinkId};
use millrace_link::{Connection, KeyHash};
use millrace_model::store::Usage;
use millrace_model::{DeviceId, JournalId, RangeSet, RecordCheck, Seq, SeqRange};
use millrace_wire::{Frame, GoodbyeCode};
use tokio::sync::{mpsc, oneshot};

/// Something for the driver.
#[derive(Debug)]
pub enum Input {
    /// A connection of an enrolled device stands.
    Opened {
        /// Its name.
        link: LinkId,
        /// The way to it.
        line: Line,
    },
    /// Something for the engine.
    Event(Event),
    /// A connection sent what is no frame.
    Violation {
        /// Which connection.
        link: LinkId,
        /// What it did.
        reason: String,
    },
    /// How do things stand?
    Ask(oneshot::Sender<Snapshot>),
}

/// The driver's way to one connection.
#[derive(Debug)]
pub struct Line {
    /// Whose it is.
    pub device: DeviceId,
    /// The key that it came with.
    pub key: KeyHash,
    /// What it is to send.
    pub outbox: mpsc::Sender<Outgoing>,
    /// The connection itself, to be cut when its outbox is full.
    pub connection: Connection,
}

/// Something for a session to do.
#[derive(Debug)]
pub enum Outgoing {
    /// Send it.
    Frame(Frame),
    /// Send what was asked for before, then end the connection.
    Close {
        /// Why.
        code: GoodbyeCode,
        /// Why, for people.
        reason: String,
    },
}

/// New records, flushed.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Which journal.
    pub journal: JournalId,
    /// Which records.
    pub ranges: RangeSet,
}

/// How things stand.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Every device that has a journal here or is connected.
    pub devices: Vec<DeviceSummary>,
    /// Open sessions.
    pub sessions: usize,
    /// Connections, those included that have not said Hello.
    pub connections: usize,
    /// What the store takes.
    pub usage: Usage,
    /// Whether the disk budget is used up.
    pub full: bool,
    /// Whether changes wait for a flush.
    pub busy: bool,
}

/// A device opened a session.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) device: DeviceId,
    pub(super) software: String,
    pub(super) key: KeyHash,
}

/// What the journal's thread or a reader found.
#[derive(Debug)]
pub(super) enum Answer {
    Event(Event),
    Checked { journal: JournalId, range: SeqRange, checks: Option<Vec<(Seq, RecordCheck)>> },
    Poisoned(String),
}
