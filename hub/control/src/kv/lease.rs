//! Leases: made, and ended together with their keys.
//!
//! When a lease is over is not decided here: the leader counts the time and then asks with a command like everybody else
//! (`control/lease_clock.rs`), so that all replicas end it at the same place in the log.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::limits::{LEASES_MAX, TTL_MS_MAX, TTL_MS_MIN};
use super::outcome::{Outcome, Refusal};
use super::row::{self, Write};
use super::store::{Lease, Store};
use super::txn::Revision;

impl Store {
    pub(crate) fn grant(&mut self, ttl_ms: u64, writes: &mut Vec<Write>) -> Result<Outcome, Refusal> {
        if self.leases.len() >= LEASES_MAX {
            return Err(Refusal::TooManyLeases(self.leases.len()));
        }
        let lease = self.meta.next_lease;
        let ttl_ms = ttl_ms.clamp(TTL_MS_MIN, TTL_MS_MAX);
        self.meta.next_lease += 1;
        self.leases.insert(lease, Lease { ttl_ms, keys: BTreeSet::new() });
        writes.push(row::lease_row(lease, ttl_ms));
        Ok(Outcome::Granted { lease, ttl_ms })
    }

    pub(crate) fn revoke(&mut self, lease: u64, writes: &mut Vec<Write>) -> Result<Outcome, Refusal> {
        let ended = self.leases.remove(&lease).ok_or(Refusal::NoLease(lease))?;
        writes.push(row::remove_lease(lease));
        let mut revision = Revision { number: self.meta.revision + 1, changes: 0, writes };
        let keys: Vec<Bytes> = ended.keys.into_iter().collect();
        for key in &keys {
            self.delete_one(key, &mut revision);
        }
        self.close(&revision);
        Ok(Outcome::Revoked { revision: self.meta.revision, deleted: keys.len() as u64 })
    }
}
