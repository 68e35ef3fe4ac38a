//! What the engine asks of the world, in order.

use millrace_merkle::About;
use millrace_model::store::Change;
use millrace_model::{DeviceId, Fence, Incarnation, JournalId, NodeId, Partition, RangeSet, SeqRange};
use millrace_wire::{Frame, GoodbyeCode, PeerFrame};

use crate::{Asker, LinkId};

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
    /// Send a frame to an agent.
    Send {
        /// On which connection.
        link: LinkId,
        /// The frame.
        frame: Frame,
    },
    /// Send what was asked for before, then end the connection; answered with `Closed`.
    Close {
        /// Which connection.
        link: LinkId,
        /// Why.
        code: GoodbyeCode,
        /// Why, for people.
        reason: String,
    },
    /// Read the checks of records; answer with `Checked`.
    Check {
        /// Which journal.
        journal: JournalId,
        /// Which records, at most [`millrace_wire::limits::COMPARE_RECORDS_MAX`].
        range: SeqRange,
    },
    /// A session began.
    SessionOpened {
        /// On which connection.
        link: LinkId,
        /// Whose.
        device: DeviceId,
        /// Its fence.
        fence: Fence,
        /// The agent's program.
        software: String,
    },
    /// Records are new here, and flushed: followers may have them.
    Stored {
        /// Which journal.
        journal: JournalId,
        /// Which records.
        ranges: RangeSet,
    },
    /// Say this on my replication stream to another hub.
    Tell {
        /// To whom.
        node: NodeId,
        /// What.
        frame: PeerFrame,
    },
    /// Say this on the replication stream that another hub opened towards me.
    Answer {
        /// On which stream.
        guest: LinkId,
        /// What.
        frame: PeerFrame,
    },
    /// Read records for another hub; answer with `Loaded`.
    Load {
        /// For whom.
        node: NodeId,
        /// Which journal.
        journal: JournalId,
        /// Which records.
        range: SeqRange,
        /// Bytes of bodies, about: whatever is read then is enough.
        bytes_max: usize,
    },
    /// End my replication stream to another hub, which broke the protocol, or was another life of it; then dial again. Answered with
    /// `PeerDown`.
    Part {
        /// To whom.
        node: NodeId,
        /// Why, for people.
        reason: String,
    },
    /// End another hub's replication stream towards me. Answered with `GuestDown`.
    Dismiss {
        /// Which stream.
        guest: LinkId,
        /// Why, for people.
        reason: String,
    },
    /// This hub holds everything that enough replicas of these partitions held: control is to be told. Said again when nothing
    /// comes of it.
    Synced {
        /// Which partitions.
        partitions: Vec<Partition>,
    },
    /// This store is not what it was: another hub knows that it held more in this life. It is to get a new incarnation, committed as
    /// not full, and `Placed` is to say so; until then it counts for nothing.
    Relive {
        /// What shows it, for people.
        reason: String,
    },
    /// Ask the store about a journal; answer with `Consulted`.
    Consult {
        /// Who asks.
        asker: Asker,
        /// Under which number.
        number: u64,
        /// Which journal.
        journal: JournalId,
        /// What about it.
        about: About,
    },
    /// Read what is kept of a device; answer with `Recalled`.
    Recall {
        /// For which connection.
        link: LinkId,
        /// Which device.
        device: DeviceId,
    },
    /// Read the newest of these records, at most [`millrace_wire::limits::FETCH_RUNS_MAX`] runs; answer with `Fetched`.
    Fetch {
        /// For which connection.
        link: LinkId,
        /// Which journal.
        journal: JournalId,
        /// Which records.
        ranges: RangeSet,
        /// Bytes of bodies that are enough; one run in any case.
        bytes_max: usize,
    },
    /// A round of comparison is over.
    Compared(Box<crate::RoundReport>),
    /// Everything that a journal had lost is here again, or declared as lost.
    Mended(crate::Mend),
    /// Tell people.
    Alarm(Alarm),
}

/// Something that people should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// A device's disk went back in time.
    RolledBack {
        /// The journal that showed it.
        journal: JournalId,
    },
    /// Two writers used one name.
    Forked {
        /// The journal that showed it.
        journal: JournalId,
        /// The records that differ, as far as known.
        ranges: RangeSet,
    },
    /// Two incarnations of one device are connected at once, and both live: one is a clone.
    Cloned {
        /// Which device.
        device: DeviceId,
        /// The incarnations that are connected.
        incarnations: Vec<Incarnation>,
    },
    /// Another machine took the place of a device: the certificates that it had are refused. The daemon raises it.
    Replaced {
        /// Which device.
        device: DeviceId,
    },
    /// A device declared a loss.
    Gap(millrace_model::notice::Gap, DeviceId),
    /// A run was damaged.
    Declined {
        /// Which journal.
        journal: JournalId,
        /// What is wrong with it.
        reason: String,
    },
    /// A device is over a quota.
    Quota {
        /// Which device.
        device: DeviceId,
        /// Which quota, and the fix.
        reason: String,
    },
    /// A peer broke the protocol.
    Protocol {
        /// Which device.
        device: DeviceId,
        /// How.
        reason: String,
    },
    /// Another hub broke the protocol, or is of another cluster.
    Peer {
        /// Which hub.
        node: NodeId,
        /// How.
        reason: String,
    },
    /// A hub, perhaps this one, holds less than it once told: its store was put back from an old copy, or is damaged.
    Regressed {
        /// Which hub.
        node: NodeId,
        /// How many records it does not hold any more.
        records: u64,
    },
    /// Stored records are damaged: they were moved aside, and are fetched again.
    Damaged {
        /// Which journal.
        journal: JournalId,
        /// Which records.
        ranges: RangeSet,
    },
    /// What was lost has been lacking for longer than it may.
    Overdue {
        /// Which journal.
        journal: JournalId,
        /// How many records.
        records: u64,
    },
    /// A journal has differed from another holder's for longer than it may, and nothing of it is being fetched.
    Differs {
        /// Which journal.
        journal: JournalId,
        /// From whose.
        partner: crate::Partner,
        /// How many records it is about.
        records: u64,
    },
    /// Damage took records that nobody has any more: they are declared as lost.
    Irreparable {
        /// Which journal.
        journal: JournalId,
        /// Which records.
        ranges: RangeSet,
    },
    /// The disk has no room.
    Full,
    /// The store's budget is nearly used up, and the oldest records go, as configured.
    Evicting,
}
