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

/// Jobs that may wait for the writer: the engine has one commit and one survey under way, and each damage found asks for a quarantine. A hub
/// may have asked sixteen questions, each of which meets damage.
const WRITER_QUEUE: usize = 64;

/// Jobs that may wait for the reader: the engine has a read per channel, and a few checks, under way.
const READER_QUEUE: usize = 256;

/// The store of a running agent.
pub struct Disk {
    writer: Writer,
    reading: SyncSender<Read>,
    reader: JoinHandle<()>,
    mender: Mender,
}

/// Takes damage out of the way, whoever found it. Cheap to clone.
#[derive(Clone)]
pub struct Mender {
    writing: WriterHandle,
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
        let mender = Mender { writing, events, fatal };
        let desk = Desk { reader, mender: mender.clone() };
        let reader = std::thread::Builder::new().name("reader".into()).spawn(move || desk.serve(&jobs))?;
        Ok(Self { writer, reading, reader, mender })
    }

    /// Who takes damage out of the way.
    #[must_use]
    pub fn mender(&self) -> Mender {
        self.mender.clone()
    }

    /// Flushes changes; answered by `Committed` or `CommitRefused`.
    pub fn commit(&self, commit: u64, changes: Vec<Change>) {
        let Mender { events, fatal, .. } = self.mender.clone();
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
        let Mender { events, fatal, .. } = self.mender.clone();
        self.visit(move |store| match store.survey(per_journal) {
            Ok(segments) => tell(&events, Event::Surveyed { segments }),
            Err(error) => give_up(&fatal, &error.to_string()),
        });
    }

    fn visit(&self, visit: impl FnOnce(&mut Store) + Send + 'static) {
        if let Err(busy) = self.mender.writing.visit(visit) {
            self.mender.give_up(&busy.to_string());
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
            Err(TrySendError::Full(_)) => self.mender.give_up("the reader's queue is full"),
            Err(TrySendError::Disconnected(_)) => self.mender.give_up("the reader has stopped"),
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
    mender: Mender,
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
            Ok(runs) => self.mender.tell(Event::Loaded { request, runs }),
            Err(ReadError::Damaged { journal, range, what }) => {
                let events = self.mender.events.clone();
                self.mender.put_aside(journal, range, &what, move |aside| match aside {
                    Some(aside) if !aside.ranges.is_empty() => {
                        tell(&events, Event::Damaged { request: Some(request), aside });
                    }
                    // The disk is too full for it. The records count as sent, and wait for the next session.
                    _ => tell(&events, Event::Loaded { request, runs: Vec::new() }),
                });
            }
            Err(error) => self.mender.give_up(&error.to_string()),
        }
    }

    fn check(&self, journal: JournalId, range: SeqRange) {
        match self.reader.checks(&journal, range) {
            Ok(checks) => self.mender.tell(Event::Checked { journal, range, checks }),
            Err(ReadError::Damaged { journal: damaged, range: lost, what }) => {
                let (events, checks) = (self.mender.events.clone(), Vec::new());
                self.mender.take_out(damaged, lost, &what, move |_| {
                    tell(&events, Event::Checked { journal, range, checks });
                });
            }
            Err(error) => self.mender.give_up(&error.to_string()),
        }
    }

    fn consult(&self, asked: &Consultation) {
        let Consultation { session, number, journal, about } = asked;
        let (session, number) = (*session, *number);
        let answer = move |told| Event::Consulted { session, number, told };
        match self.reader.tell(journal, about) {
            Ok(told) => self.mender.tell(answer(told)),
            Err(ReadError::Damaged { journal, range, what }) => {
                let events = self.mender.events.clone();
                self.mender.take_out(journal, range, &what, move |_| tell(&events, answer(Told::Unreadable)));
            }
            Err(error) => {
                tracing::warn!(%journal, %error, "the hub's question about a journal cannot be answered");
                self.mender.tell(answer(Told::Unreadable));
            }
        }
    }
}

impl Mender {
    fn tell(&self, event: Event) {
        tell(&self.events, event);
    }

    fn give_up(&self, why: &str) {
        give_up(&self.fatal, why);
    }

    /// Puts damaged records aside and tells the driver; then whoever met them goes on, and hears whether that was done: a disk may be too
    /// full for it.
    pub fn take_out(
        &self,
        journal: JournalId,
        range: SeqRange,
        what: &str,
        then: impl FnOnce(bool) + Send + 'static,
    ) {
        let events = self.events.clone();
        self.put_aside(journal, range, what, move |aside| {
            let done = aside.is_some();
            if let Some(aside) = aside {
                tell(&events, Event::Damaged { request: None, aside });
            }
            then(done);
        });
    }

    fn put_aside(
        &self,
        journal: JournalId,
        range: SeqRange,
        what: &str,
        then: impl FnOnce(Option<Quarantined>) + Send + 'static,
    ) {
        tracing::warn!(%journal, %range, what, "stored records are damaged");
        let fatal = self.fatal.clone();
        let asked = self.writing.quarantine(journal, range, move |aside| match aside {
            Ok(aside) => then(Some(aside)),
            Err(CommitError::Refused(_)) => then(None),
            Err(error) => give_up(&fatal, &error.to_string()),
        });
        if let Err(busy) = asked {
            self.give_up(&busy.to_string());
        }
    }

    /// Reckons the digest of a journal anew from its rows; then whoever found it wrong goes on.
    pub fn mend_digest(&self, journal: JournalId, then: impl FnOnce() + Send + 'static) {
        let asked = self.writing.visit(move |store| {
            match store.rebuild_digest(&journal) {
                Ok(wrong) if wrong => {
                    tracing::error!(%journal, "a digest was not that of its rows: it is right again");
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%journal, %error, "a digest could not be put right"),
            }
            then();
        });
        if let Err(error) = asked {
            tracing::warn!(%journal, %error, "a wrong digest is put right in the next pass");
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
