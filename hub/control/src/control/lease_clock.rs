//! When leases are over: counted by the leader, in memory.
//!
//! Promise: never early. A leader counts from when it first saw a lease, so a new leader gives every lease its whole time
//! again; a renewal counts from before it was confirmed that this node still leads. That a lease is over is a command like any
//! other, and once it is proposed the lease cannot be renewed: as long as this node leads, it may still be decided.
//! Absent: ending leases; the log decides that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::kv::Store;

/// The clock of a node, locked for whoever has the store at hand. Always in this order: a renewal that had the store and waited
/// for the clock, and a beat that had the clock and waited for the store, would wait for ever when a command is to be applied
/// between them.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<LeaseClock>);

impl Leases {
    /// The clock, together with the store that it counts for.
    pub(crate) fn of(&self, _: &Store) -> MutexGuard<'_, LeaseClock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deadlines, while this node leads.
#[derive(Debug, Default)]
pub(crate) struct LeaseClock {
    term: Option<u64>,
    deadlines: BTreeMap<u64, Instant>,
    ending: BTreeSet<u64>,
    /// The next lease's name and how many there are, when the store was last looked through: leases are many, changes few.
    seen: (u64, usize),
}

impl LeaseClock {
    /// Takes in what the store holds. Another term begins anew; `None`: this node does not lead.
    pub(crate) fn observe(&mut self, term: Option<u64>, store: &Store, now: Instant) {
        if term != self.term {
            *self = Self { term, ..Self::default() };
        }
        if term.is_none() {
            return;
        }
        let found = (store.meta.next_lease, store.leases.len());
        if std::mem::replace(&mut self.seen, found) == found {
            return;
        }
        self.deadlines.retain(|lease, _| store.lease(*lease).is_some());
        self.ending.retain(|lease| store.lease(*lease).is_some());
        for (id, lease) in store.leases() {
            self.deadlines.entry(id).or_insert_with(|| now + Duration::from_millis(lease.ttl_ms));
        }
    }

    /// Renews a lease as of `now`; `false` when its end is already proposed.
    pub(crate) fn renew(&mut self, lease: u64, ttl_ms: u64, now: Instant) -> bool {
        if self.ending.contains(&lease) {
            return false;
        }
        let deadline = now + Duration::from_millis(ttl_ms);
        let noted = self.deadlines.entry(lease).or_insert(deadline);
        *noted = deadline.max(*noted);
        true
    }

    /// Leases that are over and whose end is not proposed yet, at most so many; from now on it is.
    pub(crate) fn take_due(&mut self, now: Instant, count_max: usize) -> Vec<u64> {
        let over = self.deadlines.iter().filter(|(_, deadline)| **deadline <= now).map(|(lease, _)| *lease);
        let due: Vec<u64> = over.filter(|lease| !self.ending.contains(lease)).take(count_max).collect();
        self.ending.extend(&due);
        due
    }

    /// How long a lease has left, as this leader counts.
    pub(crate) fn left(&self, lease: u64, now: Instant) -> Option<Duration> {
        self.deadlines.get(&lease).map(|deadline| deadline.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Command;

    #[tokio::test(start_paused = true)]
    async fn a_new_leader_gives_every_lease_its_whole_time_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut store = Store::default();
        store.apply(&[Command::Grant { ttl_ms: 10_000 }]);
        let mut clock = LeaseClock::default();
        clock.observe(Some(1), &store, at(0));
        assert!(clock.renew(1, 10_000, at(5)));
        assert_eq!(
            (clock.take_due(at(14), 9), clock.left(1, at(14))),
            (vec![], Some(Duration::from_secs(1)))
        );
        clock.observe(None, &store, at(14));
        assert!(clock.take_due(at(99), 9).is_empty());
        clock.observe(Some(3), &store, at(20));
        assert!(clock.take_due(at(29), 9).is_empty());
        assert!(clock.take_due(at(30), 0).is_empty());
        assert_eq!((clock.take_due(at(30), 9), clock.take_due(at(31), 9)), (vec![1], vec![]));
        assert!(!clock.renew(1, 10_000, at(31)), "its end is on its way");
        store.apply(&[Command::Revoke { lease: 1 }]);
        clock.observe(Some(3), &store, at(33));
        assert_eq!(clock.left(1, at(33)), None);
    }
}
