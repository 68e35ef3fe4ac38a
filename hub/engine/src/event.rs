//! What the world tells the engine.

use std::collections::BTreeSet;

use millrace_merkle::Told;
use millrace_model::digest::Summary;
use millrace_model::store::{Outcome, Quarantined, Refusal, Usage};
use millrace_model::{DeviceId, Durable, JournalId, NodeId, RangeSet, RecordCheck, Run, Seq, SeqRange, Wall};
use millrace_wire::{Frame, HubEndpoint, PeerFrame};

use crate::recalling::History;
use crate::{Asker, Config, Placed, Wanted};

/// Names one connection, for as long as the process lives. The daemon chooses them, ascending.
pub type LinkId = u64;

/// What a store has of one journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Measure {
    /// Stored bytes.
    pub bytes: u64,
    /// Its digest.
    pub digest: Summary,
}

/// Something happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A connection of an enrolled device stands.
    Opened {
        /// Its name.
        link: LinkId,
        /// Who the certificate says it is.
        device: DeviceId,
    },
    /// A frame came in.
    Received {
        /// On which connection.
        link: LinkId,
        /// The frame.
        frame: Frame,
    },
    /// A connection ended.
    Closed {
        /// Which.
        link: LinkId,
    },
    /// A commit was flushed.
    Committed {
        /// The proof, with the commit's number.
        durable: Durable,
        /// One outcome for each change, in order.
        outcomes: Vec<Outcome>,
        /// What the store takes now.
        usage: Usage,
    },
    /// A commit was not made; nothing of it was applied.
    CommitRefused {
        /// The commit's number.
        commit: u64,
        /// Why.
        refusal: Refusal,
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
    /// A read, or the scrub, met damage: it was moved aside. (What a commit meets is told behind its outcomes.)
    Damaged(Quarantined),
    /// The store says what it has of these journals. Sent after each commit for those that it changed, and now and then for all.
    Measured {
        /// By journal.
        stored: Vec<(JournalId, Measure)>,
    },
    /// The store has answered a question about a journal.
    Consulted {
        /// Who asked.
        asker: Asker,
        /// Under which number.
        number: u64,
        /// What there is.
        told: Told,
    },
    /// The store says what it keeps of a device.
    Recalled {
        /// For which connection.
        link: LinkId,
        /// What there is; `None` when it cannot be read now.
        kept: Option<Vec<History>>,
    },
    /// Records were read for an agent.
    Fetched {
        /// For which connection.
        link: LinkId,
        /// What is here, newest first; nothing when it could not be read.
        runs: Vec<Run>,
        /// What turned out to be damaged: it is moved aside.
        damaged: RangeSet,
    },
    /// Somebody wants copies compared now.
    Repair(Wanted),
    /// It is time to look what has been kept for long enough.
    Retain {
        /// Devices that never come back: holes in their journals hold nothing up.
        gone: BTreeSet<DeviceId>,
    },
    /// The numbers have changed. Who this hub is and its fences stay.
    Reconfigured(Box<Config>),
    /// A device's certificate was revoked: its sessions end now.
    Revoked {
        /// Which device.
        device: DeviceId,
        /// Why, for its operator.
        reason: String,
    },
    /// Another machine took the place of a device: these connections are of the former one, and end now.
    Replaced {
        /// The connections.
        links: Vec<LinkId>,
    },
    /// The hub's wall clock, for Welcome frames. Sent at start and every few seconds.
    Clock {
        /// Now.
        wall: Wall,
    },
    /// My replication stream to another hub stands.
    PeerUp {
        /// To whom.
        node: NodeId,
    },
    /// Another hub said something on my stream to it.
    PeerSaid {
        /// Who.
        node: NodeId,
        /// What.
        frame: PeerFrame,
    },
    /// My stream to another hub is gone.
    PeerDown {
        /// To whom.
        node: NodeId,
    },
    /// Another hub opened a replication stream towards me.
    GuestUp {
        /// The stream's name. Those of agents' connections are of the same numbers.
        guest: LinkId,
        /// Who the committed table says it is.
        node: NodeId,
    },
    /// Another hub said something on the stream that it opened.
    GuestSaid {
        /// On which stream.
        guest: LinkId,
        /// What.
        frame: PeerFrame,
    },
    /// The stream that another hub opened is gone.
    GuestDown {
        /// Which.
        guest: LinkId,
    },
    /// The committed table and placement: at start, and whenever they change.
    Placed(Box<Placed>),
    /// Records were read for another hub.
    Loaded {
        /// For whom.
        node: NodeId,
        /// Which journal.
        journal: JournalId,
        /// What was asked for.
        range: SeqRange,
        /// What of it is here, oldest first; nothing when none is. What is damaged is not here.
        runs: Vec<Run>,
    },
    /// What agents are to be told of the hubs. Whether one is a replica for an agent is filled in here.
    Hubs {
        /// All of them.
        hubs: Vec<HubEndpoint>,
    },
    /// This hub is about to stop, or stays after all: while it drains, agents go elsewhere.
    Drain {
        /// Whether it drains.
        on: bool,
    },
    /// The time of [`crate::Engine::poll_timeout`] has come.
    Timer,
    /// The process is about to end: say goodbye to all, take nothing more.
    Shutdown,
}

/// Why the engine wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WakeReason {
    /// A connection has not said Hello in time.
    GreetingOverdue,
    /// A full store is tried again.
    RetryCommit,
    /// A device that is over its rate gets credit again.
    Credit,
    /// A connection that stands beside a newer one of its device has outlived a dead one.
    Doubt,
    /// A full store has something that is old enough to go, or looks again.
    Evict,
    /// What another hub should have delivered is owed now, or a journal that a hub declined is tried again.
    Replicate,
    /// It is to be reported which partitions are synced.
    Synced,
    /// Agents are to hear how busy hubs are.
    Directory,
    /// The next agents of a hub that drains are sent away.
    Drain,
    /// What was lost is asked for again.
    Mend,
    /// Copies are compared.
    Repair,
}
