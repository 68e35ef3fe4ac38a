//! What can be asked of the core.
//!
//! A command is at most applied once: whoever loses the answer does not know whether it was. The core keeps no list of
//! requests (its memory would grow with clients that never come back, or forget too early); instead every change can be
//! guarded by compares, so that asking again is harmless, and reading tells what happened. `locks` is built that way.
//!
//! Promise: [`Command::check`] says what a command can be refused for without looking at the state.
//! Absent: how it is carried out.

use bytes::Bytes;

use super::limits::{KEY_BYTES_MAX, OPS_MAX, VALUE_BYTES_MAX};
use super::outcome::Refusal;
use super::range::KeyRange;

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Reads and changes keys, at one revision.
    Txn(Txn),
    /// Makes a lease; the answer names it.
    Grant {
        /// How long it lives after its last renewal, in milliseconds.
        ttl_ms: u64,
    },
    /// Ends a lease and deletes its keys: asked by its holder, or by the leader when its time is over.
    Revoke {
        /// Which.
        lease: u64,
    },
    /// Forgets changes up to a revision.
    Compact {
        /// Up to and including this one.
        revision: u64,
    },
    /// Lets revisions and leases go on above those of a cluster that this one takes over from: fences only rise.
    Raise {
        /// The next change gets a higher revision. Lower than the present one: nothing changes.
        revision: u64,
        /// The next lease gets this name or a higher one.
        next_lease: u64,
    },
    /// Sets what all keys and values together may take.
    Budget {
        /// In bytes.
        bytes: u64,
    },
}

/// Compares, and what is done when all hold, or else.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Txn {
    /// All must hold; none always do.
    pub compares: Vec<Compare>,
    /// Done when they hold, in order.
    pub then: Vec<Op>,
    /// Done when one does not.
    pub otherwise: Vec<Op>,
}

/// One condition. A key that does not exist has version and revisions 0 and an empty value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    /// Whose.
    pub key: Bytes,
    /// How it stands to the target.
    pub relation: Relation,
    /// What it is compared with.
    pub target: Target,
}

/// How two things stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// The key's is smaller.
    Less,
    /// The key's is greater.
    Greater,
}

/// What of a key is compared, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// Its value.
    Value(Bytes),
    /// Its version.
    Version(u64),
    /// Its create revision.
    Create(u64),
    /// Its mod revision.
    Mod(u64),
    /// Its lease.
    Lease(u64),
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Sets a key.
    Put {
        /// Which.
        key: Bytes,
        /// To what.
        value: Bytes,
        /// The lease that it ends with; 0: none.
        lease: u64,
        /// Whether the answer holds what stood there before.
        previous: bool,
    },
    /// Deletes keys.
    Delete {
        /// Which.
        range: KeyRange,
        /// Whether the answer holds what stood there before.
        previous: bool,
    },
    /// Reads keys.
    Range(RangeQuery),
}

/// Which keys are read, and how much of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeQuery {
    /// Which.
    pub range: KeyRange,
    /// At most so many; 0: as many as an answer may hold.
    pub limit: usize,
    /// Without the values.
    pub keys_only: bool,
}

impl RangeQuery {
    /// Everything in `range`.
    #[must_use]
    pub const fn of(range: KeyRange) -> Self {
        Self { range, limit: 0, keys_only: false }
    }
}

impl Compare {
    /// Holds while `key` does not exist.
    #[must_use]
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), relation: Relation::Equal, target: Target::Create(0) }
    }

    /// Holds while `key` was not changed since `revision`.
    #[must_use]
    pub fn unchanged(key: impl Into<Bytes>, revision: u64) -> Self {
        Self { key: key.into(), relation: Relation::Equal, target: Target::Mod(revision) }
    }
}

impl Op {
    /// Sets `key` without a lease.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: 0, previous: false }
    }

    /// Deletes `range`.
    #[must_use]
    pub const fn delete(range: KeyRange) -> Self {
        Self::Delete { range, previous: false }
    }
}

impl Command {
    /// Sets one key.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Txn(Txn { then: vec![Op::put(key, value)], ..Txn::default() })
    }

    /// Deletes keys.
    #[must_use]
    pub fn delete(range: KeyRange) -> Self {
        Self::Txn(Txn { then: vec![Op::delete(range)], ..Txn::default() })
    }

    /// Whether it can be carried out at all.
    ///
    /// # Errors
    /// [`Refusal::Invalid`], which says what to change.
    pub fn check(&self) -> Result<(), Refusal> {
        let Self::Txn(txn) = self else { return Ok(()) };
        let invalid = |what: &str| Err(Refusal::Invalid(what.to_owned()));
        if [txn.compares.len(), txn.then.len(), txn.otherwise.len()].iter().any(|count| *count > OPS_MAX) {
            return invalid("a transaction has at most 128 compares and 128 operations on each side");
        }
        for compare in &txn.compares {
            check_key(&compare.key)?;
            if matches!(&compare.target, Target::Value(value) if value.len() > VALUE_BYTES_MAX) {
                return invalid("a value has at most 1 MiB");
            }
        }
        for ops in [&txn.then, &txn.otherwise] {
            for op in ops {
                check_op(op)?;
            }
            if written_twice(ops) {
                return invalid("a transaction writes each key at most once: split it");
            }
        }
        Ok(())
    }
}

fn check_op(op: &Op) -> Result<(), Refusal> {
    let range = match op {
        Op::Put { key, value, .. } => {
            if value.len() > VALUE_BYTES_MAX {
                return Err(Refusal::Invalid("a value has at most 1 MiB".into()));
            }
            return check_key(key);
        }
        Op::Delete { range, .. } | Op::Range(RangeQuery { range, .. }) => range,
    };
    match range {
        KeyRange::One(key) => check_key(key),
        KeyRange::Between { start, end } => {
            let longest = start.len().max(end.as_ref().map_or(0, Bytes::len));
            if longest > KEY_BYTES_MAX {
                Err(Refusal::Invalid("a key has at most 4 KiB".into()))
            } else {
                Ok(())
            }
        }
    }
}

fn check_key(key: &[u8]) -> Result<(), Refusal> {
    match key.len() {
        0 => Err(Refusal::Invalid("a key has at least one byte".into())),
        length if length > KEY_BYTES_MAX => Err(Refusal::Invalid("a key has at most 4 KiB".into())),
        _ => Ok(()),
    }
}

/// Whether two of the operations could write the same key: then a revision would hold it twice.
fn written_twice(ops: &[Op]) -> bool {
    let written: Vec<KeyRange> = ops
        .iter()
        .filter_map(|op| match op {
            Op::Put { key, .. } => Some(KeyRange::One(key.clone())),
            Op::Delete { range, .. } => Some(range.clone()),
            Op::Range(_) => None,
        })
        .collect();
    written
        .iter()
        .enumerate()
        .any(|(at, range)| written.iter().skip(at + 1).any(|other| range.overlaps(other)))
}
