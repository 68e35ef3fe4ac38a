//! What all clients did to all registers, written down while they do it.
//!
//! Promise: an operation counts as possible from its call on, also when its client dies in the middle; as done only when it
//! was acknowledged; and as never done only when somebody who knows said so.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::operation::{Act, Operation};
use super::shrink::Counterexample;

/// What is known so far. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct History {
    registers: Arc<Mutex<Registers>>,
}

type Registers = BTreeMap<u64, BTreeMap<u64, Operation>>;

/// An operation under way. Dropped, its outcome stays unknown.
#[derive(Debug)]
#[must_use]
pub struct Call {
    history: History,
    key: u64,
    number: u64,
}

/// What the checker says of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Operations that were acknowledged.
    pub acknowledged: usize,
    /// Operations whose outcome is unknown.
    pub unknown: usize,
    /// One for each register that cannot be explained.
    pub counterexamples: Vec<Counterexample>,
}

impl History {
    /// A history in which nothing has happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn registers(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that `client` asks for `act` now. What it will read or find is not known yet and does not matter.
    pub fn call(&self, client: u64, key: u64, act: Act, called: u64) -> Call {
        let mut registers = self.registers();
        let operations = registers.entry(key).or_default();
        let number = operations.last_key_value().map_or(0, |(last, _)| last + 1);
        operations.insert(number, Operation { client, act, called, returned: None });
        Call { history: self.clone(), key, number }
    }

    /// How many operations were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        let registers = self.registers();
        registers.values().flat_map(BTreeMap::values).filter(|operation| operation.returned.is_some()).count()
    }

    /// Looks for an explanation of every register.
    #[must_use]
    pub fn judge(&self) -> Verdict {
        let registers = self.registers().clone();
        let (mut acknowledged, mut unknown) = (0, 0);
        let mut counterexamples = Vec::new();
        for (key, operations) in registers {
            // A read that nobody got to see explains nothing.
            let told = |operation: &Operation| {
                operation.returned.is_some() || !matches!(operation.act, Act::Read(_))
            };
            let operations: Vec<Operation> = operations.into_values().filter(told).collect();
            let known = operations.iter().filter(|operation| operation.returned.is_some()).count();
            acknowledged += known;
            unknown += operations.len() - known;
            counterexamples.extend(Counterexample::of(key, &operations));
        }
        Verdict { acknowledged, unknown, counterexamples }
    }
}

impl Call {
    /// It was acknowledged at `returned`, as `act`.
    pub fn done(self, act: Act, returned: u64) {
        if let Some(operation) =
            self.history.registers().get_mut(&self.key).and_then(|all| all.get_mut(&self.number))
        {
            (operation.act, operation.returned) = (act, Some(returned));
        }
    }

    /// It certainly had no effect.
    pub fn void(self) {
        if let Some(operations) = self.history.registers().get_mut(&self.key) {
            operations.remove(&self.number);
        }
    }
}

impl Verdict {
    /// Whether every register can be explained.
    #[must_use]
    pub const fn is_linearizable(&self) -> bool {
        self.counterexamples.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, unknown, counterexamples } = self;
        let word = if counterexamples.is_empty() { "linearizable" } else { "NOT LINEARIZABLE" };
        writeln!(f, "{word}: {acknowledged} operations acknowledged, {unknown} unknown")?;
        counterexamples.iter().try_for_each(|counterexample| write!(f, "{counterexample}"))
    }
}
