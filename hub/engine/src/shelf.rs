//! What the engine knows of one journal of one device.

use millrace_model::store::JournalState;
use millrace_model::{RangeSet, Seq, SeqRange};

/// One journal, as far as reception needs it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shelf {
    /// What is here, flushed.
    pub present: RangeSet,
    /// What its author declared as lost.
    pub declared: RangeSet,
    /// First record that is kept.
    pub floor: Seq,
    /// Last record held; 0 when there is none.
    pub head: Seq,
    /// Stored bytes, about.
    pub stored_bytes: u64,
}

impl Shelf {
    /// What the store says of a journal at start.
    #[must_use]
    pub fn new(state: &JournalState) -> Self {
        Self {
            present: state.present.clone(),
            declared: state.declared.clone(),
            floor: state.floor,
            head: state.head,
            stored_bytes: state.stored_bytes,
        }
    }

    /// Records were stored.
    pub fn stored(&mut self, ranges: &RangeSet, bytes: u64) {
        self.present.extend(ranges);
        self.head = self.head.max(ranges.last().unwrap_or(0));
        self.stored_bytes = self.stored_bytes.saturating_add(bytes);
    }

    /// How many records are missing below the head and not declared.
    #[must_use]
    pub fn missing(&self) -> u64 {
        SeqRange::new(1, self.head).map_or(0, |all| all.count() - self.held().within(all).count())
    }

    /// What the author need not send: here, trimmed here, or declared lost.
    #[must_use]
    pub fn held(&self) -> RangeSet {
        let mut held = self.present.clone();
        held.extend(&self.declared);
        if let Some(below) = self.floor.checked_sub(1).and_then(|last| SeqRange::new(1, last)) {
            held.insert(below);
        }
        held
    }
}
