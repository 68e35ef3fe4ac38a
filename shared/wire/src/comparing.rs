//! How two holders find out which records are the same, without sending them.

use bytes::Bytes;
use millrace_model::{RangeSet, RecordCheck, Seq, SeqRange};
use serde::{Deserialize, Serialize};

use crate::Lodging;
use crate::limits::COMPARE_RECORDS_MAX;

/// Asks which of these records the peer has, the very same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compare {
    /// Which journal.
    pub journal: Lodging,
    /// The first record.
    pub first: Seq,
    /// The checks of consecutive records, 8 bytes each, big-endian.
    pub checks: Bytes,
}

impl Compare {
    /// Asks about the records of `journal` from `first` on with these checks; at most [`COMPARE_RECORDS_MAX`].
    #[must_use]
    pub fn new(journal: Lodging, first: Seq, checks: &[RecordCheck]) -> Self {
        let checks =
            checks.iter().take(COMPARE_RECORDS_MAX).flat_map(|check| check.0.to_be_bytes()).collect();
        Self { journal, first, checks }
    }

    /// The records asked about; `None` when there are none, or the frame is malformed.
    #[must_use]
    pub fn range(&self) -> Option<SeqRange> {
        let whole = self.checks.len().is_multiple_of(8) && self.checks.len() / 8 <= COMPARE_RECORDS_MAX;
        SeqRange::starting(self.first, self.checks.len() as u64 / 8).filter(|_| whole)
    }

    /// Sequence numbers and checks, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (Seq, RecordCheck)> + '_ {
        let checks = self.checks.as_chunks::<8>().0.iter().zip(0_u64..);
        // A hostile frame may name records past the last number: they are left out.
        checks.map_while(|(bytes, at)| {
            Some((self.first.checked_add(at)?, RecordCheck(u64::from_be_bytes(*bytes))))
        })
    }
}

/// The answer to a [`Compare`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// Which journal.
    pub journal: Lodging,
    /// First record asked about.
    pub first: Seq,
    /// Last record asked about.
    pub last: Seq,
    /// Those that are the very same at the peer; the others are different, or are not there.
    pub equal: RangeSet,
}

impl Compared {
    /// The records asked about; `None` when the frame is malformed.
    #[must_use]
    pub const fn range(&self) -> Option<SeqRange> {
        SeqRange::new(self.first, self.last)
    }
}
