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

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use millrace_journal::decisions::{DecisionLog, LogEntry, LogError, LogHandle, LogHead, LogReader, LogStep};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader, StorageIOError};
use tokio::sync::{oneshot, watch};

use crate::codec::{CodecError, Decoder, Encoder};
use crate::raft::coding::{decode_payload, encode_payload, put_log_id, put_vote, take_log_id, take_vote};
use crate::raft::consensus::{Consensus, Entry, LogId, StorageError, Vote, log_id};
use crate::raft::member::NodeId;

/// Bytes of entries that stay in memory: some seconds of the busiest cluster.
const TAIL_BYTES_MAX: usize = 16 << 20;

/// Bytes of one reading: what one message to a follower carries.
const READ_BYTES_MAX: usize = 2 << 20;

/// The log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    handle: LogHandle,
    reader: Arc<Mutex<LogReader>>,
    tail: Arc<Mutex<Tail>>,
    flushes: Arc<watch::Sender<Flushes>>,
    me: NodeId,
}

/// What the disk holds.
#[derive(Clone, Debug, Default)]
struct Flushes {
    /// Appends that were queued, and that were flushed.
    queued: u64,
    done: u64,
    /// The last entry that is flushed.
    last: Option<LogId>,
    /// Why nothing more is flushed.
    failed: Option<String>,
}

/// What is known of the log without reading it.
pub(crate) struct Tail {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    committed_is_new: bool,
    unpurged_bytes: u64,
}

impl LogStore {
    /// What an opened log says of itself.
    pub(crate) fn known(log: &DecisionLog) -> Result<Tail, CodecError> {
        let vote = log.vote().map(|bytes| take_vote(&mut Decoder::new(bytes))).transpose()?;
        let committed = match log.committed() {
            Some(bytes) => take_log_id(&mut Decoder::new(bytes))?,
            None => None,
        };
        let id = |head: LogHead| log_id(head.term, head.index);
        Ok(Tail {
            entries: VecDeque::new(),
            bytes: 0,
            last: log.head().map(id),
            purged: log.purged().map(id),
            vote,
            committed,
            committed_is_new: false,
            unpurged_bytes: log.stored_bytes(),
        })
    }

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
        let flushes = Flushes { last: known.last, ..Flushes::default() };
        Self {
            handle,
            reader: Arc::new(Mutex::new(reader)),
            tail: Arc::new(Mutex::new(known)),
            flushes: Arc::new(watch::Sender::new(flushes)),
            me,
        }
    }

    /// The last entry that the disk holds.
    pub(crate) fn durable(&self) -> Option<LogId> {
        self.flushes.borrow().last
    }

    /// Why nothing more is flushed.
    pub(crate) fn failed(&self) -> Option<String> {
        self.flushes.borrow().failed.clone()
    }

    /// Waits until the disk holds the entry at `index`.
    pub(crate) async fn flushed_through(&self, index: u64) -> Result<(), String> {
        self.flushed_when(|flushes| flushes.last.is_some_and(|last| last.index >= index)).await
    }

    /// Waits until the disk holds everything that was appended up to now.
    pub(crate) async fn flushed(&self) -> Result<(), String> {
        let queued = self.flushes.borrow().queued;
        self.flushed_when(|flushes| flushes.done >= queued).await
    }

    async fn flushed_when(&self, enough: impl Fn(&Flushes) -> bool) -> Result<(), String> {
        let mut flushes = self.flushes.subscribe();
        let seen = flushes.wait_for(|flushes| enough(flushes) || flushes.failed.is_some()).await;
        let seen = seen.map_err(|_| "the decision log was closed".to_owned())?;
        match &seen.failed {
            Some(why) if !enough(&seen) => Err(why.clone()),
            _ => Ok(()),
        }
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

    /// From the tail as far as it reaches, else from the disk.
    fn read(&self, first: u64, last: u64) -> Result<Vec<Entry>, StorageError> {
        let mut found = Vec::new();
        let mut behind = last;
        {
            let tail = self.tail();
            let begin = tail.entries.front().map(|(entry, _)| entry.log_id.index);
            if let Some(begin) = begin.filter(|begin| *begin <= last) {
                let skip = usize::try_from(first.saturating_sub(begin)).unwrap_or(usize::MAX);
                let mut bytes = 0;
                for (entry, size) in tail.entries.iter().skip(skip) {
                    bytes += size;
                    if entry.log_id.index > last || (bytes > READ_BYTES_MAX && !found.is_empty()) {
                        break;
                    }
                    found.push(entry.clone());
                }
                if first >= begin {
                    return Ok(found);
                }
                behind = begin - 1;
            }
        }
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let read = reader.read(first, behind, READ_BYTES_MAX);
        let read = read.map_err(|error| StorageIOError::read_logs(&error))?;
        let whole = read.last().is_some_and(|entry| entry.index == behind);
        let mut entries = Vec::with_capacity(read.len());
        for LogEntry { index, term, payload } in read {
            let entry = decode_payload(log_id(term, index), payload);
            entries.push(entry.map_err(|error| StorageIOError::read_log_at_index(index, &error))?);
        }
        if whole {
            entries.append(&mut found);
        }
        Ok(entries)
    }
}

impl Tail {
    fn push(&mut self, entry: Entry, size: usize) {
        self.last = Some(entry.log_id);
        self.bytes += size;
        self.unpurged_bytes += size as u64;
        self.entries.push_back((entry, size));
    }

    /// Keeps the tail small. What is not flushed yet stays: it can be read nowhere else.
    fn shrink(&mut self, flushed: Option<u64>) {
        while self.bytes > TAIL_BYTES_MAX {
            let is_flushed = |(entry, _): &(Entry, usize)| Some(entry.log_id.index) <= flushed;
            if !self.entries.front().is_some_and(is_flushed) {
                break;
            }
            self.bytes -= self.entries.pop_front().map_or(0, |(_, size)| size);
        }
    }

    /// Whether entries of `term` are this node's own, appended as leader.
    fn leads(&self, me: NodeId, term: u64) -> bool {
        self.vote.is_some_and(|vote| {
            vote.committed && vote.leader_id.voted_for == Some(me) && vote.leader_id.term == term
        })
    }

    fn drop_from(&mut self, first: u64) {
        while self.entries.back().is_some_and(|(entry, _)| entry.log_id.index >= first) {
            self.bytes -= self.entries.pop_back().map_or(0, |(_, size)| size);
        }
    }

    fn drop_through(&mut self, last: u64) {
        while self.entries.front().is_some_and(|(entry, _)| entry.log_id.index <= last) {
            self.bytes -= self.entries.pop_front().map_or(0, |(_, size)| size);
        }
    }
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
            let more = self.read(next, last)?;
            let Some(newest) = more.last() else { break };
            next = newest.log_id.index + 1;
            entries.extend(more);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        match end.checked_sub(1) {
            Some(last) if start <= last => self.read(start, last),
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
        self.flushes.send_modify(|flushes| flushes.queued += 1);
        let flushes = Arc::clone(&self.flushes);
        let mut waiting = Some(callback);
        let early = waiting.take_if(|_| own);
        let done = move |answer: Result<millrace_model::Durable, LogError>| {
            flushes.send_modify(|flushes| {
                flushes.done += 1;
                match &answer {
                    Ok(_proof) => flushes.last = flushes.last.max(last),
                    Err(error) => drop(flushes.failed.get_or_insert_with(|| error.to_string())),
                }
            });
            if let Some(callback) = waiting {
                callback.log_io_completed(answer.map(|_proof| ()).map_err(io::Error::other));
            }
        };
        self.handle.queue(steps, Box::new(done)).map_err(|error| StorageIOError::write_logs(&error))?;
        if let Some(callback) = early {
            callback.log_io_completed(Ok(()));
        }
        Ok(())
    }

    async fn truncate(&mut self, id: LogId) -> Result<(), StorageError> {
        let before = id.index.checked_sub(1).map(|last| self.read(last, last)).transpose()?;
        let truncated = self.wait_for(LogStep::TruncateFrom(id.index)).await;
        truncated.map_err(|error| StorageIOError::write_logs(&error))?;
        let mut tail = self.tail();
        tail.drop_from(id.index);
        let before = before.and_then(|entries| entries.first().map(|entry| entry.log_id));
        tail.last = before.or(tail.purged);
        let last = tail.last;
        self.flushes.send_modify(|flushes| flushes.last = last);
        Ok(())
    }

    async fn purge(&mut self, id: LogId) -> Result<(), StorageError> {
        {
            let mut tail = self.tail();
            tail.drop_through(id.index);
            tail.purged = tail.purged.max(Some(id));
            tail.last = tail.last.max(Some(id));
        }
        // Behind the head only after a snapshot, which is flushed and stands for those entries.
        self.flushes.send_modify(|flushes| flushes.last = flushes.last.max(Some(id)));
        // Not waited for: it only gives room back, and whatever is asked later is done after it.
        let step = LogStep::PurgeThrough { index: id.index, term: id.leader_id.term };
        let tail = Arc::clone(&self.tail);
        let done = move |answer: Result<millrace_model::Durable, LogError>| match answer {
            Ok(_) => tail.lock().unwrap_or_else(PoisonError::into_inner).unpurged_bytes = 0,
            Err(error) => tracing::warn!(%error, "the decision log was not purged"),
        };
        self.handle
            .queue(vec![step], Box::new(done))
            .map_err(|error| StorageIOError::<NodeId>::write_logs(&error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_journal::decisions::{LogOptions, LogWriter};
    use openraft::EntryPayload;
    use openraft::storage::RaftLogStorageExt;
    use std::sync::mpsc::sync_channel;

    fn blank(term: u64, index: u64) -> Entry {
        Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
    }

    fn vote(term: u64, node: NodeId) -> Vote {
        Vote { committed: true, ..Vote::new(term, node) }
    }

    #[tokio::test]
    async fn a_leaders_own_entries_travel_while_its_disk_writes_and_commit_when_it_has_written() {
        let dir = tempfile::tempdir().unwrap();
        let log = DecisionLog::open(&dir.path().join("log.db"), &LogOptions::default()).unwrap();
        let (known, reader) = (LogStore::known(&log).unwrap(), LogReader::open(log.path()).unwrap());
        let writer = LogWriter::start(log, 64).unwrap();
        let mut store = LogStore::new(1, known, reader, writer.handle());
        store.save_vote(&vote(3, 2)).await.unwrap();
        store.blocking_append([blank(3, 0)]).await.unwrap();
        assert_eq!(store.durable(), Some(log_id(3, 0)), "of another leader: flushed before it is reported");

        store.save_vote(&vote(4, 1)).await.unwrap();
        // The disk stands still.
        let (release, held) = sync_channel::<()>(1);
        let step = vec![LogStep::Committed(Bytes::new())];
        writer.handle().queue(step, Box::new(move |_| held.recv().unwrap())).unwrap();
        store.blocking_append([blank(4, 1), blank(4, 2)]).await.unwrap();
        assert_eq!(store.limited_get_log_entries(0, 9).await.unwrap().len(), 3, "they can be sent");
        assert_eq!(store.durable(), Some(log_id(3, 0)), "no commit beyond this is told");
        let (whole, all) = (store.clone(), store.clone());
        let mut applying = tokio::spawn(async move { whole.flushed_through(2).await });
        let mut answering = tokio::spawn(async move { all.flushed().await });
        let soon = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, &mut applying).await.is_err(), "nothing is applied");
        assert!(tokio::time::timeout(soon, &mut answering).await.is_err(), "nobody is answered");
        release.send(()).unwrap();
        applying.await.unwrap().unwrap();
        answering.await.unwrap().unwrap();
        assert_eq!(store.durable(), Some(log_id(4, 2)));

        store.truncate(log_id(4, 2)).await.unwrap();
        assert_eq!((store.durable(), store.last()), (Some(log_id(4, 1)), Some(log_id(4, 1))));
        drop(writer.stop());
        // The thread is gone: the next append fails, and so does whoever waits.
        assert!(store.blocking_append([blank(4, 2)]).await.is_err());
    }
}
