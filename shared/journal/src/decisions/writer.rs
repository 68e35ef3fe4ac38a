//! The thread that flushes the log: what waits when it becomes free is flushed together.
//!
//! Promise: the queue is bounded; every asker gets its own answer, in order, after the flush that it was part of, and
//! also when the log is poisoned. Absent: async. An answer is a closure, which may complete a channel of any runtime.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use millrace_model::Durable;

use super::entry::LogStep;
use super::error::LogError;
use super::log::DecisionLog;

/// What is called with the result of a step, on the writer's thread: it must not block.
pub type LogReply = Box<dyn FnOnce(Result<Durable, LogError>) + Send>;

/// Steps in one flush: a follower that catches up sends one after the other, more never wait.
const GROUP_STEPS_MAX: usize = 256;

/// Payload bytes after which a group takes no further step, so that one flush stays short.
const GROUP_BYTES_MAX: usize = 8 << 20;

enum Job {
    Steps(Vec<LogStep>, LogReply),
    Stop,
}

/// The writer's thread.
pub struct LogWriter {
    queue: SyncSender<Job>,
    thread: JoinHandle<DecisionLog>,
}

/// Queues steps. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    road: Road,
}

#[derive(Clone)]
enum Road {
    Thread(SyncSender<Job>),
    Inline(Arc<Mutex<DecisionLog>>),
}

impl LogWriter {
    /// Starts the thread; at most `queue_limit` steps wait.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(log: DecisionLog, queue_limit: usize) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(queue_limit.max(1));
        let thread = std::thread::Builder::new().name("decisions".into()).spawn(move || serve(log, &jobs))?;
        Ok(Self { queue, thread })
    }

    /// A handle to queue steps with.
    #[must_use]
    pub fn handle(&self) -> LogHandle {
        LogHandle { road: Road::Thread(self.queue.clone()) }
    }

    /// Waits for everything that was queued, stops the thread, and gives the log back. `None` when the thread panicked.
    #[must_use]
    pub fn stop(self) -> Option<DecisionLog> {
        // A thread that is gone cannot be told to stop; joining it says why.
        let _ = self.queue.send(Job::Stop);
        self.thread.join().ok()
    }
}

fn serve(mut log: DecisionLog, jobs: &Receiver<Job>) -> DecisionLog {
    while let Ok(first) = jobs.recv() {
        let (mut steps, mut replies): (Vec<LogStep>, Vec<(usize, LogReply)>) = (Vec::new(), Vec::new());
        let (mut bytes, mut stop) = (0, false);
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                Job::Steps(asked, reply) => {
                    bytes += asked.iter().map(LogStep::bytes).sum::<usize>();
                    replies.push((asked.len(), reply));
                    steps.extend(asked);
                }
                Job::Stop => stop = true,
            }
            if !stop && steps.len() < GROUP_STEPS_MAX && bytes < GROUP_BYTES_MAX {
                next = jobs.try_recv().ok();
            }
        }
        let mut answers = log.commit_group(&steps).into_iter();
        for (count, reply) in replies {
            reply(one_answer(answers.by_ref().take(count)));
        }
        if stop {
            break;
        }
    }
    log
}

/// The answer for steps that were asked together: the last proof, or the first failure.
fn one_answer(answers: impl Iterator<Item = Result<Durable, LogError>>) -> Result<Durable, LogError> {
    let mut proof = Err(LogError::Invalid("nothing was asked".into()));
    // Every answer is taken, so that the next asker finds its own.
    for answer in answers.collect::<Vec<_>>() {
        proof = Ok(answer?);
    }
    proof
}

impl LogHandle {
    /// A handle that makes each step at once, on the thread that asks: for programs whose time is simulated, where a thread
    /// of its own would make the order of events a matter of luck.
    #[must_use]
    pub fn inline(log: Arc<Mutex<DecisionLog>>) -> Self {
        Self { road: Road::Inline(log) }
    }

    /// Whether each step is made on the thread that asks.
    #[must_use]
    pub const fn is_inline(&self) -> bool {
        matches!(self.road, Road::Inline(_))
    }

    /// Queues steps that get one answer, without waiting: a proof when all were made, else the first failure.
    ///
    /// # Errors
    /// [`LogError::Busy`] when the queue is full or the thread has ended; the steps and the reply are dropped.
    pub fn queue(&self, steps: Vec<LogStep>, reply: LogReply) -> Result<(), LogError> {
        match &self.road {
            Road::Thread(queue) => {
                queue.try_send(Job::Steps(steps, reply)).map_err(|refused| match refused {
                    TrySendError::Full(_) => LogError::Busy("its queue is full"),
                    TrySendError::Disconnected(_) => LogError::Busy("its writer has stopped"),
                })
            }
            Road::Inline(log) => {
                let answer = log.lock().unwrap_or_else(PoisonError::into_inner).commit_group(&steps);
                reply(one_answer(answer.into_iter()));
                Ok(())
            }
        }
    }
}
