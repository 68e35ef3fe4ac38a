//! The state: keys, leases, the window of past changes, and how commands change them.
//!
//! Promise: [`Store::apply`] is deterministic, and the rows that it returns lead [`Store::load`] to the same state again.
//! Absent: where rows are kept; transactions (`txn`) and leases (`lease`) in detail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::command::Command;
use super::history::History;
use super::limits::{BUDGET_BYTES, BUDGET_BYTES_MAX};
use super::outcome::{Outcome, Refusal};
use super::row::{self, Meta, Row, Write};
use super::value::KeyValue;
use crate::codec::CodecError;

/// A key at one of its revisions, and which change of that revision it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    pub(crate) value: Arc<KeyValue>,
    pub(crate) place: u32,
}

/// A lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// How long it lives after its last renewal, in milliseconds.
    pub ttl_ms: u64,
    /// The keys that end with it.
    pub keys: BTreeSet<Bytes>,
}

/// What a store holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// The newest revision.
    pub revision: u64,
    /// Revisions up to this one are forgotten.
    pub compacted: u64,
    /// How many keys.
    pub keys: usize,
    /// How many leases.
    pub leases: usize,
    /// What keys and values take of the budget.
    pub used_bytes: u64,
    /// The budget.
    pub budget_bytes: u64,
}

/// The key-value core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Store {
    pub(crate) meta: Meta,
    pub(crate) keys: BTreeMap<Bytes, Slot>,
    pub(crate) leases: BTreeMap<u64, Lease>,
    pub(crate) history: History,
    pub(crate) used_bytes: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            meta: Meta { revision: 0, compacted: 0, next_lease: 1, budget_bytes: BUDGET_BYTES },
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            history: History::default(),
            used_bytes: 0,
        }
    }
}

impl Store {
    /// Carries out commands, in order; the outcomes, and the rows that changed.
    pub fn apply<'a>(
        &mut self,
        commands: impl IntoIterator<Item = &'a Command>,
    ) -> (Vec<Outcome>, Vec<Write>) {
        let before = self.meta;
        let mut writes = Vec::new();
        let outcomes = commands
            .into_iter()
            .map(|command| {
                let outcome = self.carry_out(command, &mut writes);
                self.trim(&mut writes);
                outcome
            })
            .collect();
        if self.meta != before {
            writes.push(row::meta_row(&self.meta));
        }
        (outcomes, writes)
    }

    fn carry_out(&mut self, command: &Command, writes: &mut Vec<Write>) -> Outcome {
        let done = command.check().and_then(|()| match command {
            Command::Txn(txn) => self.txn(txn, writes),
            Command::Grant { ttl_ms } => self.grant(*ttl_ms, writes),
            Command::Revoke { lease } => self.revoke(*lease, writes),
            Command::Compact { revision } => self.compact(*revision, writes),
            Command::Raise { revision, next_lease } => Ok(self.raise(*revision, *next_lease)),
            Command::Budget { bytes } => Ok(self.budget(*bytes)),
        });
        done.unwrap_or_else(Outcome::Refused)
    }

    /// What lies between the present revision and the new one never was: it counts as forgotten.
    fn raise(&mut self, revision: u64, next_lease: u64) -> Outcome {
        if revision > self.meta.revision {
            (self.meta.revision, self.meta.compacted) = (revision, revision);
        }
        self.meta.next_lease = self.meta.next_lease.max(next_lease);
        Outcome::Raised { revision: self.meta.revision, next_lease: self.meta.next_lease }
    }

    fn budget(&mut self, bytes: u64) -> Outcome {
        self.meta.budget_bytes = bytes.min(BUDGET_BYTES_MAX);
        Outcome::Budgeted { bytes: self.meta.budget_bytes }
    }

    fn compact(&mut self, revision: u64, writes: &mut Vec<Write>) -> Result<Outcome, Refusal> {
        if revision > self.meta.revision {
            return Err(Refusal::Future { asked: revision, newest: self.meta.revision });
        }
        while self.history.oldest().is_some_and(|oldest| oldest <= revision) {
            self.forget_oldest(writes);
        }
        self.meta.compacted = self.meta.compacted.max(revision);
        Ok(Outcome::Compacted { revision: self.meta.compacted })
    }

    /// Keeps the window of past changes within its limits; the newest revision always stays whole.
    fn trim(&mut self, writes: &mut Vec<Write>) {
        while self.history.is_too_large() && self.history.oldest().is_some_and(|old| old < self.meta.revision)
        {
            self.meta.compacted = self.history.oldest().unwrap_or_default();
            while self.history.oldest() == Some(self.meta.compacted) {
                self.forget_oldest(writes);
            }
        }
    }

    /// Forgets the oldest change. What stood before it can not be asked for any more, so that row goes.
    fn forget_oldest(&mut self, writes: &mut Vec<Write>) {
        let Some(event) = self.history.pop_oldest() else { return };
        if let Some(previous) = &event.previous {
            writes.push(row::remove_change(previous.value.mod_revision, previous.place));
        }
        if event.is_delete() {
            writes.push(row::remove_change(event.slot.value.mod_revision, event.slot.place));
        }
    }

    /// The state that rows lead to, in the order of their keys.
    ///
    /// # Errors
    /// When a row is not one that [`Store::apply`] wrote.
    pub fn load(rows: impl IntoIterator<Item = (Bytes, Bytes)>) -> Result<Self, CodecError> {
        let mut store = Self::default();
        let mut changes = Vec::new();
        for (key, value) in rows {
            match row::read(&key, value)? {
                Row::Change(event) => changes.push(event),
                Row::Lease { lease, ttl_ms } => {
                    store.leases.insert(lease, Lease { ttl_ms, keys: BTreeSet::new() });
                }
                Row::Meta(meta) => store.meta = meta,
            }
        }
        for mut event in changes {
            let key = event.slot.value.key.clone();
            event.previous = if event.is_delete() {
                store.keys.remove(&key)
            } else {
                store.keys.insert(key, event.slot.clone())
            };
            if event.slot.value.mod_revision > store.meta.compacted {
                store.history.push(event);
            }
        }
        for (key, slot) in &store.keys {
            store.used_bytes += slot.value.cost_bytes();
            if let Some(lease) = store.leases.get_mut(&slot.value.lease) {
                lease.keys.insert(key.clone());
            }
        }
        Ok(store)
    }

    /// What it holds.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            revision: self.meta.revision,
            compacted: self.meta.compacted,
            keys: self.keys.len(),
            leases: self.leases.len(),
            used_bytes: self.used_bytes,
            budget_bytes: self.meta.budget_bytes,
        }
    }

    /// The newest revision.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.meta.revision
    }

    /// A lease.
    #[must_use]
    pub fn lease(&self, lease: u64) -> Option<&Lease> {
        self.leases.get(&lease)
    }

    /// All leases, by their names.
    pub fn leases(&self) -> impl Iterator<Item = (u64, &Lease)> {
        self.leases.iter().map(|(id, lease)| (*id, lease))
    }
}
