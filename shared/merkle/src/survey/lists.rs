//! Reading what hubs say of their journals.

use millrace_model::{JournalId, Partition};

use crate::contradiction::Fault;
use crate::question::JOURNALS_MAX;
use crate::sums::{BUCKETS, bucket};

/// An answer about the journals of a partition.
pub(super) enum Listed {
    /// One by one.
    Journals { journals: Vec<(JournalId, u64)>, more: bool },
    /// As buckets.
    Buckets(Vec<u64>),
}

impl Listed {
    /// Reads a list: in order, and only of what was asked for.
    pub(super) fn read(
        journals: Vec<(JournalId, u64)>,
        more: bool,
        partition: Partition,
        asked: Option<u8>,
        after: Option<JournalId>,
    ) -> Result<Self, Fault> {
        if journals.len() > JOURNALS_MAX {
            return Err(Fault::TooMany { what: "journals", limit: JOURNALS_MAX, found: journals.len() });
        }
        let belongs = |journal: &JournalId| {
            Partition::of(&journal.device) == partition
                && asked.is_none_or(|asked| asked == bucket(journal))
                && after.is_none_or(|after| *journal > after)
        };
        let in_order = journals.is_sorted_by(|one, next| one.0 < next.0);
        if !in_order || !journals.iter().all(|(journal, _)| belongs(journal)) {
            return Err(Fault::Order("journals"));
        }
        if more && journals.len() < JOURNALS_MAX {
            return Err(Fault::Pages);
        }
        Ok(Self::Journals { journals, more })
    }

    /// The sums of its buckets; `None` when the list does not have all journals.
    pub(super) fn buckets(&self) -> Option<Vec<u64>> {
        match self {
            Self::Buckets(sums) => Some(sums.clone()),
            Self::Journals { more: true, .. } => None,
            Self::Journals { journals, .. } => {
                let mut sums = vec![0_u64; BUCKETS];
                for (journal, entry) in journals {
                    if let Some(sum) = sums.get_mut(usize::from(bucket(journal))) {
                        *sum = sum.wrapping_add(*entry);
                    }
                }
                Some(sums)
            }
        }
    }
}

/// So many sums of 8 bytes each.
pub(super) fn sums(bytes: &[u8], asked: usize) -> Result<Vec<u64>, Fault> {
    let (sums, rest) = bytes.as_chunks();
    if sums.len() != asked || !rest.is_empty() {
        return Err(Fault::Count { what: "sums", asked, found: sums.len() });
    }
    Ok(sums.iter().map(|sum| u64::from_be_bytes(*sum)).collect())
}
