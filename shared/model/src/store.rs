//! What a store can be asked, what it answers, and the proof that it flushed.
//!
//! The engines decide in these words, `millrace-journal` carries them out in SQLite, and the fleet simulation runs
//! both together. All changes of one commit are applied in order and flushed together, or not at all.
//!
//! Absent: how it is stored, and when to ask for what.

use crate::digest::Summary;
use crate::notice::GapReason;
use crate::{
    Incarnation, JournalId, Lane, Ledger, NodeHash, Ordinal, RangeSet, Record, RecordCheck, Run, SegmentName,
    Seq, SeqRange, Wall,
};

/// Proof that everything in one commit has been flushed. Whatever tells somebody outside that a record is safe
/// (a PUBACK, an ack, a trim, a cursor) takes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Durable {
    commit: u64,
}

impl Durable {
    /// States that commit number `commit` has been flushed. Only a store may say this: the walls test allows this
    /// call in `millrace-journal` and in tests alone.
    #[must_use]
    pub const fn attest(commit: u64) -> Self {
        Self { commit }
    }

    /// The number that the commit was asked for under.
    #[must_use]
    pub const fn commit(self) -> u64 {
        self.commit
    }
}

/// One change asked of a store.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// The author appends records to its current journal of `lane`; the store numbers them and counts them as
    /// ingested. Answered by [`Outcome::Appended`].
    Append {
        /// Which lane.
        lane: Lane,
        /// The records, in order.
        records: Vec<Record>,
    },
    /// Records that arrived were refused: counted as ingested and rejected, and added to the open gap of
    /// `lane` for `reason`. Answered by [`Outcome::Done`].
    Reject {
        /// The lane that they were meant for.
        lane: Lane,
        /// How many.
        count: u64,
        /// Why.
        reason: GapReason,
        /// Arrival of the first.
        from: Wall,
        /// Arrival of the last.
        to: Wall,
    },
    /// A replica stores what its peer sent. Answered by [`Outcome::Received`].
    Receive(Run),
    /// The author stores what a hub kept of its own: a run of a journal of the same device. Either of an older life, whose disk is gone: verified
    /// and stored as at a replica, whole segments byte for byte, in a journal that is retired: never shipped, never re-authored; what goes
    /// of it, trimmed or damaged, is no loss and makes no gap. Or of a journal that is written now, up to its head: then it fills what damage
    /// took. Counted as acked at once; what had been counted as evicted is so no more. A run that may not be restored is refused: of another
    /// device, of a journal that this store wrote and retired, behind the last record that was written. Answered by [`Outcome::Restored`].
    Restore(Run),
    /// A replica seals records that it holds under the author's name for them; an author does where damage took the segment and its records came
    /// back ([`Change::Restore`]). When it does not hold all of them, or they hash to something else, nothing changes. Answered by
    /// [`Outcome::Sealed`].
    Seal {
        /// Which journal.
        journal: JournalId,
        /// The author's name for the segment.
        segment: SegmentName,
    },
    /// The hubs hold these records at the level asked for: counted as acked. Ranges that are not here, or are
    /// acked already, count nothing. Answered by [`Outcome::Done`].
    Acknowledge {
        /// Which journal.
        journal: JournalId,
        /// Which records.
        ranges: RangeSet,
    },
    /// The hubs lost these records: what of them is here counts as not acked any more. Answered by [`Outcome::Done`].
    Reclaim {
        /// Which journal.
        journal: JournalId,
        /// Which records.
        ranges: RangeSet,
    },
    /// Drops segments, and tail rows, at the floor of a journal. What is acked goes; what is not is dropped only when
    /// `evict` names the policy's reason, counted as evicted, and added to the open gap of the lane. Whole segments only, as far as their
    /// last record is at most `through`. Answered by [`Outcome::Dropped`].
    Drop {
        /// Which journal.
        journal: JournalId,
        /// The last record that may go.
        through: Seq,
        /// Why unacknowledged records go, if they may.
        evict: Option<GapReason>,
    },
    /// Turns all open gaps into gap records, appended to the urgent lane. Answered by [`Outcome::Declared`].
    DeclareGaps {
        /// The device's wall clock.
        wall: Wall,
        /// Its monotonic clock, µs since boot.
        mono: u64,
    },
    /// The author begins a new incarnation: later appends go to new journals. The old journals retire: they
    /// take no more records, nothing of them is shipped, and only [`Change::Reauthor`] empties them.
    /// Answered by [`Outcome::Appended`] for the `open` record.
    Reincarnate {
        /// The new incarnation.
        incarnation: Incarnation,
        /// The record that says so, appended to the urgent lane and counted as ingested.
        open: Box<Record>,
    },
    /// Moves unacknowledged records of a retired journal into the current journal of the same lane: in `range`,
    /// those in `equal` are counted as acked (the hub has the very same), all others are appended again, as they are,
    /// under the new incarnation. `ingested` moves with them, so the device's ledger stays what it was.
    /// Answered by [`Outcome::Reauthored`].
    Reauthor {
        /// The retired journal.
        journal: JournalId,
        /// The part to deal with; at most [`crate::limits::SEGMENT_RECORDS_MAX`] records.
        range: SeqRange,
        /// Those whose content the hub has under the same numbers.
        equal: RangeSet,
    },
    /// Takes over a peer's hashes for places of the digest that lie wholly below this store's own floor: their segments were let go
    /// before anybody noted their hashes, or never came here. What was known of such a place gives way, since nothing under it can be
    /// looked at any more; which of two hashes is the better one is decided by whoever compares. So is the leaf of a segment whose records stood
    /// here as rows until the floor passed them. Places that are not the largest ones
    /// below the floor, places elsewhere, and journals that are not here are left alone. Answered by [`Outcome::Done`].
    Adopt {
        /// Which journal.
        journal: JournalId,
        /// Level above the leaves, index within the level, and the peer's hash.
        nodes: Vec<(u8, u64, NodeHash)>,
        /// Whether a hash that stands there gives way. A device's word counts only where nothing stands.
        replaces: bool,
    },
    /// Nobody has these records any more: a replica waits for them no longer. What is here, or below the floor, is not lost; at
    /// the author nothing is done. Bounded as what authors declare. Answered by [`Outcome::Done`].
    DeclareLost {
        /// Which journal.
        journal: JournalId,
        /// Which records.
        ranges: RangeSet,
    },
    /// Remembers a small value under a name, for what must survive a restart beside the journals.
    Remember {
        /// The name.
        name: &'static str,
        /// The value, at most 64 KiB.
        value: Vec<u8>,
    },
}

/// What became of one change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was done; there is nothing more to say.
    Done,
    /// Records were appended as `range` of `journal`, and perhaps sealed.
    Appended {
        /// Where they went.
        journal: JournalId,
        /// Their numbers.
        range: SeqRange,
        /// Segments that this sealed, in order.
        sealed: Vec<SegmentName>,
    },
    /// What a peer sent was compared with what is here.
    Received {
        /// Which journal.
        journal: JournalId,
        /// Now here, and not before.
        stored: RangeSet,
        /// Already here, the very same.
        duplicate: RangeSet,
        /// Already here with other content: nothing was changed.
        conflict: RangeSet,
        /// Why the run was refused as a whole: damaged, or not what its name says.
        refused: Option<String>,
        /// Gaps that gap records among the stored ones declare; each once, also when damage took its record and it came again.
        gaps: Vec<crate::notice::Gap>,
    },
    /// What a hub kept was compared with what is here.
    Restored {
        /// Which journal.
        journal: JournalId,
        /// Now here, and not before.
        stored: RangeSet,
        /// How many of these were never counted here: they count as ingested and acked now.
        counted: u64,
        /// How many of these had been counted as evicted: they count as acked now.
        recovered: u64,
        /// Already here, the very same, or let go.
        duplicate: RangeSet,
        /// Already here with other content: nothing was changed.
        conflict: RangeSet,
        /// Why the run was refused as a whole.
        refused: Option<String>,
    },
    /// Whether the segment is sealed now (`true` also when it already was, under the same name).
    Sealed {
        /// Which journal.
        journal: JournalId,
        /// Whether it is.
        sealed: bool,
    },
    /// What went.
    Dropped {
        /// Which journal.
        journal: JournalId,
        /// Its floor now: the first record that is still kept, or will be.
        floor: Seq,
        /// How many records went that were acked.
        trimmed: u64,
        /// How many went that were not.
        evicted: u64,
    },
    /// How many gap records were appended, and where.
    Declared {
        /// The journal of the urgent lane.
        journal: JournalId,
        /// Their numbers, if there were any.
        range: Option<SeqRange>,
    },
    /// Damage that the commit met. It answers no change: what was put aside, before any change was applied, is told behind
    /// the outcomes of all changes. Also what an earlier commit put aside that was then refused.
    Quarantined(Quarantined),
    /// Records moved.
    Reauthored {
        /// Where to, and under which numbers, if any moved.
        appended: Option<(JournalId, SeqRange)>,
        /// How many turned out to be at the hub already.
        equal: u64,
    },
}

/// Records that were found damaged and put aside: they are not here any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantined {
    /// Which journal.
    pub journal: JournalId,
    /// Which records are gone.
    pub ranges: RangeSet,
    /// How many of them the author's store had no ack of: counted as evicted, and opened as a gap. At a replica 0.
    pub evicted: u64,
}

/// Why a commit was not made. Nothing of it was applied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The disk is full. An ordinary event: make room and ask again.
    #[error("no space left on the device")]
    Full,
}

/// How much room a store takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Bytes in use on disk: pages that hold something, and the write-ahead log.
    pub used_bytes: u64,
    /// Bytes that were written to the store's files since it was opened.
    pub written_bytes: u64,
}

/// What a store knows about one journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalState {
    /// Which journal.
    pub journal: JournalId,
    /// Whether it takes no more records.
    pub retired: bool,
    /// At an author: whether it came back from the hubs ([`Change::Restore`]).
    pub restored: bool,
    /// First record that is kept, or will be.
    pub floor: Seq,
    /// Last record ever appended or received; 0 when there is none.
    pub head: Seq,
    /// The check of the record at `head`, if it is here.
    pub head_check: Option<RecordCheck>,
    /// What is here.
    pub present: RangeSet,
    /// What is known to be at the hubs (here or trimmed).
    pub acked: RangeSet,
    /// At a replica: what its author declared as lost, and what no other replica has any more.
    pub declared: RangeSet,
    /// The first record after the last sealed segment.
    pub tail_first: Seq,
    /// The ordinal that the next sealed segment gets.
    pub next_ordinal: Ordinal,
    /// Segments with smaller ordinals lie below the floor: what is missing of them is not missed.
    pub first_ordinal: Ordinal,
    /// The digest.
    pub summary: Summary,
    /// The count of everything.
    pub ledger: Ledger,
    /// Stored bytes of its sealed segments and tail rows, about.
    pub stored_bytes: u64,
}

/// One sealed segment at the floor of a journal, for deciding what goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentInfo {
    /// Which journal.
    pub journal: JournalId,
    /// Its name.
    pub name: SegmentName,
    /// Latest arrival in it.
    pub max_wall: Wall,
    /// Stored bytes.
    pub stored_bytes: u64,
    /// How many of its records are not acked.
    pub unacked: u64,
}
