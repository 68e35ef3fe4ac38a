//! What the driver is told, and what it tells.

use std::collections::BTreeSet;

use millrace_hub_engine::{
    Asker, Config, Debt, DeviceSummary, Event, Fullness, Holdings, LinkId, Measure, Mend, Partner, Retained,
    RoundReport, Wanted,
};
use millrace_link::{Connection, KeyHash};
use millrace_merkle::{About, Told};
use millrace_model::store::{Quarantined, Usage};
use millrace_model::{
    DeviceId, JournalId, NodeId, Partition, RangeSet, RecordCheck, Run, Seq, SeqRange, Wall,
};
use millrace_wire::{Frame, GoodbyeCode};
use tokio::sync::{mpsc, oneshot};

use super::way::Way;

/// Answers of the journal's thread and of readers that wait: one commit, [`super::CHECKS_RUNNING_MAX`] checks and
/// [`super::LOADS_RUNNING_MAX`] loads are under way at most, and damage is moved aside by one thread.
const ANSWERS_MAX: usize = 16;

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
    /// My replication stream to another hub stands.
    PeerUp {
        /// To whom.
        node: NodeId,
        /// The way to it.
        way: Way,
    },
    /// Another hub opened a replication stream towards me.
    GuestUp {
        /// The stream's name.
        guest: LinkId,
        /// Who opened it.
        node: NodeId,
        /// The way to it.
        way: Way,
    },
    /// Another machine took the place of this device.
    Replaced(DeviceId),
    /// This hub belongs to no cluster any more, and why; `None`: it does. Meanwhile nobody has a session.
    Exiled(Option<String>),
    /// The numbers that the engine works with have changed.
    Reconfigure(Box<Config>),
    /// Answer when it is this input's turn: how far behind is the driver?
    Ping(oneshot::Sender<()>),
    /// How do things stand?
    Ask(oneshot::Sender<Snapshot>),
    /// Of which partitions is something being fetched that damage took?
    AskHurt(oneshot::Sender<BTreeSet<Partition>>),
    /// Somebody asks for comparisons; the answer says with whom they begin.
    Repair(Wanted, oneshot::Sender<Begun>),
    /// What is here of all that this hub and another one both keep?
    Weigh(NodeId, oneshot::Sender<Holdings>),
}

/// The driver's way to one connection.
#[derive(Debug)]
pub struct Line {
    /// Whose it is.
    pub device: DeviceId,
    /// The key that it came with.
    pub key: KeyHash,
    /// Whether it has, or had, a session.
    pub greeted: bool,
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
    /// What retention has dropped, and whether it drops now.
    pub retained: Retained,
    /// How much of what this hub should hold it knows to hold.
    pub fullness: Fullness,
    /// What each other hub is owed.
    pub owed: Vec<Debt>,
    /// What damage took and is being fetched again.
    pub mending: Vec<Mend>,
    /// Comparisons under way.
    pub rounds: Vec<RoundReport>,
    /// Comparisons that somebody asked for and that are not over.
    pub demanded: usize,
}

/// Comparisons that begin because somebody asked for them.
#[derive(Debug, Clone, Default)]
pub struct Begun {
    /// The number of the newest report before them.
    pub after: u64,
    /// With whom: all of those who were asked for and are connected.
    pub partners: Vec<Beginning>,
}

/// A comparison that begins.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// With whom.
    pub partner: Partner,
    /// Whose journals, if an agent's.
    pub device: Option<DeviceId>,
    /// When another one began that somebody asked for before, and that is not over: its report comes first.
    pub under_way: Option<Wall>,
}

/// Records that the engine wants for another hub.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) node: NodeId,
    pub(super) journal: JournalId,
    pub(super) range: SeqRange,
    pub(super) bytes_max: usize,
}

/// A question about a journal.
#[derive(Debug)]
pub(super) struct Consultation {
    pub(super) asker: Asker,
    pub(super) number: u64,
    pub(super) journal: JournalId,
    pub(super) about: About,
}

/// A device was here.
#[derive(Debug)]
pub(super) enum Seen {
    /// It opened a session.
    Came { device: DeviceId, software: String, key: KeyHash },
    /// Its session ended. With which key it came says nothing any more: a later session may have come with a newer one.
    Left { device: DeviceId },
}

/// The way on which the journal's thread and readers answer a driver: made before it, because readers that find damage are.
#[derive(Debug)]
pub struct Answers {
    pub(super) send: mpsc::Sender<Answer>,
    pub(super) taken: mpsc::Receiver<Answer>,
}

/// Where damage is told that was moved aside: the engine hears of it in its place among the commits.
#[derive(Debug, Clone)]
pub struct Damages(mpsc::Sender<Answer>);

impl Answers {
    /// A way that is not taken yet.
    #[must_use]
    pub fn new() -> Self {
        let (send, taken) = mpsc::channel(ANSWERS_MAX);
        Self { send, taken }
    }

    /// Where damage is told.
    #[must_use]
    pub fn damages(&self) -> Damages {
        Damages(self.send.clone())
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

impl Damages {
    /// Tells of records that were moved aside. Called on the journal's thread, which may wait for the driver.
    pub fn tell(&self, aside: Quarantined) {
        // Fails only when the driver has ended.
        let _ = self.0.blocking_send(Answer::Damaged(aside));
    }

    /// Tells that they could not be, because nobody can say any more what is on disk. Called as [`Self::tell`].
    pub fn poisoned(&self, why: String) {
        let _ = self.0.blocking_send(Answer::Poisoned(why));
    }
}

/// What the journal's thread or a reader found.
#[derive(Debug)]
pub(super) enum Answer {
    Event(Event),
    /// A commit was flushed, and this is what the journals that it changed take now.
    Committed {
        event: Event,
        stored: Vec<(JournalId, Measure)>,
    },
    /// What is here of all journals.
    Measured(Vec<(JournalId, Measure)>),
    /// A question about a journal was answered.
    Consulted {
        asker: Asker,
        number: u64,
        told: Told,
    },
    /// What retention must know after a restart was written, or not.
    Saved,
    Checked {
        journal: JournalId,
        range: SeqRange,
        checks: Option<Vec<(Seq, RecordCheck)>>,
    },
    /// What was read for another hub; without it its stream ends, and begins again.
    Loaded {
        load: Load,
        runs: Result<Vec<Run>, String>,
    },
    /// Something was read for a device that gets its history back.
    Recalled(Event),
    /// Damage was moved aside.
    Damaged(Quarantined),
    Poisoned(String),
}
