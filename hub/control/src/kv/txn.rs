//! Transactions: compares, then operations, at one revision.
//!
//! Promise: a transaction that would be refused is refused before it changes anything. One that only reads uses no revision.

use std::sync::Arc;

use bytes::Bytes;

use super::command::{Compare, Op, Relation, Target, Txn};
use super::history::Event;
use super::limits::TXN_READ_BYTES_MAX;
use super::outcome::{OpAnswer, Outcome, Refusal};
use super::range::KeyRange;
use super::row::{self, Write};
use super::store::{Slot, Store};
use super::value::{KeyValue, cost_bytes};

/// The changes of one revision in the making.
pub(crate) struct Revision<'a> {
    pub(crate) number: u64,
    pub(crate) changes: u32,
    pub(crate) writes: &'a mut Vec<Write>,
}

impl Store {
    pub(crate) fn txn(&mut self, txn: &Txn, writes: &mut Vec<Write>) -> Result<Outcome, Refusal> {
        let held = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if held { &txn.then } else { &txn.otherwise };
        self.admit(ops)?;
        let mut revision = Revision { number: self.meta.revision + 1, changes: 0, writes };
        let reads = ops.iter().filter(|op| matches!(op, Op::Range(_) | Op::Delete { previous: true, .. }));
        let bytes_max = TXN_READ_BYTES_MAX / reads.count().max(1);
        let answers = ops.iter().map(|op| self.operate(op, &mut revision, bytes_max)).collect();
        self.close(&revision);
        Ok(Outcome::Txn { held, revision: self.meta.revision, answers })
    }

    /// A revision that changed something is the newest from now on.
    pub(crate) fn close(&mut self, revision: &Revision<'_>) {
        if revision.changes > 0 {
            self.meta.revision = revision.number;
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let nothing = KeyValue::default();
        let found = self.keys.get(&compare.key).map_or(&nothing, |slot| &slot.value);
        let order = match &compare.target {
            Target::Value(value) => found.value.cmp(value),
            Target::Version(version) => found.version.cmp(version),
            Target::Create(revision) => found.create_revision.cmp(revision),
            Target::Mod(revision) => found.mod_revision.cmp(revision),
            Target::Lease(lease) => found.lease.cmp(lease),
        };
        match compare.relation {
            Relation::Equal => order.is_eq(),
            Relation::NotEqual => order.is_ne(),
            Relation::Less => order.is_lt(),
            Relation::Greater => order.is_gt(),
        }
    }

    /// Whether everything that the operations need is there.
    fn admit(&self, ops: &[Op]) -> Result<(), Refusal> {
        let (mut added, mut replaced) = (0, 0);
        for op in ops {
            let Op::Put { key, value, lease, .. } = op else { continue };
            if *lease != 0 && !self.leases.contains_key(lease) {
                return Err(Refusal::NoLease(*lease));
            }
            added += cost_bytes(key, value);
            replaced += self.keys.get(key).map_or(0, |slot| slot.value.cost_bytes());
        }
        let (used_bytes, budget_bytes) = (self.used_bytes, self.meta.budget_bytes);
        if added > replaced && used_bytes + added - replaced > budget_bytes {
            return Err(Refusal::Full { used_bytes, budget_bytes });
        }
        Ok(())
    }

    fn operate(&mut self, op: &Op, revision: &mut Revision<'_>, bytes_max: usize) -> OpAnswer {
        match op {
            Op::Put { key, value, lease, previous } => {
                let before = self.put(key, value, *lease, revision);
                let before = before.filter(|_| *previous);
                OpAnswer::Put { previous: before.map(|slot| KeyValue::clone(&slot.value)) }
            }
            Op::Delete { range, previous } => {
                let deleted = self.delete(range, revision);
                let count = deleted.len() as u64;
                let (mut bytes, mut first) = (0, true);
                let shown = deleted.into_iter().take_while(|slot| {
                    bytes += slot.value.cost_bytes();
                    *previous && (std::mem::take(&mut first) || bytes <= bytes_max as u64)
                });
                OpAnswer::Deleted {
                    count,
                    previous: shown.map(|slot| KeyValue::clone(&slot.value)).collect(),
                }
            }
            Op::Range(query) => {
                let number = if revision.changes > 0 { revision.number } else { self.meta.revision };
                OpAnswer::Range(self.range_now(query, number, bytes_max))
            }
        }
    }

    fn put(&mut self, key: &Bytes, value: &Bytes, lease: u64, revision: &mut Revision<'_>) -> Option<Slot> {
        let before = self.keys.get(key);
        // Copied, so that a small value does not hold the memory of the whole entry that brought it.
        let key = before.map_or_else(|| Bytes::copy_from_slice(key), |slot| slot.value.key.clone());
        let value = KeyValue {
            value: Bytes::copy_from_slice(value),
            create_revision: before.map_or(revision.number, |slot| slot.value.create_revision),
            mod_revision: revision.number,
            version: before.map_or(1, |slot| slot.value.version + 1),
            lease,
            key: key.clone(),
        };
        self.used_bytes += value.cost_bytes();
        let slot = Slot { value: Arc::new(value), place: revision.changes };
        let previous = self.keys.insert(key.clone(), slot.clone());
        if let Some(before) = &previous {
            self.used_bytes = self.used_bytes.saturating_sub(before.value.cost_bytes());
            self.detach(before.value.lease, &key);
        }
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.insert(key);
        }
        self.record(Event { slot, previous: previous.clone() }, revision);
        previous
    }

    fn delete(&mut self, range: &KeyRange, revision: &mut Revision<'_>) -> Vec<Slot> {
        let keys: Vec<Bytes> = self.keys.range(range.bounds()).map(|(key, _)| key.clone()).collect();
        keys.iter().filter_map(|key| self.delete_one(key, revision)).collect()
    }

    pub(crate) fn delete_one(&mut self, key: &Bytes, revision: &mut Revision<'_>) -> Option<Slot> {
        let before = self.keys.remove(key)?;
        self.used_bytes = self.used_bytes.saturating_sub(before.value.cost_bytes());
        self.detach(before.value.lease, key);
        let gone = KeyValue { key: key.clone(), mod_revision: revision.number, ..KeyValue::default() };
        let slot = Slot { value: Arc::new(gone), place: revision.changes };
        self.record(Event { slot, previous: Some(before.clone()) }, revision);
        Some(before)
    }

    fn record(&mut self, event: Event, revision: &mut Revision<'_>) {
        revision.writes.push(row::change_row(&event));
        revision.changes += 1;
        self.history.push(event);
    }

    fn detach(&mut self, lease: u64, key: &Bytes) {
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.remove(key);
        }
    }
}
