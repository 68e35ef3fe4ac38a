//! Entries of the log, its head, and what can be asked of it.
//!
//! Absent: what a payload means.

use bytes::Bytes;

use super::chain::Chain;

/// Largest payload of one entry: etcd's limit for a request, which its users know.
pub const ENTRY_BYTES_MAX: usize = 1_536 << 10;

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Its place; dense.
    pub index: u64,
    /// The term of the leader that proposed it.
    pub term: u64,
    /// What was proposed; at most [`ENTRY_BYTES_MAX`].
    pub payload: Bytes,
}

/// Where a log ends, or up to where it was purged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogHead {
    /// Index of the last entry.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Hash over it and everything before it.
    pub chain: Chain,
}

/// One change of the log. Several are flushed together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogStep {
    /// Adds entries; the first must follow the head.
    Append(Vec<LogEntry>),
    /// Removes all entries from this index on.
    TruncateFrom(u64),
    /// Removes all entries up to this one. When it lies behind the head (a snapshot was installed), nothing is left and the
    /// log goes on after it.
    PurgeThrough {
        /// Index of the last entry that is not needed any more.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// Remembers a vote.
    Vote(Bytes),
    /// Remembers how far the log is known to be committed.
    Committed(Bytes),
}

impl LogStep {
    /// Bytes of payload that it writes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append(entries) => entries.iter().map(|entry| entry.payload.len()).sum(),
            Self::Vote(bytes) | Self::Committed(bytes) => bytes.len(),
            Self::TruncateFrom(_) | Self::PurgeThrough { .. } => 0,
        }
    }
}

impl LogHead {
    /// As it stands in the file.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [&self.index.to_be_bytes(), &self.term.to_be_bytes(), self.chain.as_bytes().as_slice()].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (index, rest) = bytes.split_at_checked(8)?;
        let (term, chain) = rest.split_at_checked(8)?;
        Some(Self {
            index: u64::from_be_bytes(index.try_into().ok()?),
            term: u64::from_be_bytes(term.try_into().ok()?),
            chain: Chain::from_slice(chain)?,
        })
    }
}
