//! The driver: the one task that owns the engine. It hands it events and carries out its commands, in order.
//!
//! Promise: an acknowledgement leaves only through [`Receipts`], which carries the proof of the flush. When the engine
//! has no room, arrivals wait in their channel, and MQTT sockets are not read.
//! Absent: decisions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_agent_engine::{Alarm, Command, Engine, Event, Receipts, Status};
use millrace_host::Clock;
use millrace_host::clock::{ClockQuality, clock_quality};
use millrace_host::systemd::Progress;
use millrace_model::limits::PAYLOAD_BYTES_MAX;
use millrace_model::notice::{GapReason, TOPIC_ROOT};
use millrace_model::{Flags, Record, Topic, Wall};
use millrace_wire::Frame;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::disk::{Consultation, Disk};
use super::episode::Episode;
use super::gauges::Gauges;
use super::open_receipts::OpenReceipts;
use super::uplink::{Session, Uplink};
use crate::mqtt::Arrival;

/// Arrivals handed to the engine in one go.
const ARRIVALS_PER_TURN: usize = 1_024;

/// How often the engine learns the clocks, and the status for scrapers is refreshed.
const PULSE: Duration = Duration::from_secs(1);

/// How long a commit may take before the watchdog calls it stuck. A worn SD card can take seconds.
const COMMIT_DEADLINE: Duration = Duration::from_secs(60);

/// How long an open session may bring no frame although the hub owes an answer. The engine gives such a session up much
/// earlier; this notices when it cannot.
const SYNC_DEADLINE: Duration = Duration::from_secs(180);

/// How long an arrival may wait for the engine while there is room.
const INGEST_DEADLINE: Duration = Duration::from_secs(60);

/// How long the driver waits at the end for the last commit and the goodbye.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// The stages that the watchdog watches.
pub struct Stages {
    /// Arrivals reach the engine.
    pub ingest: Progress,
    /// Commits are flushed.
    pub commit: Progress,
    /// The hub answers.
    pub sync: Progress,
}

/// What the driver hears.
pub struct Ears {
    /// From disk, uplink and schedules.
    pub events: mpsc::Receiver<Event>,
    /// From MQTT.
    pub arrivals: mpsc::Receiver<Arrival>,
    /// From HTTP: who wants the status.
    pub asks: mpsc::Receiver<oneshot::Sender<Status>>,
    /// What ends the process.
    pub fatal: mpsc::Receiver<String>,
}

/// The driver.
pub struct Driver {
    engine: Engine,
    clock: Clock,
    disk: Disk,
    uplink: Arc<Uplink>,
    events: mpsc::Sender<Event>,
    session: Option<Session>,
    receipts: OpenReceipts,
    commit_under_way: bool,
    stages: Stages,
    gauges: Gauges,
    latest: Arc<Mutex<Status>>,
    /// While the disk budget is used up.
    full: Episode,
}

impl Driver {
    /// A driver of `engine`. `events` is the sender of the channel that it will hear.
    #[must_use]
    pub fn new(
        engine: Engine,
        clock: Clock,
        disk: Disk,
        uplink: Arc<Uplink>,
        events: mpsc::Sender<Event>,
        stages: Stages,
        gauges: Gauges,
    ) -> Self {
        let latest = Arc::new(Mutex::new(engine.status()));
        Self {
            engine,
            clock,
            disk,
            uplink,
            events,
            session: None,
            receipts: OpenReceipts::default(),
            commit_under_way: false,
            stages,
            gauges,
            latest,
            full: Episode::default(),
        }
    }

    /// The status as of the last second, for scrapers that cannot wait.
    #[must_use]
    pub fn latest(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.latest)
    }

    /// Runs until `stop` completes; then lets the last commit and the goodbye leave, and closes the store.
    ///
    /// # Errors
    /// Why the store cannot go on.
    pub async fn run(mut self, mut ears: Ears, stop: impl Future<Output = ()>) -> Result<(), String> {
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut arrivals = Vec::with_capacity(ARRIVALS_PER_TURN);
        let mut stop = std::pin::pin!(stop);
        self.tell_clocks();
        loop {
            self.obey();
            let wake = self.engine.poll_timeout().map(|(at, _)| at.since(self.clock.moment()));
            tokio::select! {
                biased;
                why = ears.fatal.recv() => return Err(why.unwrap_or_default()),
                () = &mut stop => break,
                event = ears.events.recv() => self.hear(event),
                _ = pulse.tick() => self.beat(&ears),
                ask = ears.asks.recv() => {
                    if let Some(ask) = ask {
                        let _asker_left = ask.send(self.engine.status());
                    }
                }
                _count = ears.arrivals.recv_many(&mut arrivals, ARRIVALS_PER_TURN), if self.engine.has_room() => {
                    self.take_in(&mut arrivals);
                    self.stages.ingest.tick();
                }
                () = sleep_until(Instant::now() + wake.unwrap_or(PULSE)) => self.tell(Event::Timer),
            }
        }
        self.wind_down(&mut ears).await
    }

    /// After the stop: no arrivals any more (their senders get no receipt and keep what they have), one last commit.
    async fn wind_down(mut self, ears: &mut Ears) -> Result<(), String> {
        self.tell(Event::Shutdown);
        self.obey();
        let deadline = Instant::now() + STOP_DEADLINE;
        while self.commit_under_way || self.session.is_some() || self.engine.status().session != "offline" {
            tokio::select! {
                why = ears.fatal.recv() => return Err(why.unwrap_or_default()),
                event = ears.events.recv() => self.hear(event),
                () = sleep_until(deadline) => break,
            }
            self.obey();
        }
        self.uplink.close().await;
        let disk = self.disk;
        // Threads that still answer need somebody to hear them until they end.
        let stopping = tokio::task::spawn_blocking(move || disk.stop());
        let mut stopping = std::pin::pin!(stopping);
        loop {
            tokio::select! {
                _ended = &mut stopping => return Ok(()),
                _event = ears.events.recv() => {}
            }
        }
    }

    fn beat(&mut self, ears: &Ears) {
        self.tell_clocks();
        let status = self.engine.status();
        if self.engine.has_room() && !ears.arrivals.is_empty() {
            self.stages.ingest.busy(INGEST_DEADLINE);
        } else {
            self.stages.ingest.idle();
        }
        if status.unanswered {
            self.stages.sync.busy(SYNC_DEADLINE);
        } else {
            self.stages.sync.idle();
        }
        self.gauges.show(&status);
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    fn tell_clocks(&mut self) {
        let (wall, mono) = (self.clock.wall(), self.clock.mono_since_boot());
        self.tell(Event::Clocks { wall, mono });
    }

    fn tell(&mut self, event: Event) {
        self.engine.handle_event(event, self.clock.moment());
    }

    fn hear(&mut self, event: Option<Event>) {
        let Some(event) = event else { return };
        match &event {
            Event::Committed { .. } => {
                self.commit_under_way = false;
                self.stages.commit.idle();
                self.gauges.commits.inc();
            }
            Event::CommitRefused { .. } => {
                self.commit_under_way = false;
                self.stages.commit.idle();
            }
            Event::Received(frame) => {
                self.stages.sync.tick();
                if let Frame::Welcome(welcome) = frame {
                    tracing::info!(hub = welcome.name, region = welcome.region, "a session with a hub began");
                }
            }
            Event::Disconnected { .. } => self.session = None,
            _ => {}
        }
        self.tell(event);
    }

    /// Hands the engine what arrived together: one reading of the clocks serves all of it.
    fn take_in(&mut self, arrivals: &mut Vec<Arrival>) {
        let now = self.clock.moment();
        let (wall, mono) = (self.clock.wall(), self.clock.mono_since_boot());
        for arrival in arrivals.drain(..) {
            let event = self.arrived(arrival, wall, mono);
            self.engine.handle_event(event, now);
        }
    }

    /// Turns a publication into a record, or into a loss to be declared.
    fn arrived(&mut self, arrival: Arrival, wall: Wall, mono: u64) -> Event {
        let Arrival { topic, payload, qos, retained, lane, receipt, .. } = arrival;
        let ticket = self.receipts.open(receipt);
        let topic = Topic::new(&topic).ok().filter(|topic| !reserved(topic));
        match topic {
            Some(topic) if payload.len() <= PAYLOAD_BYTES_MAX => {
                let mut flags = Flags::default().with_qos(qos);
                if retained {
                    flags = flags.with(Flags::RETAINED);
                }
                if self.gauges.clock_is_uncertain() {
                    flags = flags.with(Flags::TIME_UNCERTAIN);
                }
                Event::Arrived {
                    ticket,
                    lane,
                    record: Record { flags, ..Record::data(topic, payload, wall, mono) },
                }
            }
            Some(_) => Event::Unfit { ticket, lane, reason: GapReason::Oversize, wall },
            None => Event::Unfit { ticket, lane, reason: GapReason::Topic, wall },
        }
    }

    /// Carries out everything that the engine asks for.
    fn obey(&mut self) {
        while let Some(command) = self.engine.poll_command() {
            match command {
                Command::Commit { commit, changes } => {
                    self.commit_under_way = true;
                    self.stages.commit.busy(COMMIT_DEADLINE);
                    self.disk.commit(commit, changes);
                }
                Command::Acknowledge(receipts) => self.acknowledge(&receipts),
                Command::Connect => self.session = Some(self.uplink.connect(self.events.clone())),
                Command::Disconnect { reason } => {
                    if let Some(session) = self.session.take() {
                        session.end(reason);
                    }
                }
                Command::Send { channel, frame } => {
                    let taken = self.session.as_ref().is_none_or(|session| session.send(channel, frame));
                    if !taken && let Some(session) = self.session.take() {
                        session.end("the road has not moved for thousands of frames".to_owned());
                    }
                }
                Command::Load(request) => self.disk.load(request),
                Command::Check { journal, range } => self.disk.check(journal, range),
                Command::Survey { per_journal } => self.disk.survey(per_journal),
                Command::Consult { session, number, journal, about } => {
                    self.disk.consult(Consultation { session, number, journal, about });
                }
                Command::RememberHubs(hubs) => self.uplink.learn_hubs(hubs),
                Command::Alarm(alarm) => self.raise(&alarm),
            }
        }
    }

    fn acknowledge(&mut self, receipts: &Receipts) {
        for ticket in receipts.stored() {
            if let Some(receipt) = self.receipts.take(*ticket) {
                receipt.stored(receipts.durable());
            }
        }
        for (ticket, reason) in receipts.rejected() {
            if let Some(receipt) = self.receipts.take(*ticket) {
                receipt.rejected(reason.name(), receipts.durable());
            }
        }
        self.gauges.accepted.inc_by(receipts.stored().len() as u64);
        self.gauges.rejected.inc_by(receipts.rejected().len() as u64);
    }

    fn raise(&mut self, alarm: &Alarm) {
        if matches!(alarm, Alarm::Full) && !self.full.begins(self.clock.moment()) {
            return;
        }
        if let Alarm::HubsRenewed { epoch, again: 0, lost: 0 } = alarm {
            tracing::info!(epoch, "the hubs were made anew, and lost nothing of this device");
            return;
        }
        if !matches!(alarm, Alarm::Restored { .. } | Alarm::Regained { .. }) {
            self.gauges.alarms.inc();
        }
        match alarm {
            Alarm::Restored { records, bytes } => {
                tracing::info!(records, bytes, "this device has its history back from the hubs");
            }
            Alarm::Regained { records } => {
                tracing::info!(records, "records that damage took here are back from the hub");
            }
            Alarm::RolledBack { journal } => {
                tracing::error!(%journal, "this device's disk went back in time: a new incarnation begins");
            }
            Alarm::Forked { journal } => {
                tracing::error!(%journal, "somebody else writes under this device's name: look for a clone");
            }
            Alarm::Damaged { journal, range } => {
                tracing::error!(%journal, %range, "stored records are damaged; check this device's disk");
            }
            Alarm::Declined { journal, reason } => tracing::warn!(%journal, reason, "the hub refused a run"),
            Alarm::Unrestorable { journal, reason } => {
                tracing::error!(%journal, reason, "records that a hub brought back are left out");
            }
            Alarm::Full => {
                tracing::error!("the disk budget is used up and nothing more may go: make room, or raise it");
            }
            Alarm::HubsRenewed { epoch, again, lost: 0 } => {
                tracing::info!(
                    epoch,
                    again,
                    "the hubs were made anew: this device has all that they lost, and sends it again"
                );
            }
            Alarm::LeftBehind { reason } => {
                tracing::error!(reason, "a hub was left behind by its cluster: stop it, or take it in again");
            }
            Alarm::HubsRenewed { epoch, again, lost } => {
                tracing::error!(
                    epoch,
                    again,
                    lost,
                    "the hubs were made anew: what they lost is sent again, or lost"
                );
            }
            Alarm::Revoked { reason } => tracing::error!(reason, "this device's certificate is revoked"),
            Alarm::Protocol { reason } => {
                tracing::error!(reason, "agent and hub do not understand each other");
            }
        }
    }
}

fn reserved(topic: &Topic) -> bool {
    topic.as_str().strip_prefix(TOPIC_ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the wall clock is not known to be right.
#[must_use]
pub fn clock_is_uncertain() -> bool {
    clock_quality() != ClockQuality::Synchronised
}
