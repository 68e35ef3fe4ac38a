//! What is known of the log without reading it: its newest entries, its ends, the vote.
//!
//! Promise: bounded, but for entries that are not flushed yet: those can be read nowhere else.
//! Absent: the disk ([`super::log`]).

use std::collections::VecDeque;

use millrace_journal::decisions::{DecisionLog, LogHead};

use crate::codec::{CodecError, Decoder};
use crate::raft::coding::{take_log_id, take_vote};
use crate::raft::consensus::{Entry, LogId, Vote, log_id};
use crate::raft::member::NodeId;

/// Bytes of entries that stay in memory: some seconds of the busiest cluster.
const TAIL_BYTES_MAX: usize = 16 << 20;

/// The end of the log.
pub(crate) struct Tail {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    pub(crate) last: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) committed_is_new: bool,
    pub(crate) unpurged_bytes: u64,
    /// Up to where state and snapshot on disk stand for the entries.
    pub(crate) covered: Option<u64>,
    /// A purge that waits for them.
    pub(crate) uncovered: Option<LogId>,
}

/// What the tail has of some entries.
pub(crate) enum Found {
    /// All that was asked for, as far as one reading goes.
    All(Vec<Entry>),
    /// The end; those up to this index stand on disk.
    From(u64, Vec<Entry>),
}

impl Tail {
    /// What an opened log says of itself.
    pub(crate) fn of(log: &DecisionLog) -> Result<Self, CodecError> {
        let vote = log.vote().map(|bytes| take_vote(&mut Decoder::new(bytes))).transpose()?;
        let committed = match log.committed() {
            Some(bytes) => take_log_id(&mut Decoder::new(bytes))?,
            None => None,
        };
        let id = |head: LogHead| log_id(head.term, head.index);
        Ok(Self {
            entries: VecDeque::new(),
            bytes: 0,
            last: log.head().map(id),
            purged: log.purged().map(id),
            vote,
            committed,
            committed_is_new: false,
            unpurged_bytes: log.stored_bytes(),
            covered: None,
            uncovered: None,
        })
    }

    pub(crate) fn push(&mut self, entry: Entry, size: usize) {
        self.last = Some(entry.log_id);
        self.bytes += size;
        self.unpurged_bytes += size as u64;
        self.entries.push_back((entry, size));
    }

    /// Entries from `first` up to and including `last`, until `bytes_max` is passed.
    pub(crate) fn read(&self, first: u64, last: u64, bytes_max: usize) -> Found {
        let begin = self.entries.front().map(|(entry, _)| entry.log_id.index);
        let Some(begin) = begin.filter(|begin| *begin <= last) else {
            return Found::From(last, Vec::new());
        };
        let skip = usize::try_from(first.saturating_sub(begin)).unwrap_or(usize::MAX);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (entry, size) in self.entries.iter().skip(skip) {
            bytes += size;
            if entry.log_id.index > last || (bytes > bytes_max && !found.is_empty()) {
                break;
            }
            found.push(entry.clone());
        }
        if first >= begin { Found::All(found) } else { Found::From(begin - 1, found) }
    }

    /// Keeps the tail small. What is not flushed yet stays.
    pub(crate) fn shrink(&mut self, flushed: Option<u64>) {
        while self.bytes > TAIL_BYTES_MAX {
            let is_flushed = |(entry, _): &(Entry, usize)| Some(entry.log_id.index) <= flushed;
            if !self.entries.front().is_some_and(is_flushed) {
                break;
            }
            self.bytes -= self.entries.pop_front().map_or(0, |(_, size)| size);
        }
    }

    /// Whether entries of `term` are this node's own, appended as leader.
    pub(crate) fn leads(&self, me: NodeId, term: u64) -> bool {
        self.vote.is_some_and(|vote| {
            vote.committed && vote.leader_id.voted_for == Some(me) && vote.leader_id.term == term
        })
    }

    pub(crate) fn drop_from(&mut self, first: u64) {
        while self.entries.back().is_some_and(|(entry, _)| entry.log_id.index >= first) {
            self.bytes -= self.entries.pop_back().map_or(0, |(_, size)| size);
        }
    }

    pub(crate) fn drop_through(&mut self, last: u64) {
        while self.entries.front().is_some_and(|(entry, _)| entry.log_id.index <= last) {
            self.bytes -= self.entries.pop_front().map_or(0, |(_, size)| size);
        }
    }
}
