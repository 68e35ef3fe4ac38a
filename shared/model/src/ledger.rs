//! The count that proves that nothing was lost: `ingested = acked + pending + evicted + rejected`.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// What became of every record that ever arrived at a journal, in records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Arrived: everything that follows adds up to this.
    pub ingested: u64,
    /// Known to be durable at the hubs, kept here or trimmed.
    pub acked: u64,
    /// Stored here and not yet known to be durable at the hubs.
    pub pending: u64,
    /// Stored here once and given up to make room; declared as gaps.
    pub evicted: u64,
    /// Never stored: refused by a limit or a policy; declared as gaps.
    pub rejected: u64,
}

impl Ledger {
    /// Whether it adds up.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.ingested as u128
            == self.acked as u128 + self.pending as u128 + self.evicted as u128 + self.rejected as u128
    }
}

impl Add for Ledger {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            ingested: self.ingested.saturating_add(other.ingested),
            acked: self.acked.saturating_add(other.acked),
            pending: self.pending.saturating_add(other.pending),
            evicted: self.evicted.saturating_add(other.evicted),
            rejected: self.rejected.saturating_add(other.rejected),
        }
    }
}

impl AddAssign for Ledger {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_balances_only_when_everything_is_accounted_for() {
        let ledger = Ledger { ingested: 10, acked: 4, pending: 3, evicted: 2, rejected: 1 };
        assert!(ledger.balances());
        assert!((ledger + ledger).balances());
        assert!(!Ledger { pending: 2, ..ledger }.balances());
    }
}
