//! The log as openraft wants it, over [`millrace_journal::decisions`].
//!
//! A leader writes its own entries to its disk while they travel to the followers (Ongaro's thesis, 10.2.1). openraft waits for
//! an append before it sends anything; so what a leader appends in its own term is reported at once, and everything that a
//! commit could reach waits for the flush instead: applying ([`LogStore::flushed_through`]), the commit index that followers are
//! told ([`LogStore::durable`]), and every answer to another node ([`LogStore::flushed`]). `DESIGN.md` has the argument.
//!
//! Promise: nothing leaves this node that rests on an entry which its disk does not hold. The newest entries stay in memory, so
//! that neither replication nor applying reads the disk while all keep up.
//! Absent: deciding what is appended.
#![allow(clippy::result_large_err, reason = "openraft's error, as its traits ask for it")]

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use millrace_journal::decisions::{LogEntry, LogError, LogHandle, LogReader, LogStep};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader, StorageIOError};
use tokio::sync::oneshot;

use crate::codec::Encoder;
use crate::raft::coding::{decode_payload, encode_payload, put_log_id, put_vote};
use crate::raft::consensus::{Consensus, Entry, LogId, StorageError, Vote, log_id};
use crate::raft::flushes::Flushes;
use crate::raft::member::NodeId;
use crate::raft::tail::{Found, Tail};

/// Bytes of one reading: what one message to a follower carries.
const READ_BYTES_MAX: usize = 2 << 20;

/// The log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    handle: LogHandle,
    reader: Arc<Mutex<LogReader>>,
    tail: Arc<Mutex<Tail>>,
    flushes: Arc<Flushes>,
    me: NodeId,
}

impl LogStore {
    /// Over a log that is known; reader and handle lead to it.
    ///
    /// A leader that starts again does not go on in its term: openraft would let it, but what its last process sent to others
    /// before its own disk had it, this one knows nothing of, and would give the same place to something else; and it would
    /// answer reads before it knows what of its log was decided. Its vote counts as one that nobody has granted yet, so that
    /// it neither leads nor votes for anybody else in that term.
    pub(crate) fn new(me: NodeId, mut known: Tail, reader: LogReader, handle: LogHandle) -> Self {
        if let Some(vote) = known.vote.as_mut().filter(|vote| vote.leader_id.voted_for == Some(me)) {
            vote.committed = false;
        }
        let flushes = Arc::new(Flushes::new(known.last));
        Self { handle, reader: Arc::new(Mutex::new(reader)), tail: Arc::new(Mutex::new(known)), flushes, me }
    }

    /// The last entry that the disk holds.
    pub(crate) fn durable(&self) -> Option<LogId> {
        self.flushes.last()
    }

    /// Why nothing more is flushed.
    pub(crate) fn failed(&self) -> Option<String> {
        self.flushes.failed()
    }

    /// What the log stands for is lost: whoever waits is told, and the node leaves the consensus.
    pub(crate) fn fail(&self, why: &str) {
        self.flushes.fail(why);
    }

    /// Waits until the disk holds the entry at `index`.
    pub(crate) async fn flushed_through(&self, index: u64) -> Result<(), String> {
        self.flushes.through(index).await
    }

    /// Waits until the disk holds everything that was appended up to now.
    pub(crate) async fn flushed(&self) -> Result<(), String> {
        self.flushes.all().await
    }

    /// From now on state and snapshot, both flushed, stand for the entries up to `index`: what waited for that is purged.
    pub(crate) fn covers(&self, index: u64) {
        let due = {
            let mut tail = self.tail();
            tail.covered = tail.covered.max(Some(index));
            tail.uncovered.filter(|id| id.index <= index)
        };
        if let Some(id) = due {
            if let Err(error) = self.queue_purge(id) {
                self.fail(&error.to_string());
            }
            let mut tail = self.tail();
            tail.uncovered = tail.uncovered.filter(|newer| *newer != id);
        }
        // Last: who appends behind the purge waits for this, and must come after it.
        self.flushes.covered(index);
    }

    /// Waits until no purge waits: what is written behind it comes after it.
    async fn purge_is_queued(&self) -> Result<(), StorageError> {
        let waiting = self.tail().uncovered;
        let Some(id) = waiting else { return Ok(()) };
        let covered = self.flushes.cover(id.index).await;
        covered.map_err(|why| StorageIOError::write_logs(&io::Error::other(why)).into())
    }

    fn queue_purge(&self, id: LogId) -> Result<(), LogError> {
        let step = LogStep::PurgeThrough { index: id.index, term: id.leader_id.term };
        let tail = Arc::clone(&self.tail);
        let done = move |answer: Result<millrace_model::Durable, LogError>| match answer {
            Ok(_) => tail.lock().unwrap_or_else(PoisonError::into_inner).unpurged_bytes = 0,
            Err(error) => tracing::warn!(%error, "the decision log was not purged"),
        };
        self.handle.queue(vec![step], Box::new(done))
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.tail().last
    }

    /// Bytes that were appended since the log was purged, or opened.
    pub(crate) fn unpurged_bytes(&self) -> u64 {
        self.tail().unpurged_bytes
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for(&self, step: LogStep) -> Result<(), LogError> {
        let (reply, heard) = oneshot::channel();
        self.handle.queue(vec![step], Box::new(move |answer| drop(reply.send(answer))))?;
        heard.await.map_err(|_| LogError::Busy("its writer has stopped"))??;
        Ok(())
    }

    /// From the tail as far as it reaches, else from the disk, on a thread that may wait for it.
    async fn read(&self, first: u64, last: u64) -> Result<Vec<Entry>, StorageError> {
        let known = self.tail().read(first, last, READ_BYTES_MAX);
        let (behind, mut found) = match known {
            Found::All(entries) => return Ok(entries),
            Found::From(behind, entries) => (behind, entries),
        };
        let reader = Arc::clone(&self.reader);
        let from_disk = move || read(&reader, first, behind);
        let mut entries = if self.handle.is_inline() {
            from_disk()
        } else {
            let read = tokio::task::spawn_blocking(from_disk).await;
            read.map_err(|error| StorageIOError::read_logs(&error))?
        }?;
        if entries.last().is_some_and(|entry| entry.log_id.index == behind) {
            entries.append(&mut found);
        }
        Ok(entries)
    }
}

fn read(reader: &Mutex<LogReader>, first: u64, last: u64) -> Result<Vec<Entry>, StorageError> {
    let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
    let read = reader.read(first, last, READ_BYTES_MAX);
    let read = read.map_err(|error| StorageIOError::read_logs(&error))?;
    let decode = |LogEntry { index, term, payload }| {
        let entry = decode_payload(log_id(term, index), payload);
        entry.map_err(|error| StorageIOError::read_log_at_index(index, &error).into())
    };
    read.into_iter().map(decode).collect()
}

fn encode_log_id(id: Option<&LogId>) -> Bytes {
    let mut to = Encoder::default();
    put_log_id(&mut to, id);
    to.finish()
}

impl RaftLogReader<Consensus> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let mut next = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let last = match range.end_bound() {
            Bound::Included(last) => Some(*last),
            Bound::Excluded(end) => end.checked_sub(1),
            Bound::Unbounded => Some(u64::MAX),
        };
        let mut entries = Vec::new();
        // Whoever asks here wants all of it; each piece is read within its limit.
        while let Some(last) = last.filter(|last| next <= *last) {
            let more = self.read(next, last).await?;
            let Some(newest) = more.last() else { break };
            next = newest.log_id.index + 1;
            entries.extend(more);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        match end.checked_sub(1) {
            Some(last) if start <= last => self.read(start, last).await,
            _ => Ok(Vec::new()),
        }
    }
}

impl RaftLogStorage<Consensus> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Consensus>, StorageError> {
        let tail = self.tail();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let mut to = Encoder::default();
        put_vote(&mut to, vote);
        let saved = self.wait_for(LogStep::Vote(to.finish())).await;
        saved.map_err(|error| StorageIOError::write_vote(&error))?;
        self.tail().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.tail().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // Written with the next append: it only spares work after a restart, and is not worth a flush of its own.
        let mut tail = self.tail();
        tail.committed_is_new |= tail.committed != committed;
        tail.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.tail().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Consensus>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        if let Some(why) = self.failed() {
            return Err(StorageIOError::write_logs(&io::Error::other(why)).into());
        }
        self.purge_is_queued().await?;
        let mut steps = Vec::with_capacity(2);
        let (last, own) = {
            let mut tail = self.tail();
            let mut written = Vec::new();
            for entry in entries {
                let payload = encode_payload(&entry);
                let (index, term) = (entry.log_id.index, entry.log_id.leader_id.term);
                tail.push(entry, payload.len());
                written.push(LogEntry { index, term, payload });
            }
            let flushed = self.durable().map(|id| id.index);
            tail.shrink(flushed);
            if std::mem::take(&mut tail.committed_is_new) {
                steps.push(LogStep::Committed(encode_log_id(tail.committed.as_ref())));
            }
            let own = written.first().is_some_and(|entry| tail.leads(self.me, entry.term));
            steps.push(LogStep::Append(written));
            (tail.last, own)
        };
        let flushes = Arc::clone(&self.flushes);
        let mut waiting = Some(callback);
        let early = waiting.take_if(|_| own);
        let done = move |answer: Result<millrace_model::Durable, LogError>| {
            flushes.done(last, answer.as_ref().err().map(ToString::to_string));
            if let Some(callback) = waiting {
                callback.log_io_completed(answer.map(|_proof| ()).map_err(io::Error::other));
            }
        };
        if let Err(error) = self.handle.queue(steps, Box::new(done)) {
            // The tail has what the disk will never have: nobody may wait for it.
            self.fail(&error.to_string());
            return Err(StorageIOError::write_logs(&error).into());
        }
        self.flushes.queued();
        if let Some(callback) = early {
            callback.log_io_completed(Ok(()));
        }
        Ok(())
    }

    async fn truncate(&mut self, id: LogId) -> Result<(), StorageError> {
        self.purge_is_queued().await?;
        let before = match id.index.checked_sub(1) {
            Some(last) => self.read(last, last).await?,
            None => Vec::new(),
        };
        let truncated = self.wait_for(LogStep::TruncateFrom(id.index)).await;
        truncated.map_err(|error| StorageIOError::write_logs(&error))?;
        let mut tail = self.tail();
        tail.drop_from(id.index);
        tail.last = before.first().map(|entry| entry.log_id).or(tail.purged);
        self.flushes.cut_off(tail.last);
        Ok(())
    }

    async fn purge(&mut self, id: LogId) -> Result<(), StorageError> {
        let is_covered = {
            let mut tail = self.tail();
            tail.drop_through(id.index);
            tail.purged = tail.purged.max(Some(id));
            tail.last = tail.last.max(Some(id));
            let is_covered = tail.covered >= Some(id.index);
            if !is_covered {
                // openraft purges while a snapshot is still being installed. If the process ended then, neither log nor
                // state nor snapshot would have these entries.
                tail.uncovered = Some(id);
            }
            is_covered
        };
        self.flushes.purged(id);
        if is_covered {
            // Not waited for: it only gives room back, and whatever is asked later is done after it.
            self.queue_purge(id).map_err(|error| StorageIOError::write_logs(&error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
