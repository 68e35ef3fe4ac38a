//! The disk: one thread writes, one reads. Both answer the driver with events.
//!
//! Promise: a `Committed` event is sent only with the store's own proof. After an error that leaves the disk's state
//! unknown the process ends, and the next start verifies.
//! Absent: retries. A flush that failed once is never tried again.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use millrace_agent_engine::{Event, LoadRequest};
use millrace_journal::{CommitError, Options, ReadError, Reader, Store, Writer, WriterHandle};
use millrace_merkle::{About, Told};
use millrace_model::store::{Change, Quarantined};
use millrace_model::{JournalId, SeqRange};
use tokio::sync::mpsc;

/// Jobs that may wait for the writer: the engine has one commit and one survey under way, and each damage found
/// asks for a quarantine.
const WRITER_QUEUE: usize = 16;

/// Jobs that may wait for the reader: the engine has a read per channel, and a few checks, under way.
const READER_QUEUE: usize = 256;

/// The store of a running agent.
pub struct Disk {
    writer: Writer,
    writing: WriterHandle,
    reading: SyncSender<Read>,
    reader: JoinHandle<()>,
    events: mpsc::Sender<Event>,
    fatal: mpsc::Sender<String>,
}

enum Read {
    Load(LoadRequest),
    Check { journal: JournalId, range: SeqRange },
    Consult(Consultation),
}

/// A question of a session about a journal.
#[derive(Debug)]
pub struct Consultation {
    /// The session that asks.
    pub session: u64,
    /// The hub's number for the inquiry.
    pub number: u64,
    /// Which journal.
    pub journal: JournalId,
    /// What about it.
    pub about: About,
}

/// A thread or a connection was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The operating system gave no thread.
    #[error("no thread for the journal: {0}")]
    Thread(#[from] std::io::Error),
    /// The store cannot be read beside the writer.
    #[error(transparent)]
    Read(#[from] millrace_journal::OpenError),
}

impl Disk {
    /// Starts both threads over `store`, which stands at `path`. What ends the process is said through `fatal`.
    ///
    /// # Errors
    /// When a thread or a second connection is not to be had.
    pub fn start(
        store: Store,
        path: &Path,
        options: &Options,
        events: mpsc::Sender<Event>,
        fatal: mpsc::Sender<String>,
    ) -> Result<Self, DiskError> {
        let reader = Reader::open(path, options)?;
        let writer = Writer::start(store, WRITER_QUEUE)?;
        let writing = writer.handle();
        let (reading, jobs) = sync_channel(READER_QUEUE);
        let desk = Desk { reader, writing: writing.clone(), events: events.clone(), fatal: fatal.clone() };
        let reader = std::thread::Builder::new().name("reader".into()).spawn(move || desk.serve(&jobs))?;
        Ok(Self { writer, writing, reading, reader, events, fatal })
    }

    /// Flushes changes; answered by `Committed` or `CommitRefused`.
    pub fn commit(&self, commit: u64, changes: Vec<Change>) {
        let (events, fatal) = (self.events.clone(), self.fatal.clone());
        self.visit(move |store| match store.commit(commit, &changes) {
            Ok((durable, outcomes)) => {
                tell(&events, Event::Committed { durable, outcomes, usage: store.usage() });
            }
            Err(CommitError::Refused(refusal)) => {
                tell(&events, Event::CommitRefused { commit, changes, refusal });
            }
            Err(error) => give_up(&fatal, &error.to_string()),
        });
    }

    /// Lists the oldest segments; answered by `Surveyed`.
    pub fn survey(&self, per_journal: usize) {
        let (events, fatal) = (self.events.clone(), self.fatal.clone());
        self.visit(move |store| match store.survey(per_journal) {
            Ok(segments) => tell(&events, Event::Surveyed { segments }),
            Err(error) => give_up(&fatal, &error.to_string()),
        });
    }

    fn visit(&self, visit: impl FnOnce(&mut Store) + Send + 'static) {
        if let Err(busy) = self.writing.visit(visit) {
            give_up(&self.fatal, &busy.to_string());
        }
    }

    /// Reads records for sending; answered by `Loaded` or `Damaged`.
    pub fn load(&self, request: LoadRequest) {
        self.read(Read::Load(request));
    }

    /// Reads checks; answered by `Checked`.
    pub fn check(&self, journal: JournalId, range: SeqRange) {
        self.read(Read::Check { journal, range });
    }

    /// Answers a question about a journal; answered by `Consulted`.
    pub fn consult(&self, asked: Consultation) {
        self.read(Read::Consult(asked));
    }

    fn read(&self, job: Read) {
        match self.reading.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => give_up(&self.fatal, "the reader's queue is full"),
            Err(TrySendError::Disconnected(_)) => give_up(&self.fatal, "the reader has stopped"),
        }
    }

    /// Finishes what was asked for and closes the store cleanly. Blocks.
    pub fn stop(self) {
        drop(self.reading);
        if self.reader.join().is_err() {
            tracing::error!("the reader's thread panicked");
        }
        if self.writer.stop().is_none() {
            tracing::error!("the journal's thread panicked");
        }
    }
}

/// The reader's thread.
struct Desk {
    reader: Reader,
    writing: WriterHandle,
    events: mpsc::Sender<Event>,
    fatal: mpsc::Sender<String>,
}

impl Desk {
    fn serve(self, jobs: &Receiver<Read>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Read::Load(request) => self.load(request),
                Read::Check { journal, range } => self.check(journal, range),
                Read::Consult(asked) => self.consult(&asked),
            }
        }
    }

    fn load(&self, request: LoadRequest) {
        match self.reader.load(&request.journal, request.range, request.bytes_max) {
            Ok(runs) => tell(&self.events, Event::Loaded { request, runs }),
            Err(ReadError::Damaged { journal, range, what }) => {
                let events = self.events.clone();
                self.put_aside(journal, range, &what, move |aside| match aside {
                    Some(aside) if !aside.ranges.is_empty() => {
                        tell(&events, Event::Damaged { request: Some(request), aside });
                    }
                    // The disk is too full for it. The records count as sent, and wait for the next session.
                    _ => tell(&events, Event::Loaded { request, runs: Vec::new() }),
                });
            }
            Err(error) => give_up(&self.fatal, &error.to_string()),
        }
    }

    fn check(&self, journal: JournalId, range: SeqRange) {
        match self.reader.checks(&journal, range) {
            Ok(checks) => tell(&self.events, Event::Checked { journal, range, checks }),
            Err(ReadError::Damaged { journal: damaged, range: lost, what }) => {
                let events = self.events.clone();
                let answer = Event::Checked { journal, range, checks: Vec::new() };
                self.put_aside(damaged, lost, &what, move |aside| {
                    if let Some(aside) = aside {
                        tell(&events, Event::Damaged { request: None, aside });
                    }
                    tell(&events, answer);
                });
            }
            Err(error) => give_up(&self.fatal, &error.to_string()),
        }
    }

    fn consult(&self, asked: &Consultation) {
        let Consultation { session, number, journal, about } = asked;
        let told = self.reader.tell(journal, about).unwrap_or_else(|error| {
            tracing::warn!(%journal, %error, "the hub's question about a journal cannot be answered");
            Told::Unreadable
        });
        tell(&self.events, Event::Consulted { session: *session, number: *number, told });
    }

    fn put_aside(
        &self,
        journal: JournalId,
        range: SeqRange,
        what: &str,
        then: impl FnOnce(Option<Quarantined>) + Send + 'static,
    ) {
        tracing::error!(%journal, %range, what, "stored records are damaged: they are put aside");
        let fatal = self.fatal.clone();
        let asked = self.writing.quarantine(journal, range, move |aside| match aside {
            Ok(aside) => then(Some(aside)),
            Err(CommitError::Refused(_)) => then(None),
            Err(error) => give_up(&fatal, &error.to_string()),
        });
        if let Err(busy) = asked {
            give_up(&self.fatal, &busy.to_string());
        }
    }
}

/// Hands the driver an event from a thread. The driver always drains its channel, so this ends.
fn tell(events: &mpsc::Sender<Event>, event: Event) {
    // Without a driver the process is ending.
    let _stopped = events.blocking_send(event);
}

fn give_up(fatal: &mpsc::Sender<String>, why: &str) {
    let _told_already = fatal.try_send(why.to_owned());
}
