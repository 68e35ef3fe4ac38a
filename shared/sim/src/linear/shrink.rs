//! The smallest part of a history that no order explains.
//!
//! Promise: if the part that is left cannot be explained, the whole cannot be explained either: only what does not change
//! the answer of anything that stays is left out.

use std::collections::BTreeSet;
use std::fmt;

use super::checker::is_linearizable;
use super::operation::{Act, Operation};

/// Searches at most: a long history is shown longer than it needs to be rather than searched for minutes.
const SEARCHES_MAX: usize = 4_000;

/// Operations on one register that cannot be explained together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counterexample {
    /// Which register.
    pub key: u64,
    /// In the order of their calls.
    pub operations: Vec<Operation>,
    /// Of how many this is what matters.
    pub of: usize,
}

impl Counterexample {
    /// The part of `history` that matters; `None` when it can be explained.
    pub(crate) fn of(key: u64, history: &[Operation]) -> Option<Self> {
        if is_linearizable(history) {
            return None;
        }
        let mut operations = beginning(history);
        operations.sort_by_key(|operation| operation.called);
        let mut searches = 0;
        loop {
            let before = operations.len();
            let mut at = 0;
            while at < operations.len() && searches < SEARCHES_MAX {
                let fewer = without(&operations, at);
                searches += 1;
                match fewer {
                    Some(fewer) if !is_linearizable(&fewer) => operations = fewer,
                    _ => at += 1,
                }
            }
            if operations.len() == before || searches >= SEARCHES_MAX {
                return Some(Self { key, operations, of: history.len() });
            }
        }
    }
}

/// The history up to the first return with which it cannot be explained any more. What returned later is not known yet.
fn beginning(history: &[Operation]) -> Vec<Operation> {
    let mut returns: Vec<u64> = history.iter().filter_map(|operation| operation.returned).collect();
    returns.sort_unstable();
    let until = |end: u64| -> Vec<Operation> {
        let begun = history.iter().filter(|operation| operation.called <= end);
        let known = begun.map(|operation| Operation {
            returned: operation.returned.filter(|returned| *returned <= end),
            ..*operation
        });
        known
            .filter(|operation| !(matches!(operation.act, Act::Read(_)) && operation.returned.is_none()))
            .collect()
    };
    let first = returns.partition_point(|end| is_linearizable(&until(*end)));
    returns.get(first).map_or_else(|| history.to_vec(), |end| until(*end))
}

/// What is left without the one at `at` and everything that saw what it wrote; `None` when what is left could be answered
/// otherwise then.
fn without(operations: &[Operation], at: usize) -> Option<Vec<Operation>> {
    let operation = operations.get(at)?;
    let mut gone: BTreeSet<u64> =
        operation.written().filter(|_| !operation.only_looks()).into_iter().collect();
    let mut left: Vec<Operation> = operations.to_vec();
    left.remove(at);
    loop {
        let before = left.len();
        left.retain(|other| {
            let stays = !other.seen().is_some_and(|seen| gone.contains(&seen));
            if !stays && !other.only_looks() {
                gone.extend(other.written());
            }
            stays
        });
        if left.len() == before {
            break;
        }
    }
    // What was not found may be missing because of what is gone.
    let missed = |other: &Operation| matches!(other.act, Act::Swap(..)) && other.only_looks();
    (gone.is_empty() || !left.iter().any(missed)).then_some(left)
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, of) = (self.operations.len(), self.of);
        writeln!(f, "register {}: no order explains these {count} of {of} operations:", self.key)?;
        self.operations.iter().try_for_each(|operation| writeln!(f, "  {operation}"))
    }
}
