//! How a device and its hub find out, on demand, that both have the same records, and say so over their signatures.
//!
//! ```text
//!  agent                                             hub
//!    │ Attest {number, at, stated, left_out}
//!    │ ─────────────────────────────────────────────▶ │ reads its own store, compares, signs what is equal
//!    │    Attested {number, at, findings, signature}   │
//!    │ ◀───────────────────────────────────────────── │
//!    puts the statement together itself, checks the hub's signature over it, signs last
//! ```
//!
//! Promise: the hub signs nothing that it did not compare for this very frame, and the agent nothing that it did not state in it. No frame
//! carries the statement that is signed: each end makes it of what it knows.
//! Absent: the statement and its bytes (`millrace-model`), signatures (`millrace-link`), what is compared (the hub's engine).

use bytes::Bytes;
use millrace_merkle::question::CHECKS_MAX;
use millrace_merkle::{About, Told};
use millrace_model::receipt::{Holder, Party, Standing, Statement, Subject, Verdict};
use millrace_model::{DeviceId, HubId, NodeHash, RangeSet, Seq, SeqRange, Wall};
use serde::{Deserialize, Serialize};

use crate::Lodging;
use crate::limits::ATTESTED_RANGES_MAX;

/// Agent → hub: this is what I have; do you have the very same?
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attest {
    /// Stands in the answer.
    pub number: u64,
    /// The device's wall clock.
    pub at: Wall,
    /// Its journals, ascending; at most [`crate::limits::JOURNALS_MAX`].
    pub stated: Vec<Stated>,
    /// Journals with records that it has too and says nothing of.
    pub left_out: u64,
}

/// What a device states of one of its journals.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stated {
    /// Which.
    pub journal: Lodging,
    /// Where the statement begins: no lower than the journal does.
    pub floor: Seq,
    /// Where it ends: all up to it is acknowledged.
    pub head: Seq,
    /// The root over the sealed segments.
    pub root: Option<NodeHash>,
    /// The sum over the rows from floor to head that are in no segment.
    pub tail: u64,
    /// What is here from the floor on, as in an outline (`millrace_merkle::spans`).
    pub present: Bytes,
}

/// Hub → agent: what I found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attested {
    /// The question's.
    pub number: u64,
    /// The hub's wall clock.
    pub at: Wall,
    /// One for each journal that was stated, in order.
    pub findings: Vec<Finding>,
    /// Over the statement about those that are equal (`millrace_link::receipt`); empty when none is.
    pub signature: Bytes,
    /// The hub's certificate, DER.
    pub certificate: Bytes,
    /// Why nothing was compared, for people; empty otherwise.
    pub refused: String,
}

/// What a hub finds of one journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Finding {
    /// It is the very same here; so many records from floor to head.
    Equal(u64),
    /// It begins here later: state it from there.
    Floor(Seq),
    /// It is not the same.
    Differs {
        /// What the device has and the hub lacks.
        hub_lacks: Portion,
        /// What the hub has and the device lacks.
        device_lacks: Portion,
    },
    /// There is no such journal here.
    Unknown,
    /// It cannot be read now, or changes too fast.
    Unreadable,
}

/// Some records: how many they are, and the first [`ATTESTED_RANGES_MAX`] ranges of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Portion {
    /// How many in all.
    pub count: u64,
    /// The first ranges.
    pub ranges: RangeSet,
}

impl Portion {
    /// The records in `all`.
    #[must_use]
    pub fn of(all: &RangeSet) -> Self {
        Self { count: all.count(), ranges: all.iter().take(ATTESTED_RANGES_MAX).collect() }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Attest {
    /// What both say once the hub has found this: what is equal. `None` when nothing is, or the findings are not about this.
    #[must_use]
    pub fn statement(
        &self,
        device: DeviceId,
        (hub, at): (HubId, Wall),
        findings: &[Finding],
    ) -> Option<Statement> {
        if findings.len() != self.stated.len() {
            return None;
        }
        let equal = self.stated.iter().zip(findings).filter_map(|(stated, finding)| match finding {
            Finding::Equal(count) => Some(stated.standing(device, *count)),
            _ => None,
        });
        let equal: Vec<Standing> = equal.collect();
        if equal.is_empty() {
            return None;
        }
        let differing = self.stated.len().saturating_sub(equal.len()) as u64;
        Some(Statement {
            verdict: Verdict::Equal,
            holders: [
                Holder { who: Party::Device(device), at_us: self.at },
                Holder { who: Party::Hub(hub), at_us: at },
            ],
            about: Subject::Journals(equal),
            left_out: self.left_out.saturating_add(differing),
        })
    }
}

impl Stated {
    /// From floor to head; `None` when nothing lies between them.
    #[must_use]
    pub const fn range(&self) -> Option<SeqRange> {
        SeqRange::new(self.floor, self.head)
    }

    const fn standing(&self, device: DeviceId, count: u64) -> Standing {
        let Self { journal, floor, head, root, tail, .. } = self;
        Standing { journal: journal.of(device), floor: *floor, head: *head, count, root: *root, tail: *tail }
    }
}

/// The sum over the rows of a journal in `range` that are in no segment, asked of a store page by page; `None` when it says something else.
///
/// # Errors
/// The store's.
pub fn tail_sum<E>(
    mut tell: impl FnMut(&About) -> Result<Told, E>,
    range: Option<SeqRange>,
) -> Result<Option<u64>, E> {
    let (mut sum, mut next) = (0_u64, range);
    while let Some(range) = next {
        let Told::Checks(rows) = tell(&About::Checks { ranges: range.into() })? else { return Ok(None) };
        sum = rows.iter().fold(sum, |sum, (_, check)| sum.wrapping_add(check.0));
        let more = rows.last().filter(|_| rows.len() >= CHECKS_MAX);
        next = more.and_then(|(seq, _)| SeqRange::new(seq.checked_add(1)?, range.last()));
    }
    Ok(Some(sum))
}
