//! What a comparison found.

use millrace_model::{NodeHash, RangeSet, SegmentName, Seq};

use crate::node::Place;

/// What differs between two holders of one journal, seen from the one that asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    /// The higher of both floors: of what lies below it nothing is pulled or pushed.
    pub floor: Seq,
    /// They have it, and it is not here.
    pub pull: RangeSet,
    /// It is here, and they lack it.
    pub push: RangeSet,
    /// Their segments of which all records are here, but in no segment: they can be sealed under these names.
    pub seal: Vec<SegmentName>,
    /// Places where both have the records, but not the same segment.
    pub contested: Vec<Contested>,
    /// Tail rows that both have, with different content.
    pub rows: RangeSet,
    /// Subtrees wholly below the own floor whose hash should be theirs: nothing is known of them here, or they still keep something there, or
    /// both only remember a hash and theirs is the higher one. Nothing is fetched; roots become equal again.
    pub adopt: Vec<(Place, NodeHash)>,
    /// The same, seen from them: subtrees wholly below their floor whose hash should be the one that is here. Only with
    /// [`Limits::gives`](super::Limits::gives).
    pub give: Vec<(Place, NodeHash)>,
    /// Places that differ where nothing can be done from here: below a floor, or a holder changed while it was asked.
    pub unsettled: u64,
    /// Nothing differs, at the floor and above.
    pub equal: bool,
    /// Why it ended before everything was looked at, if it did.
    pub cut: Option<Cut>,
    /// What it cost.
    pub figures: Figures,
}

/// One place in which both have the records, but not the same segment. At least one has a name for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contested {
    /// The segment that is here; `None`: the records are here, unsealed.
    pub mine: Option<SegmentName>,
    /// Theirs.
    pub theirs: Option<SegmentName>,
}

/// Why a comparison ended early. What it found holds all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Its limits are used up.
    Budget,
    /// The own store could not be read.
    MineUnreadable,
    /// The peer's store could not be read.
    TheirsUnreadable,
    /// One of them let go of the whole journal in between.
    Gone,
}

/// What a comparison cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Questions, each of which went to the peer and back once.
    pub questions: u32,
    /// Nodes and names that each holder was asked for.
    pub nodes: u64,
    /// Bytes of the questions and of the peer's answers, about, without frames.
    pub bytes: u64,
}

impl Difference {
    /// Whether there is nothing that could be done about it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pull.is_empty() && self.push.is_empty() && self.rows.is_empty() && self.found() == 0
    }

    /// How many places were found in the tree.
    pub(super) fn found(&self) -> usize {
        self.seal.len() + self.contested.len() + self.adopt.len() + self.give.len()
    }
}
