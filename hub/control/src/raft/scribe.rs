//! Writes down what the commands led to, behind their back: the state on disk follows the state in memory.
//!
//! Promise: in the order of the log, several entries in one transaction when they wait. Bounded: when the queue is full,
//! applying waits. After a failure nothing more is written, and applying fails, which stops the node.
//! Absent: flushing every change. The log replays what a power cut takes; [`Scribe::checkpoint`] flushes, before the log is
//! purged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use millrace_journal::decisions::{DecisionState, SnapshotSummary, StateReader, StateWrite};
use tokio::sync::{mpsc, oneshot};

use crate::kv::{Store, Write};

/// Entries that wait to be written.
const QUEUE: usize = 256;

/// How long a first entry waits for others: whoever is alone with the cluster pays for one transaction in ten milliseconds instead of one
/// for each change. Nobody waits for it but a snapshot and the end, and the log has everything meanwhile.
const LINGER: Duration = Duration::from_millis(10);

/// Writes in one transaction: what an entry of the largest batch changes, some times over.
const GROUP_WRITES_MAX: usize = 16_384;

enum Job {
    Apply { writes: Vec<Write>, position: Bytes },
    Checkpoint(oneshot::Sender<Result<StateReader, String>>),
    Install(Snapshot, oneshot::Sender<Result<Store, String>>),
    Stop,
}

/// A snapshot that was verified, and the position that the state stands at with it.
struct Snapshot {
    path: PathBuf,
    summary: SnapshotSummary,
    position: Bytes,
}

/// The way to the state on disk.
#[derive(Clone)]
pub(crate) struct Scribe {
    road: Road,
    failed: Arc<OnceLock<String>>,
}

#[derive(Clone)]
enum Road {
    Thread(mpsc::Sender<Job>),
    Inline(Arc<Mutex<DecisionState>>),
}

impl Scribe {
    /// Starts a thread that writes.
    pub(crate) fn start(
        state: DecisionState,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<DecisionState>)> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let failed = Arc::new(OnceLock::new());
        let noted = Arc::clone(&failed);
        let thread =
            std::thread::Builder::new().name("state".into()).spawn(move || serve(state, jobs, &noted))?;
        Ok((Self { road: Road::Thread(queue), failed }, thread))
    }

    /// Writes at once, on the thread that asks: for simulated time.
    pub(crate) fn inline(state: Arc<Mutex<DecisionState>>) -> Self {
        Self { road: Road::Inline(state), failed: Arc::default() }
    }

    /// Queues the rows of some entries.
    pub(crate) async fn apply(&self, writes: Vec<Write>, position: Bytes) -> Result<(), String> {
        self.ask(Job::Apply { writes, position }).await
    }

    /// Flushes everything that was queued; then the state can be read from disk.
    pub(crate) async fn checkpoint(&self) -> Result<StateReader, String> {
        let (reply, heard) = oneshot::channel();
        self.ask(Job::Checkpoint(reply)).await?;
        heard.await.map_err(|_| self.why())?
    }

    /// Replaces everything by the snapshot at `path`, which must be the one that was verified.
    pub(crate) async fn install(
        &self,
        path: &Path,
        summary: SnapshotSummary,
        position: Bytes,
    ) -> Result<Store, String> {
        let (reply, heard) = oneshot::channel();
        self.ask(Job::Install(Snapshot { path: path.to_owned(), summary, position }, reply)).await?;
        heard.await.map_err(|_| self.why())?
    }

    /// Ends the thread after what is queued.
    pub(crate) async fn stop(&self) {
        let _ = self.ask(Job::Stop).await;
    }

    async fn ask(&self, job: Job) -> Result<(), String> {
        if let Some(why) = self.failed.get() {
            return Err(why.clone());
        }
        match &self.road {
            Road::Thread(queue) => queue.send(job).await.map_err(|_| self.why()),
            Road::Inline(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                carry_out(&mut state, vec![job], &self.failed);
                Ok(())
            }
        }
    }

    fn why(&self) -> String {
        self.failed
            .get()
            .cloned()
            .unwrap_or_else(|| "the writer of the decision state has stopped".to_owned())
    }
}

fn serve(
    mut state: DecisionState,
    mut jobs: mpsc::Receiver<Job>,
    failed: &OnceLock<String>,
) -> DecisionState {
    while let Some(first) = jobs.blocking_recv() {
        if matches!(first, Job::Apply { .. }) {
            std::thread::sleep(LINGER);
        }
        let mut group = vec![first];
        let mut writes = 0;
        while let Some(Job::Apply { writes: more, .. }) = group.last() {
            writes += more.len();
            if writes > GROUP_WRITES_MAX {
                break;
            }
            let Ok(next) = jobs.try_recv() else { break };
            group.push(next);
        }
        let stop = matches!(group.last(), Some(Job::Stop));
        carry_out(&mut state, group, failed);
        if stop || failed.get().is_some() {
            break;
        }
    }
    state
}

/// Applies what stands before the last job together, then does the last.
fn carry_out(state: &mut DecisionState, jobs: Vec<Job>, failed: &OnceLock<String>) {
    let (mut rows, mut last) = (Vec::new(), None);
    let mut other = None;
    for job in jobs {
        match job {
            Job::Apply { writes, position } => {
                rows.extend(writes.into_iter().map(|Write { key, value }| StateWrite { key, value }));
                last = Some(position);
            }
            job => other = Some(job),
        }
    }
    let applied = last.map_or(Ok(()), |position| state.apply(&rows, &position));
    let applied = applied.map_err(|error| fail(failed, &error));
    match other {
        Some(Job::Checkpoint(reply)) => {
            let done = applied.and_then(|()| {
                state.checkpoint().map_err(|error| fail(failed, &error))?;
                state.reader().map_err(|error| error.to_string())
            });
            let _ = reply.send(done);
        }
        Some(Job::Install(Snapshot { path, summary, position }, reply)) => {
            let done = applied.and_then(|()| {
                let replaced = state.replace_all(&path, &summary, &position);
                replaced.map_err(|error| fail(failed, &error))?;
                load(state)
            });
            let _ = reply.send(done);
        }
        Some(Job::Apply { .. } | Job::Stop) | None => {}
    }
}

fn fail(failed: &OnceLock<String>, why: &dyn std::fmt::Display) -> String {
    let why = failed.get_or_init(|| why.to_string());
    tracing::error!(%why, "the decision state cannot be written: this node stops taking part");
    why.clone()
}

/// Rows that are read from disk together.
const LOAD_ROWS: usize = 4_096;
const LOAD_BYTES: usize = 4 << 20;

/// The store that the rows on disk lead to.
pub(crate) fn load(state: &DecisionState) -> Result<Store, String> {
    let mut rows: Vec<(Bytes, Bytes)> = Vec::new();
    loop {
        let after = rows.last().map(|(key, _)| key.clone());
        let more = state.range(after.as_deref(), LOAD_ROWS, LOAD_BYTES).map_err(|error| error.to_string())?;
        if more.is_empty() {
            break;
        }
        rows.extend(more);
    }
    Store::load(rows).map_err(|error| error.to_string())
}
