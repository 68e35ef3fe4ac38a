//! What is answered to a command.
//!
//! Promise: a refused command changed nothing, at any replica.

use super::value::KeyValue;

/// What became of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A transaction was carried out.
    Txn {
        /// Whether its compares held.
        held: bool,
        /// The revision after it.
        revision: u64,
        /// One answer for each operation that was done.
        answers: Vec<OpAnswer>,
    },
    /// A lease was made.
    Granted {
        /// Its name; never given twice.
        lease: u64,
        /// How long it lives, in milliseconds.
        ttl_ms: u64,
    },
    /// A lease was ended.
    Revoked {
        /// The revision after it.
        revision: u64,
        /// Keys that ended with it.
        deleted: u64,
    },
    /// Changes were forgotten.
    Compacted {
        /// Up to and including this revision.
        revision: u64,
    },
    /// Revisions and leases go on above these.
    Raised {
        /// The newest revision.
        revision: u64,
        /// The name of the next lease.
        next_lease: u64,
    },
    /// The budget was set.
    Budgeted {
        /// In bytes.
        bytes: u64,
    },
    /// Nothing was done.
    Refused(Refusal),
}

/// The answer to one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpAnswer {
    /// The key was set.
    Put {
        /// What stood there, when that was asked and there was something.
        previous: Option<KeyValue>,
    },
    /// The keys were deleted.
    Deleted {
        /// How many.
        count: u64,
        /// What stood there, when that was asked; as much of it as an answer may hold.
        previous: Vec<KeyValue>,
    },
    /// What was read.
    Range(RangeAnswer),
}

/// Keys that were read, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeAnswer {
    /// The keys.
    pub entries: Vec<KeyValue>,
    /// Whether more follow.
    pub more: bool,
    /// How many there are altogether; [`COUNT_MAX`](super::limits::COUNT_MAX) stands for so many or more.
    pub count: u64,
    /// The revision that was read.
    pub revision: u64,
}

/// Why nothing was done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The budget is used up.
    #[error(
        "the cluster's key-value store is full ({used_bytes} of {budget_bytes} bytes): delete keys, or raise its budget"
    )]
    Full {
        /// What is used.
        used_bytes: u64,
        /// What may be used.
        budget_bytes: u64,
    },
    /// The lease does not exist, or is over.
    #[error("lease {0} does not exist or is over: ask for a new one")]
    NoLease(u64),
    /// There are as many leases as there may be.
    #[error("there are {0} leases already: let some end first")]
    TooManyLeases(usize),
    /// The revision was forgotten.
    #[error("revisions before {oldest} are compacted: read the present state and go on from there")]
    Compacted {
        /// The oldest that can be read.
        oldest: u64,
    },
    /// The revision does not exist yet.
    #[error("revision {asked} does not exist yet, the newest is {newest}")]
    Future {
        /// What was asked.
        asked: u64,
        /// What there is.
        newest: u64,
    },
    /// The command makes no sense.
    #[error("{0}")]
    Invalid(String),
}
