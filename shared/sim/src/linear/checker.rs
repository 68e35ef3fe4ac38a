//! Is a history of one register linearizable? Wing and Gong's search, with Lowe's memory of what was tried.
//!
//! An operation takes effect at one moment between its call and its return. One whose outcome is unknown may take effect at
//! any time after its call, or never. (Wing, Gong: "Testing and verifying concurrent objects", 1993; Lowe: "Testing for
//! linearizability", 2017.)

#![expect(clippy::indexing_slicing, reason = "positions come from the history that they are looked up in")]

use std::collections::BTreeSet;

use super::operation::Operation;

/// Whether some order explains the history, starting from nothing.
#[must_use]
pub fn is_linearizable(history: &[Operation]) -> bool {
    let mut operations = history.to_vec();
    operations.sort_by_key(|operation| operation.called);
    let mut search = Search::new(operations);
    search.run()
}

/// What has taken effect, in the order of the calls.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Done {
    /// Everything before this one.
    prefix: usize,
    /// What stands behind it, as bits; the word of `prefix` is the first one.
    beyond: Vec<u64>,
}

/// One choice on the way, and what is left to choose instead.
struct Step {
    chosen: usize,
    before: Option<u64>,
    rest: Vec<usize>,
}

struct Search {
    operations: Vec<Operation>,
    done: Vec<bool>,
    /// Everything before this one is done.
    prefix: usize,
    value: Option<u64>,
    tried: BTreeSet<(Done, Option<u64>)>,
}

impl Search {
    fn new(operations: Vec<Operation>) -> Self {
        let done = vec![false; operations.len()];
        Self { operations, done, prefix: 0, value: None, tried: BTreeSet::new() }
    }

    fn run(&mut self) -> bool {
        let mut way: Vec<Step> = Vec::new();
        let Some(mut candidates) = self.candidates() else { return true };
        loop {
            let next = candidates.iter().position(|at| self.after(*at).is_some());
            if let Some(position) = next {
                let chosen = candidates[position];
                let rest = candidates.split_off(position + 1);
                way.push(Step { chosen, before: self.value, rest });
                self.value = self.after(chosen).unwrap_or_default();
                self.done[chosen] = true;
                self.advance();
                match self.candidates() {
                    None => return true,
                    Some(more) => candidates = if self.remember() { more } else { Vec::new() },
                }
            } else {
                let Some(step) = way.pop() else { return false };
                self.done[step.chosen] = false;
                self.prefix = self.prefix.min(step.chosen);
                self.value = step.before;
                candidates = step.rest;
            }
        }
    }

    fn after(&self, at: usize) -> Option<Option<u64>> {
        self.operations[at].effect(self.value)
    }

    fn advance(&mut self) {
        while self.done.get(self.prefix) == Some(&true) {
            self.prefix += 1;
        }
    }

    /// Who may be next: nobody may go before an operation that returned before it was called. `None` when everything that
    /// was acknowledged is explained.
    fn candidates(&self) -> Option<Vec<usize>> {
        let mut first_return: Option<u64> = None;
        let mut open = Vec::new();
        for at in self.prefix..self.operations.len() {
            let operation = &self.operations[at];
            // They stand in the order of their calls: the others were called later still.
            if first_return.is_some_and(|first| operation.called > first) {
                break;
            }
            if self.done[at] {
                continue;
            }
            open.push(at);
            first_return = match (first_return, operation.returned) {
                (Some(first), Some(returned)) => Some(first.min(returned)),
                (first, returned) => first.or(returned),
            };
        }
        let first_return = first_return?;
        open.retain(|at| self.operations[*at].called <= first_return);
        Some(open)
    }

    /// Whether this place was not reached before.
    fn remember(&mut self) -> bool {
        let mut beyond = Vec::new();
        for (bit, _) in self.done[self.prefix..].iter().enumerate().filter(|(_, done)| **done) {
            beyond.resize(bit / 64 + 1, 0);
            beyond[bit / 64] |= 1 << (bit % 64);
        }
        self.tried.insert((Done { prefix: self.prefix, beyond }, self.value))
    }
}
