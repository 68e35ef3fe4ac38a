//! Locks and leader elections, on leases, with fences.
//!
//! Whoever wants a lock puts a key of its own under the lock's name, bound to its lease. The key with the smallest create
//! revision holds; the others wait in the order in which they came, each for the one before it. The create revision is the
//! **fence**: it only rises from holder to holder and is never given twice. A holder may lose the lock without knowing (it was
//! paused, its lease ended), so whatever the lock protects must refuse a fence below the highest that it has seen. An election
//! is a lock whose key has a value: what the leader wants to be known.
//!
//! Promise: at most one key holds at any revision; acquiring again with the same lease finds the same place, so that a lost
//! answer is asked for again. Absent: renewing the lease ([`Control::renew`]); a lock that ends without being asked needs that.

use std::sync::Arc;

use bytes::Bytes;

use crate::control::{Control, ControlError, Level};
use crate::kv::{
    Command, Compare, KeyRange, KeyValue, Op, Outcome, RangeQuery, Relation, Store, Target, Txn,
};

/// Where locks stand among the keys.
const PREFIX: &str = "lock/";

/// A place in the row for a lock; held when it is first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lock {
    /// The key that stands for it.
    pub key: Bytes,
    /// The lease that it ends with.
    pub lease: u64,
    /// The fence: pass it on with everything that the lock protects.
    pub fence: u64,
}

/// Who holds a lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Its fence.
    pub fence: u64,
    /// Its lease.
    pub lease: u64,
    /// What it wants to be known.
    pub value: Bytes,
}

impl From<KeyValue> for Holder {
    fn from(found: KeyValue) -> Self {
        Self { fence: found.create_revision, lease: found.lease, value: found.value }
    }
}

/// All keys of the lock `name`. The name's length stands before it, so that no name is the beginning of another.
fn places(name: &str) -> String {
    format!("{PREFIX}{}/{name}/", name.len())
}

/// Who holds: the oldest place of a row. Keys stand in the order of leases, which is not that of coming, so all are looked at,
/// however long the row is.
fn first<'a>(store: &'a Store, row: &KeyRange) -> Option<&'a Arc<KeyValue>> {
    store.scan(row).min_by_key(|place| place.create_revision)
}

impl Control {
    /// Takes a place in the row for the lock `name` and does not wait. Asked again with the same lease, it finds the same place.
    ///
    /// # Errors
    /// [`ControlError`]; after [`ControlError::Unknown`] ask again.
    pub async fn queue_for_lock(&self, name: &str, lease: u64, value: Bytes) -> Result<Lock, ControlError> {
        let key = Bytes::from(format!("{}{lease:016x}", places(name)));
        let put = Op::Put { key: key.clone(), value, lease, previous: false };
        let found = Op::Range(RangeQuery { range: KeyRange::one(key.clone()), limit: 1, keys_only: true });
        let txn = Txn {
            compares: vec![Compare::absent(key.clone())],
            then: vec![put, found.clone()],
            otherwise: vec![found],
        };
        let outcome = self.propose(&Command::Txn(txn)).await?;
        let fence = match outcome {
            Outcome::Txn { answers, .. } => answers.into_iter().find_map(|answer| match answer {
                crate::kv::OpAnswer::Range(range) => range.entries.first().map(|found| found.create_revision),
                _ => None,
            }),
            _ => None,
        };
        let fence =
            fence.ok_or_else(|| ControlError::Unknown("the answer does not fit the question".to_owned()))?;
        Ok(Lock { key, lease, fence })
    }

    /// Takes the lock `name` and waits until it is held. Dropped while it waits, the place stays until the lease ends or
    /// [`Control::unlock`] gives it up.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::Refused`] when the lease ended while waiting.
    pub async fn lock(&self, name: &str, lease: u64, value: Bytes) -> Result<Lock, ControlError> {
        let lock = self.queue_for_lock(name, lease, value).await?;
        loop {
            let row = KeyRange::prefix(places(name));
            let before = |store: &Store| {
                let before = store.scan(&row).filter(|place| place.create_revision < lock.fence);
                before.max_by_key(|place| place.create_revision).map(|place| place.key.clone())
            };
            let read = self.read(Level::Local, before).await?;
            let Some(before) = read.value else {
                // A local look may be late; what it says is true only when the cluster says so too.
                if self.holds(&lock).await? {
                    return Ok(lock);
                }
                if self.get(&lock.key, Level::Linearizable).await?.value.is_none() {
                    return Err(crate::kv::Refusal::NoLease(lease).into());
                }
                continue;
            };
            let mut gone = self.watch(KeyRange::one(before), read.revision + 1);
            // However it ends, the row is looked at again.
            let _ = gone.next().await;
        }
    }

    /// Whether a lock is held by this place, linearizably. Held a moment ago is all that can ever be known: use the fence.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn holds(&self, lock: &Lock) -> Result<bool, ControlError> {
        let end = lock.key.len().saturating_sub(16);
        let row = KeyRange::prefix(lock.key.slice(..end));
        let is_first = |store: &Store| {
            let first = first(store, &row);
            first.is_some_and(|first| first.key == lock.key && first.create_revision == lock.fence)
        };
        Ok(self.read(Level::Linearizable, is_first).await?.value)
    }

    /// Gives a place up; `false` when it was gone already.
    ///
    /// # Errors
    /// [`ControlError`]; asking again is harmless.
    pub async fn unlock(&self, lock: &Lock) -> Result<bool, ControlError> {
        let own =
            Compare { key: lock.key.clone(), relation: Relation::Equal, target: Target::Create(lock.fence) };
        let then = vec![Op::delete(KeyRange::one(lock.key.clone()))];
        let outcome =
            self.propose(&Command::Txn(Txn { compares: vec![own], then, otherwise: vec![] })).await?;
        Ok(matches!(outcome, Outcome::Txn { held: true, .. }))
    }

    /// Gives up the place that `lease` has in the row for the lock `name`; `false` when it has none.
    ///
    /// # Errors
    /// [`ControlError`]; asking again is harmless.
    pub async fn give_up(&self, name: &str, lease: u64) -> Result<bool, ControlError> {
        let key = Bytes::from(format!("{}{lease:016x}", places(name)));
        let there = Compare { key: key.clone(), relation: Relation::NotEqual, target: Target::Create(0) };
        let then = vec![Op::delete(KeyRange::one(key))];
        let txn = Txn { compares: vec![there], then, otherwise: vec![] };
        Ok(matches!(self.propose(&Command::Txn(txn)).await?, Outcome::Txn { held: true, .. }))
    }

    /// Makes a new value known, while the place is still there; `false` when it is gone. The fence stays.
    ///
    /// # Errors
    /// [`ControlError`]; asking again is harmless.
    pub async fn proclaim(&self, lock: &Lock, value: Bytes) -> Result<bool, ControlError> {
        let own =
            Compare { key: lock.key.clone(), relation: Relation::Equal, target: Target::Create(lock.fence) };
        let put = Op::Put { key: lock.key.clone(), value, lease: lock.lease, previous: false };
        let txn = Txn { compares: vec![own], then: vec![put], otherwise: vec![] };
        Ok(matches!(self.propose(&Command::Txn(txn)).await?, Outcome::Txn { held: true, .. }))
    }

    /// Who holds the lock `name`.
    ///
    /// # Errors
    /// As [`Control::read`].
    pub async fn holder(&self, name: &str, level: Level) -> Result<Option<Holder>, ControlError> {
        let row = KeyRange::prefix(places(name));
        let first = |store: &Store| first(store, &row).map(|first| KeyValue::clone(first));
        Ok(self.read(level, first).await?.value.map(Holder::from))
    }
}
