//! Attesting: what this device states of its journals, so that its hub can say whether it has the very same.
//!
//! Stated is what was acknowledged, from the floor up to the first record that was not: what is still on its way is no difference.
//!
//! Promise: pure. What is stated of a journal was read while it did not change.
//! Absent: what the hub finds (`millrace-hub-engine`), signatures (`millrace-link`).

use millrace_merkle::{About, Told, spans};
use millrace_model::store::JournalState;
use millrace_model::{RangeSet, Seq, SeqRange};
use millrace_wire::Stated;
use millrace_wire::attesting::tail_sum;

/// What a device can say of one of its journals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// What it states.
    pub stated: Stated,
    /// Records that are here and were not acknowledged: they are on their way.
    pub waiting: RangeSet,
    /// The last record here.
    pub head: Seq,
}

/// Whether a journal is to be spoken of: what is written to now, and has, or had, anything in it. Earlier lives of the
/// directory may have branches that no hub has, and whatever counts of them is in the present one again.
#[must_use]
pub fn is_spoken_of(state: &JournalState) -> bool {
    !state.retired && state.head > 0
}

/// What is stated of a journal from `floor` on; no lower than it begins. `tell` asks the store about it, `again` for its state after that.
/// `None`: it changed meanwhile.
///
/// # Errors
/// The store's.
pub fn account<E>(
    state: &JournalState,
    floor: Seq,
    tell: impl FnMut(&About) -> Result<Told, E>,
    again: impl FnOnce() -> Result<Option<JournalState>, E>,
) -> Result<Option<Account>, E> {
    let waiting = state.present.difference(&state.acked);
    let head = waiting.first().map_or(state.head, |first| first.saturating_sub(1));
    let floor = state.floor.max(floor).max(1);
    // Nothing below the floor is spoken of, so a floor past the last acknowledged record leaves nothing.
    let floor = floor.min(head.saturating_add(1));
    let tail = if floor == state.floor && head == state.head {
        Some(state.summary.tail)
    } else {
        let sum = tail_sum(tell, SeqRange::new(floor, head))?;
        let after = again()?;
        sum.filter(|_| after.is_some_and(|after| is_steady(state, &after)))
    };
    let (present, more) = spans::encode(&state.present, floor);
    let Some(tail) = tail.filter(|_| !more) else { return Ok(None) };
    let root = state.summary.root.hash;
    let stated = Stated { journal: state.journal.into(), floor, head, root, tail, present };
    Ok(Some(Account { stated, waiting, head: state.head }))
}

fn is_steady(before: &JournalState, after: &JournalState) -> bool {
    (before.floor, before.summary.root.hash) == (after.floor, after.summary.root.hash)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use millrace_model::digest::{Root, Summary};
    use millrace_model::{DeviceId, Incarnation, JournalId, Lane, Ledger, NodeHash, RecordCheck};

    fn ranges(first: Seq, last: Seq) -> RangeSet {
        SeqRange::new(first, last).into_iter().collect()
    }

    /// Nothing is sealed, and the check of each row is its number.
    fn journal(floor: Seq, head: Seq, acked: Seq) -> JournalState {
        let device = DeviceId::from_bytes([1; 16]);
        JournalState {
            journal: JournalId { device, incarnation: Incarnation::new(1), lane: Lane::Normal },
            retired: false,
            restored: false,
            floor,
            head,
            head_check: None,
            present: ranges(floor, head),
            acked: ranges(1, acked),
            declared: RangeSet::new(),
            tail_first: 1,
            next_ordinal: 0,
            first_ordinal: 0,
            summary: Summary { root: Root::default(), tail: (floor..=head).sum() },
            ledger: Ledger::default(),
            stored_bytes: 0,
        }
    }

    fn told(state: &JournalState, floor: Seq, after: JournalState) -> Option<Account> {
        let tell = |about: &About| {
            let About::Checks { ranges } = about else { return Ok(Told::Unreadable) };
            let here = state.present.intersection(ranges);
            let rows = here.iter().flat_map(|range| range.first()..=range.last());
            Ok::<_, Infallible>(Told::Checks(rows.map(|seq| (seq, RecordCheck(seq))).collect()))
        };
        let Ok(account) = account(state, floor, tell, || Ok(Some(after)));
        account
    }

    #[test]
    fn what_is_on_its_way_is_not_stated_and_said_to_be_so() {
        let state = journal(5, 20, 15);
        let found = told(&state, 0, state.clone()).unwrap();
        assert_eq!((found.stated.floor, found.stated.head, found.head), (5, 15, 20));
        assert_eq!((found.stated.tail, found.waiting.count()), ((5..=15).sum(), 5));
        let all = told(&journal(5, 20, 20), 0, state).unwrap();
        assert_eq!((all.stated.head, all.stated.tail, all.waiting.count()), (20, (5..=20).sum(), 0));
    }

    #[test]
    fn a_hub_that_begins_later_is_told_from_there() {
        let state = journal(5, 20, 20);
        let found = told(&state, 9, state.clone()).unwrap().stated;
        assert_eq!((found.floor, found.tail), (9, (9..=20).sum()));
        let nothing = told(&state, 90, state.clone()).unwrap().stated;
        assert_eq!((nothing.floor, nothing.head, nothing.tail), (21, 20, 0));
        let none_acked = journal(1, 20, 0);
        let nothing = told(&none_acked, 0, none_acked.clone()).unwrap().stated;
        assert_eq!((nothing.floor, nothing.head), (1, 0));
    }

    #[test]
    fn a_journal_that_was_sealed_between_two_looks_is_looked_at_again() {
        let state = journal(5, 20, 15);
        let mut after = state.clone();
        after.summary.root.hash = Some(NodeHash([1; 16]));
        assert_eq!(told(&state, 0, after), None);
    }

    #[test]
    fn earlier_lives_and_empty_journals_are_not_spoken_of() {
        let state = journal(1, 5, 5);
        assert!(is_spoken_of(&state));
        assert!(!is_spoken_of(&JournalState { retired: true, ..state.clone() }));
        assert!(!is_spoken_of(&JournalState { head: 0, ..state }));
    }
}
