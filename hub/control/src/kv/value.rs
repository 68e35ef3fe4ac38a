//! A key with its value and its revisions.
//!
//! Absent: where it stands in the history.

use bytes::Bytes;

use super::limits::KEY_OVERHEAD_BYTES;

/// What stands under a key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty in the record of a deletion.
    pub value: Bytes,
    /// Revision at which the key came into being. It is never given twice: the fence of who holds a lock.
    pub create_revision: u64,
    /// Revision of its last change.
    pub mod_revision: u64,
    /// How often it was put since it came into being, from 1; 0 in the record of a deletion.
    pub version: u64,
    /// The lease that it ends with; 0: none.
    pub lease: u64,
}

impl KeyValue {
    /// What it takes of the budget.
    #[must_use]
    pub fn cost_bytes(&self) -> u64 {
        cost_bytes(&self.key, &self.value)
    }
}

/// What a key with this value takes of the budget.
pub(crate) fn cost_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + KEY_OVERHEAD_BYTES
}
