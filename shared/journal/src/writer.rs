//! The thread that a daemon commits through: one store, one queue, one commit after the other.
//!
//! Promise: the queue is bounded; every job is answered, in order, also when the store is poisoned.
//! Absent: async. A reply is a closure, which may complete a channel of any runtime.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use millrace_model::store::{Change, Outcome, Quarantined};
use millrace_model::{Durable, JournalId, SeqRange};

use crate::error::CommitError;
use crate::store::Store;

/// What is called with the result of a commit, on the writer's thread: it must not block.
pub type Reply = Box<dyn FnOnce(Result<(Durable, Vec<Outcome>), CommitError>) + Send>;

type Visit = Box<dyn FnOnce(&mut Store) + Send>;

enum Job {
    Commit { commit: u64, changes: Vec<Change>, reply: Reply },
    Visit(Visit),
    Stop,
}

/// The queue is full, or the thread has ended; nothing was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Busy {
    /// As many jobs wait as may.
    #[error("the journal's queue is full")]
    Full,
    /// The writer has stopped.
    #[error("the journal's writer has stopped")]
    Stopped,
}

/// The writer's thread.
pub struct Writer {
    queue: SyncSender<Job>,
    thread: JoinHandle<Store>,
}

/// Queues jobs for the writer. Cheap to clone.
#[derive(Clone)]
pub struct WriterHandle {
    queue: SyncSender<Job>,
}

impl Writer {
    /// Starts the thread; at most `queue_limit` jobs wait.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Store, queue_limit: usize) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(queue_limit.max(1));
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || serve(store, &jobs))?;
        Ok(Self { queue, thread })
    }

    /// A handle to queue jobs with.
    #[must_use]
    pub fn handle(&self) -> WriterHandle {
        WriterHandle { queue: self.queue.clone() }
    }

    /// Waits for everything that was queued, stops the thread, and gives the store back; dropping that closes it cleanly.
    /// `None` when the thread panicked.
    #[must_use]
    pub fn stop(self) -> Option<Store> {
        // A thread that is gone cannot be told to stop; joining it says why.
        let _ = self.queue.send(Job::Stop);
        self.thread.join().ok()
    }
}

fn serve(mut store: Store, jobs: &Receiver<Job>) -> Store {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Commit { commit, changes, reply } => reply(store.commit(commit, &changes)),
            Job::Visit(visit) => visit(&mut store),
            Job::Stop => break,
        }
    }
    store
}

impl WriterHandle {
    /// Queues a commit without waiting. Whoever asks for one commit at a time never meets a full queue.
    ///
    /// # Errors
    /// When the queue is full or the writer has stopped; the changes and the reply are dropped.
    pub fn commit(&self, commit: u64, changes: Vec<Change>, reply: Reply) -> Result<(), Busy> {
        self.queue_job(Job::Commit { commit, changes, reply })
    }

    /// Queues something that needs the writer's own view of the store: its state, its usage, a survey.
    ///
    /// # Errors
    /// As [`WriterHandle::commit`].
    pub fn visit(&self, visit: impl FnOnce(&mut Store) + Send + 'static) -> Result<(), Busy> {
        self.queue_job(Job::Visit(Box::new(visit)))
    }

    /// Queues [`Store::quarantine`] for what a reader found damaged.
    ///
    /// # Errors
    /// As [`WriterHandle::commit`].
    pub fn quarantine(
        &self,
        journal: JournalId,
        range: SeqRange,
        reply: impl FnOnce(Result<Quarantined, CommitError>) + Send + 'static,
    ) -> Result<(), Busy> {
        self.visit(move |store| reply(store.quarantine(&journal, range)))
    }

    fn queue_job(&self, job: Job) -> Result<(), Busy> {
        self.queue.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => Busy::Full,
            TrySendError::Disconnected(_) => Busy::Stopped,
        })
    }
}
