//! The driver: the one task that owns the engine, feeds it and carries out what it asks for.
//!
//! ```text
//!  sessions ──Input (256)──▶ ┌────────┐ ──Outgoing (128 each)──▶ sessions
//!  API      ──Input───────▶  │ driver │ ──visit──▶ journal thread ──Answer (16)──▶ driver
//!  signals  ──────────────▶  │ engine │ ──check──▶ readers ────────Answer────────▶ driver
//!  peers    ──Input───────▶  │        │ ──load───▶ readers ────────Answer────────▶ driver
//!                            │        │ ──Way (one each)──▶ replication streams
//!                            └────────┘ ──Stored (1024, oldest dropped)──▶ followers
//! ```
//!
//! Promise: the engine hears of a commit only after the journal's thread returned the proof of its flush. When the input
//! channel is full, sessions stop reading; the driver itself never waits for a session, the disk or a follower.
//! Absent: decisions (the engine), bytes (sessions).

mod carrying;
pub mod input;
mod keeping;
mod recalling;
mod repairing;
mod replicating;
#[cfg(test)]
pub(crate) mod tests;
pub mod way;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_host::systemd::Progress;
use millrace_host::{Clock, Exit, Shutdown};
use millrace_hub_engine::{Alarm, Engine, Event, Holdings, LinkId, Retained, Wanted};
use millrace_journal::WriterHandle;
use millrace_model::store::Change;
use millrace_model::{DeviceId, JournalId, Moment, NodeId, Partition, SeqRange};
use tokio::sync::{broadcast, mpsc};
use tokio::time::MissedTickBehavior;

use crate::alarms::AlarmBoard;
use crate::meters::Meters;
use crate::pulse::Pulse;
use crate::reading::Reading;
use crate::registry::Registry;
use crate::repairs::Repairs;
use crate::retention::Looking;
use input::{Answer, Answers, Begun, Consultation, Input, Line, Load, Seen, Snapshot, Stored};
use way::Way;

pub use replicating::ToCluster;

/// Inputs that wait for the engine. When full, sessions stop reading from their agents. What the runs among them hold
/// is bounded by the engine's credit.
pub const INPUTS_MAX: usize = 256;
/// Checks that run at once, over connections of their own: a session never waits for people's queries.
pub const CHECKS_RUNNING_MAX: usize = 2;
/// Checks that wait. When there are more, no input is taken until some are answered.
const CHECKS_WAITING_MAX: usize = 4_096;
/// Loads for other hubs that run at once, over connections of their own: neither sessions nor queries wait for them.
pub const LOADS_RUNNING_MAX: usize = 2;
/// Reads for devices that get their history back that run at once, over the connections for loads: replication has the other one.
pub const RECALLS_RUNNING_MAX: usize = 1;
/// Loads that wait; the engine has one under way for each other hub. When there are more, no input is taken until some are answered.
const LOADS_WAITING_MAX: usize = 1_024;
/// Batches of new records that a follower may lag behind before it is told that it missed some.
pub const STORED_KEPT_MAX: usize = 1_024;
/// Sightings that wait for the registry; further ones are dropped, they are hints.
const SEEN_WAITING_MAX: usize = 1_024;
/// Inputs that are taken before commands are carried out: enough to fill a commit.
const INPUTS_AT_ONCE: usize = 64;
/// How often the engine learns the wall clock, and the watchdog learns that the loop turns.
const TICK: Duration = Duration::from_secs(2);
/// Longest turn of the loop before it counts as stuck.
const LOOP_DEADLINE: Duration = Duration::from_secs(20);
/// Longest commit before it counts as stuck: a slow disk that carries a long log over.
const COMMIT_DEADLINE: Duration = Duration::from_secs(25);
/// Pause before a commit is offered again to a queue that was full.
const HELD_RETRY: Duration = Duration::from_millis(20);
/// How long goodbyes and the last commits may take.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What a driver works with.
pub struct Parts {
    /// The engine, over the opened store.
    pub engine: Engine,
    /// Time.
    pub clock: Clock,
    /// Who is revoked, and who was seen.
    pub registry: Arc<Registry>,
    /// Where alarms go.
    pub board: AlarmBoard,
    /// Where reports of what was mended go.
    pub repairs: Repairs,
    /// Where figures go.
    pub meters: Meters,
    /// The way on which disk and readers answer.
    pub answers: Answers,
    /// The journal's thread.
    pub writer: WriterHandle,
    /// Connections for checks: [`CHECKS_RUNNING_MAX`] of them.
    pub checking: Reading,
    /// Connections for reading what other hubs lack: [`LOADS_RUNNING_MAX`] of them.
    pub loading: Reading,
    /// Connections for answering questions about journals: [`CHECKS_RUNNING_MAX`] of them.
    pub consulting: Reading,
    /// Who speaks to control.
    pub cluster: ToCluster,
    /// What the hub says about itself.
    pub pulse: Arc<Pulse>,
    /// Whether it is time for retention to look.
    pub looking: Looking,
    /// Whether it is time to compare all copies.
    pub comparing: Looking,
    /// Where retention's memory stands.
    pub memory: PathBuf,
}

/// Why the driver ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It was asked to.
    #[error("it was asked to stop")]
    Asked,
    /// The store is poisoned: the process must end, the next one verifies.
    #[error("the store is poisoned: {0}")]
    Poisoned(String),
    /// What the cluster decides can be neither written nor read: the process must end, the next one verifies.
    #[error("this hub's part in its cluster's decisions has ended: {0}")]
    Decisions(String),
    /// A task that the hub needs has ended too early.
    #[error("a task that the hub needs has ended: {name}: {why}")]
    Task {
        /// Which.
        name: &'static str,
        /// Why.
        why: String,
        /// What the process is to end with.
        exit: Exit,
    },
    /// The journal's thread is gone. A fault in the program.
    #[error("the journal's thread has ended")]
    WriterGone,
}

/// Everyone's way to the driver. Cheap to clone.
#[derive(Clone)]
pub struct DriverHandle {
    inputs: mpsc::Sender<Input>,
    stored: broadcast::Sender<Stored>,
}

impl DriverHandle {
    /// A way to a driver of the test's own, and what comes on it.
    #[cfg(test)]
    pub(crate) fn fake() -> (Self, mpsc::Receiver<Input>) {
        let (inputs, taken) = mpsc::channel(INPUTS_MAX);
        (Self { inputs, stored: broadcast::channel(1).0 }, taken)
    }

    /// Hands something to the driver; waits while it has enough. `false` when it has ended.
    pub async fn tell(&self, input: Input) -> bool {
        self.inputs.send(input).await.is_ok()
    }

    /// How things stand now; `None` when the driver has ended.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.inputs.send(Input::Ask(reply)).await.ok()?;
        answer.await.ok()
    }

    /// The partitions of which something is being fetched that damage took; `None` when the driver has ended.
    pub async fn hurt(&self) -> Option<BTreeSet<Partition>> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.inputs.send(Input::AskHurt(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Has comparisons begin, and says with whom; `None` when the driver has ended.
    pub async fn repair(&self, wanted: Wanted) -> Option<Begun> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.inputs.send(Input::Repair(wanted, reply)).await.ok()?;
        answer.await.ok()
    }

    /// What is here of all that this hub and another one both keep; `None` when the driver has ended.
    pub async fn holdings(&self, node: NodeId) -> Option<Holdings> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.inputs.send(Input::Weigh(node, reply)).await.ok()?;
        answer.await.ok()
    }

    /// New records, from now on.
    #[must_use]
    pub fn follow(&self) -> broadcast::Receiver<Stored> {
        self.stored.subscribe()
    }

    /// Inputs that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inputs.max_capacity().saturating_sub(self.inputs.capacity())
    }
}

/// The driver; see the module.
pub struct Driver {
    pub(crate) parts: Parts,
    inputs: mpsc::Receiver<Input>,
    answers: mpsc::Receiver<Answer>,
    answer: mpsc::Sender<Answer>,
    stored: broadcast::Sender<Stored>,
    seen: mpsc::Sender<Seen>,
    lines: BTreeMap<LinkId, Line>,
    checks: VecDeque<(JournalId, SeqRange)>,
    checking: usize,
    /// My replication streams to other hubs, and theirs to me.
    peers: BTreeMap<NodeId, Way>,
    guests: BTreeMap<LinkId, Way>,
    loads: VecDeque<Load>,
    loading: usize,
    recalls: VecDeque<recalling::Recall>,
    recalling: usize,
    consultations: VecDeque<Consultation>,
    consulting: usize,
    commit_asked: Moment,
    /// A commit that the journal's queue had no room for.
    held: Option<(u64, Arc<Vec<Change>>)>,
    busy: bool,
    /// What of retention's work is counted in the figures.
    counted: Retained,
    saving: bool,
    saved_at: Option<Moment>,
    turning: Progress,
    committing: Progress,
    ended: Option<Ended>,
    /// Why nobody is to have a session here.
    exiled: Option<String>,
    /// Devices that had a session when the hub was told to stop.
    here_at_the_end: BTreeSet<DeviceId>,
}

impl Driver {
    /// A driver over these parts, and the way to it.
    #[must_use]
    pub fn new(mut parts: Parts) -> (Self, DriverHandle) {
        let (send, inputs) = mpsc::channel(INPUTS_MAX);
        let Answers { send: answer, taken: answers } = std::mem::take(&mut parts.answers);
        let (stored, _) = broadcast::channel(STORED_KEPT_MAX);
        let (seen, sightings) = mpsc::channel(SEEN_WAITING_MAX);
        note_sightings(Arc::clone(&parts.registry), parts.clock.clone(), sightings);
        let handle = DriverHandle { inputs: send, stored: stored.clone() };
        let (turning, committing) =
            (parts.pulse.watchdog.stage("engine"), parts.pulse.watchdog.stage("commit"));
        let counted = parts.engine.retained();
        let driver = Self {
            parts,
            inputs,
            answers,
            answer,
            stored,
            seen,
            lines: BTreeMap::new(),
            checks: VecDeque::new(),
            checking: 0,
            peers: BTreeMap::new(),
            guests: BTreeMap::new(),
            loads: VecDeque::new(),
            loading: 0,
            recalls: VecDeque::new(),
            recalling: 0,
            consultations: VecDeque::new(),
            consulting: 0,
            commit_asked: Moment(0),
            held: None,
            busy: false,
            counted,
            saving: false,
            saved_at: None,
            turning,
            committing,
            ended: None,
            exiled: None,
            here_at_the_end: BTreeSet::new(),
        };
        (driver, handle)
    }

    /// Works until `shutdown`, then says goodbye to all and sees the last commits flushed; or until the store fails.
    pub async fn run(mut self, shutdown: Shutdown) -> Ended {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop_by: Option<Moment> = None;
        self.turning.busy(LOOP_DEADLINE);
        loop {
            let pause = self.pause(stop_by);
            tokio::select! {
                biased;
                Some(answer) = self.answers.recv() => self.answered(answer),
                _ = ticks.tick() => self.tick(),
                () = tokio::time::sleep(pause) => self.feed(Event::Timer),
                () = shutdown.triggered(), if stop_by.is_none() => {
                    stop_by = Some(self.parts.clock.moment() + STOP_PATIENCE);
                    self.here_at_the_end = self.greeted();
                    self.feed(Event::Shutdown);
                }
                Some(input) = self.inputs.recv(), if self.has_room() => {
                    self.take(input);
                    self.take_more();
                }
            }
            self.turning.tick();
            self.carry_out();
            if let Some(ended) = self.ended.take() {
                return ended;
            }
            if stop_by.is_some_and(|by| self.is_done() || by <= self.parts.clock.moment()) {
                self.remember_last().await;
                self.note_last().await;
                return Ended::Asked;
            }
        }
    }

    /// Whether inputs may be taken: what they ask for must not pile up.
    fn has_room(&self) -> bool {
        self.checks.len() < CHECKS_WAITING_MAX
            && self.loads.len() < LOADS_WAITING_MAX
            && self.consultations.len() < LOADS_WAITING_MAX
    }

    fn greeted(&self) -> BTreeSet<DeviceId> {
        self.lines.values().filter(|line| line.greeted).map(|line| line.device).collect()
    }

    fn is_done(&self) -> bool {
        self.lines.is_empty() && !self.parts.engine.is_busy()
    }

    /// How long to sleep when nothing happens.
    fn pause(&self, stop_by: Option<Moment>) -> Duration {
        if self.held.is_some() {
            return HELD_RETRY;
        }
        let wake = self.parts.engine.poll_timeout().map(|(at, _)| at);
        let next = wake.into_iter().chain(stop_by).min();
        next.map_or(TICK, |at| at.since(self.parts.clock.moment()))
    }

    fn feed(&mut self, event: Event) {
        let now = self.parts.clock.moment();
        self.parts.engine.handle_event(event, now);
    }

    fn tick(&mut self) {
        self.feed(Event::Clock { wall: self.parts.clock.wall() });
        self.parts.pulse.full(self.parts.engine.is_full());
        self.parts.meters.sessions.set(signed(self.parts.engine.sessions()));
        self.parts.meters.waiting_events.set(signed(self.inputs.len()));
        let engine = &self.parts.engine;
        self.parts.meters.cluster.replicate(engine.fullness(), &engine.replication());
        if self.parts.looking.take() {
            self.look();
        }
        if self.parts.comparing.take() {
            self.feed(Event::Repair(Wanted::default()));
        }
        self.remember();
    }

    fn take_more(&mut self) {
        for _ in 1..INPUTS_AT_ONCE {
            match self.inputs.try_recv() {
                Ok(input) => self.take(input),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened { link, line } if self.exiled.is_some() => {
                self.lines.insert(link, line);
                self.exile(link);
            }
            Input::Opened { link, line } => {
                let (device, key) = (line.device, line.key);
                self.lines.insert(link, line);
                self.feed(Event::Opened { link, device });
                // The handshake asked the registry before; a revocation may have come between.
                if let Some(revoked) = self.parts.registry.revocation(&device) {
                    self.feed(Event::Revoked { device, reason: revoked.reason });
                } else if self.parts.registry.is_former(&device, &key) {
                    self.feed(Event::Replaced { links: vec![link] });
                }
            }
            Input::Event(Event::Closed { link }) => {
                if let Some(line) = self.lines.remove(&link).filter(|line| line.greeted) {
                    self.saw(Seen::Left { device: line.device });
                }
                self.feed(Event::Closed { link });
            }
            Input::PeerUp { node, way } => self.peer_up(node, way),
            Input::GuestUp { guest, node, way } => self.guest_up(guest, node, way),
            Input::Event(event) => {
                match &event {
                    Event::PeerDown { node } => drop(self.peers.remove(node)),
                    Event::GuestDown { guest } => drop(self.guests.remove(guest)),
                    _ => {}
                }
                self.feed(event);
            }
            Input::Exiled(why) => {
                self.exiled = why;
                self.lines.keys().for_each(|link| self.exile(*link));
            }
            Input::Replaced(device) => self.replaced(device),
            Input::Violation { link, reason } => self.violated(link, &reason),
            Input::Reconfigure(config) => self.feed(Event::Reconfigured(config)),
            // Whoever asked may have gone.
            Input::Ping(reply) => drop(reply.send(())),
            Input::AskHurt(reply) => drop(reply.send(self.parts.engine.hurt())),
            Input::Ask(reply) => {
                let snapshot = self.snapshot();
                // Whoever asked may have gone.
                let _ = reply.send(snapshot);
            }
            Input::Repair(wanted, reply) => {
                let begun = self.repair(wanted);
                // Whoever asked may have gone.
                let _ = reply.send(begun);
            }
            // Whoever asked may have gone.
            Input::Weigh(node, reply) => drop(reply.send(self.parts.engine.holdings(node))),
        }
    }

    /// Another machine took the place of a device: whoever has a key of the former one is cut off.
    fn replaced(&mut self, device: DeviceId) {
        self.alarm(&Alarm::Replaced { device });
        let registry = &self.parts.registry;
        let former = |line: &Line| line.device == device && registry.is_former(&device, &line.key);
        let links = self.lines.iter().filter(|(_, line)| former(line)).map(|(link, _)| *link).collect();
        self.feed(Event::Replaced { links });
    }

    fn snapshot(&self) -> Snapshot {
        let engine = &self.parts.engine;
        Snapshot {
            devices: engine.devices(),
            sessions: engine.sessions(),
            connections: self.lines.len(),
            usage: engine.usage(),
            full: engine.is_full(),
            busy: engine.is_busy(),
            retained: engine.retained(),
            fullness: engine.fullness(),
            owed: engine.replication(),
            mending: engine.mending(self.parts.clock.moment()),
            rounds: engine.rounds(self.parts.clock.moment()),
            demanded: engine.demanded(),
        }
    }

    /// Has the registry note that a device is, or was just, here. One that does not fit is dropped: it is a hint.
    fn saw(&self, seen: Seen) {
        let _ = self.seen.try_send(seen);
    }
}

/// Writes sightings into the registry, on a thread that may wait for the disk.
fn note_sightings(registry: Arc<Registry>, clock: Clock, mut sightings: mpsc::Receiver<Seen>) {
    tokio::task::spawn_blocking(move || {
        while let Some(seen) = sightings.blocking_recv() {
            match seen {
                Seen::Came { device, software, key } => registry.seen(device, &software, key, clock.wall()),
                Seen::Left { device } => registry.left(device, clock.wall()),
            }
        }
    });
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
