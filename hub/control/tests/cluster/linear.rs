//! Is a history of one register linearizable? Wing and Gong's search, with Lowe's memory of what was tried.
//!
//! An operation takes effect at one moment between its call and its return. One whose outcome is unknown may take effect at
//! any time after its call, or never. (Wing, Gong: "Testing and verifying concurrent objects", 1993; Lowe: "Testing for
//! linearizability", 2017.)

use std::collections::BTreeSet;

/// What was done to the register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Read this.
    Read(Option<u64>),
    /// Wrote this.
    Write(u64),
    /// Wrote the second if the first stood there; whether it did.
    Swap(Option<u64>, u64, bool),
}

/// An operation; times are of one clock. `returned` is `None` when its outcome is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    pub act: Act,
    pub called: u64,
    pub returned: Option<u64>,
}

impl Operation {
    /// The value afterwards, if the operation can take effect at `value`.
    fn effect(&self, value: Option<u64>) -> Option<Option<u64>> {
        let known = self.returned.is_some();
        match self.act {
            Act::Read(found) => (!known || found == value).then_some(value),
            Act::Write(written) => Some(Some(written)),
            Act::Swap(expected, written, done) => {
                let fits = expected == value;
                (!known || fits == done).then_some(if fits { Some(written) } else { value })
            }
        }
    }
}

/// Whether some order explains the history, starting from nothing.
pub fn is_linearizable(history: &[Operation]) -> bool {
    let mut operations = history.to_vec();
    operations.sort_by_key(|operation| operation.called);
    let mut tried = BTreeSet::new();
    search(&operations, &mut vec![0; operations.len().div_ceil(64)], None, &mut tried)
}

fn search(
    operations: &[Operation],
    done: &mut Vec<u64>,
    value: Option<u64>,
    tried: &mut BTreeSet<(Vec<u64>, Option<u64>)>,
) -> bool {
    let is_done = |done: &[u64], at: usize| done[at / 64] >> (at % 64) & 1 == 1;
    let open = || operations.iter().enumerate().filter(|(at, _)| !is_done(done, *at));
    // Nobody may go before an operation that returned before it was called.
    let Some(first_return) = open().filter_map(|(_, operation)| operation.returned).min() else {
        return true;
    };
    let next: Vec<usize> =
        open().filter(|(_, operation)| operation.called <= first_return).map(|(at, _)| at).collect();
    if !tried.insert((done.clone(), value)) {
        return false;
    }
    for at in next {
        let Some(after) = operations[at].effect(value) else { continue };
        done[at / 64] |= 1 << (at % 64);
        if search(operations, done, after, tried) {
            return true;
        }
        done[at / 64] &= !(1 << (at % 64));
    }
    false
}
