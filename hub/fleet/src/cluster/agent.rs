//! One agent: its engine over its journal. It wants level quorum, and turns to the next hub when one fails or sends it away.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millrace_agent_engine::{Alarm, Channel, Command, Config, EPOCH_NAME, Engine, Event, LoadRequest};
use millrace_journal::{Author, Options, ScrubCursor, Store};
use millrace_merkle::About;
use millrace_model::notice::Open;
use millrace_model::store::Change;
use millrace_model::{
    AckLevel, DeviceId, Incarnation, JournalId, Lane, Moment, NodeId, RangeSet, Record, SeqRange, Topic, Wall,
};
use millrace_sim::{ConnectionId, Disk, Flush, Node, Notice};
use millrace_wire::Frame;

use super::setback::Copied;
use super::{AGENTS, ClusterWorld, Happening, Talk, node_of};
use crate::invariants::{Violation, wakefulness};

/// What will happen to an agent's process, if it still lives then.
#[derive(Clone, Debug)]
pub(super) enum AgentHappening {
    Timer(Moment),
    Flushed,
    Loaded(LoadRequest),
    Checked(JournalId, SeqRange),
    Surveyed(usize),
    Consulted {
        session: u64,
        number: u64,
        journal: JournalId,
        about: About,
    },
    HungUp,
    /// It reads a little of what it stores.
    Scrub,
}

/// One agent's world.
pub(super) struct Agent {
    pub(super) device: DeviceId,
    incarnation: Incarnation,
    disk: Disk<(u64, Vec<Change>)>,
    pub(super) store: Option<Store>,
    pub(super) engine: Option<Engine>,
    pub(super) image: Option<Vec<u8>>,
    /// What its store claims to have while it is off.
    pub(super) claims: BTreeMap<JournalId, RangeSet>,
    /// A copy of its store.
    pub(super) copied: Option<Copied>,
    pub(super) generation: u32,
    pub(super) connection: Option<ConnectionId>,
    /// Which hub it dialled last.
    pub(super) dialled: NodeId,
    timer_at: Option<Moment>,
    /// Which hub it tries.
    turn: usize,
    ticket: u64,
    /// Where its scrub goes on, and when its passes ended.
    pub(super) scrub: Option<ScrubCursor>,
    pub(super) scrubbed: Vec<Moment>,
}

impl Agent {
    /// What its store claims to have of a journal.
    pub(super) fn present(&self, journal: &JournalId) -> RangeSet {
        match &self.store {
            Some(store) => store.journal(journal).map(|state| state.present).unwrap_or_default(),
            None => self.claims.get(journal).cloned().unwrap_or_default(),
        }
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Agent({}, generation {})", self.device, self.generation)
    }
}

pub(super) fn agent_node(place: usize) -> Node {
    AGENTS + Node::try_from(place).unwrap_or(0)
}

impl ClusterWorld {
    pub(super) fn settle_agent(&mut self, place: usize) {
        let mut device = [0; 16];
        device.fill_with(|| self.random.u8(..));
        let agent = Agent {
            device: DeviceId::from_bytes(device),
            incarnation: Incarnation::new(self.random.u64(..)),
            disk: Disk::new(self.random.u64(..), 200..4_000),
            store: None,
            engine: None,
            image: None,
            claims: BTreeMap::new(),
            copied: None,
            generation: 0,
            connection: None,
            dialled: NodeId(0),
            timer_at: None,
            turn: place,
            ticket: 0,
            scrub: None,
            scrubbed: Vec::new(),
        };
        self.agents.push(agent);
    }

    pub(super) fn start_agent(&mut self, place: usize) {
        let (nonce, seed, now) = (self.random.u64(..), self.random.u64(..), self.now);
        let Some(agent) = self.agents.get_mut(place).filter(|agent| agent.engine.is_none()) else { return };
        // Small segments: so there is something to trim.
        let author = Author { device: agent.device, incarnation_if_new: agent.incarnation };
        let burst_records = self.plan.ageing.as_ref().map_or(8, |ageing| ageing.burst_records);
        let options = Options { burst_records, ..Options::agent(author) };
        let opened = match &agent.image {
            Some(image) => Store::from_image(image, &options),
            None => Store::in_memory(&options),
        };
        let store = match opened {
            Ok(store) => store,
            Err(error) => return self.check(Err(Violation::new("survival", error.to_string()))),
        };
        agent.store = Some(store);
        agent.generation += 1;
        (agent.connection, agent.timer_at) = (None, None);
        self.agent_opened(place);
        let open = Open {
            boot: String::new(),
            nonce: format!("{nonce:016x}"),
            clock: "unknown".to_owned(),
            software: "fleet".to_owned(),
            previous: None,
            reason: None,
        };
        if let Some(record) = open.to_record(Wall(0), now.0) {
            self.write(place, 0, &[Change::Append { lane: Lane::Urgent, records: vec![record] }]);
        }
        let Some(agent) = self.agents.get_mut(place) else { return };
        let Some(store) = &agent.store else { return };
        let config = Config {
            level: AckLevel::Quorum,
            grace: self.plan.ageing.as_ref().map_or(Duration::from_secs(2), |ageing| ageing.grace),
            trim_interval: Duration::from_secs(3),
            answer_timeout: Duration::from_secs(20),
            backoff_max: Duration::from_secs(4),
            ..Config::new(agent.device, "fleet")
        };
        let (incarnation, usage) = (store.incarnation().unwrap_or(agent.incarnation), store.usage());
        let mut engine = Engine::new(config, incarnation, store.journals(), usage, seed, now);
        if let Ok(Some(epoch)) = store.recall(EPOCH_NAME) {
            engine.recall_epoch(&epoch);
        }
        agent.engine = Some(engine);
        self.network.start(agent_node(place));
        self.tell(place, Event::Clocks { wall: Wall(0), mono: now.0 });
        self.agent_scrubs(place);
    }

    pub(super) fn cut_agent_power(&mut self, place: usize) {
        self.network.crash(agent_node(place));
        let Some(agent) = self.agents.get_mut(place) else { return };
        if agent.engine.take().is_none() {
            return;
        }
        if let Some((commit, changes)) = agent.disk.crash() {
            self.write(place, commit, &changes);
        }
        let Some(agent) = self.agents.get_mut(place) else { return };
        let Some(mut store) = agent.store.take() else { return };
        agent.claims = store.journals().into_iter().map(|state| (state.journal, state.present)).collect();
        match store.image() {
            Ok(image) => agent.image = Some(image),
            Err(error) => self.check(Err(Violation::new("survival", error.to_string()))),
        }
    }

    pub(super) fn later(&mut self, place: usize, span: Duration, what: AgentHappening) {
        let generation = self.agents.get(place).map_or(0, |agent| agent.generation);
        self.timeline.after(span, Happening::Agent { place, generation, what });
    }

    pub(super) fn tell(&mut self, place: usize, event: Event) {
        let now = self.now;
        let Some(engine) = self.agents.get_mut(place).and_then(|agent| agent.engine.as_mut()) else { return };
        engine.handle_event(event, now);
        while self.violation.is_none() {
            let engine = self.agents.get_mut(place).and_then(|agent| agent.engine.as_mut());
            let Some(command) = engine.and_then(Engine::poll_command) else { break };
            self.obey(place, command);
        }
        self.set_timer(place);
    }

    fn set_timer(&mut self, place: usize) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(place) else { return };
        let Some((at, _)) = agent.engine.as_ref().and_then(Engine::poll_timeout) else { return };
        let at = at.max(now);
        if agent.timer_at.is_none_or(|set| at < set) {
            agent.timer_at = Some(at);
            self.later(place, at.since(now), AgentHappening::Timer(at));
        }
    }

    fn obey(&mut self, place: usize, command: Command) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(place) else { return };
        match command {
            Command::Commit { commit, changes } => {
                let span = agent.disk.begin((commit, changes));
                self.later(place, span, AgentHappening::Flushed);
            }
            Command::Acknowledge(receipts) => self.told += receipts.stored().len(),
            Command::Connect => {
                let hubs = self.hubs_to_try(place);
                let Some(agent) = self.agents.get_mut(place) else { return };
                let hub = hubs.get(agent.turn % hubs.len().max(1)).copied().unwrap_or_default();
                agent.dialled = hub;
                agent.connection = Some(self.network.connect(agent_node(place), node_of(hub), now));
            }
            Command::Disconnect { reason } => {
                self.transcript.note(now, format_args!("agent {place} hangs up: {reason}"));
                if let Some(connection) = agent.connection.take() {
                    self.network.close(connection, agent_node(place), false, now);
                }
                self.later(place, Duration::ZERO, AgentHappening::HungUp);
            }
            Command::Send { frame: Frame::Fetch(fetch), .. } => self.asks_back(place, fetch),
            Command::Send { channel, frame } => {
                if let Some(connection) = agent.connection {
                    let code = match channel {
                        Channel::Control => 0,
                        Channel::Live => 1,
                        Channel::Backlog => 2,
                    };
                    self.carry(connection, agent_node(place), code, Talk::Agent(frame));
                }
            }
            Command::Load(request) => {
                let span = agent.disk.time_to_read();
                self.later(place, span, AgentHappening::Loaded(request));
            }
            Command::Check { journal, range } => {
                let span = agent.disk.time_to_read();
                self.later(place, span, AgentHappening::Checked(journal, range));
            }
            Command::Survey { per_journal } => {
                let span = agent.disk.time_to_read();
                self.later(place, span, AgentHappening::Surveyed(per_journal));
            }
            Command::Consult { session, number, journal, about } => {
                let span = agent.disk.time_to_read();
                self.later(place, span, AgentHappening::Consulted { session, number, journal, about });
            }
            Command::RememberHubs(_) => {}
            Command::Alarm(alarm) => self.agent_alarmed(place, &alarm),
        }
    }

    fn agent_alarmed(&mut self, place: usize, alarm: &Alarm) {
        self.transcript.note(self.now, format_args!("agent {place} alarm: {alarm:?}"));
        let by_right = match alarm {
            Alarm::Full => true,
            Alarm::HubsRenewed { .. } => self.oracle.epoch > 0,
            Alarm::Damaged { journal, range } => self.truth.was_lost(journal, *range),
            Alarm::RolledBack { journal } | Alarm::Forked { journal } => self.truth.may_turn(&journal.device),
            Alarm::Regained { records } => *records <= self.truth.wear.device_regained,
            _ => false,
        };
        if !by_right {
            let what = format!("agent {place}, all honest: {alarm:?}");
            self.check(Err(Violation::new("protocol", what)));
        }
    }

    pub(super) fn agent_noticed(&mut self, place: usize, notice: Notice<Talk>) {
        let current = self.agents.get(place).and_then(|agent| agent.connection);
        match notice {
            Notice::Connected { connection, .. } if current == Some(connection) => {
                self.tell(place, Event::Connected);
            }
            Notice::Frame { connection, frame: Talk::Agent(frame), .. } if current == Some(connection) => {
                self.tell(place, Event::Received(frame));
            }
            Notice::Taken { connection, channel, bytes, .. } if current == Some(connection) && bytes > 0 => {
                let channel = if channel == 1 { Channel::Live } else { Channel::Backlog };
                self.tell(place, Event::Sent { channel, bytes });
            }
            Notice::Ended { connection, reason, .. } if current == Some(connection) => {
                if let Some(agent) = self.agents.get_mut(place) {
                    agent.connection = None;
                    agent.turn += 1;
                }
                self.tell(place, Event::Disconnected { reason: reason.to_owned(), unwelcome: false });
            }
            _ => {}
        }
    }

    pub(super) fn agent_happened(&mut self, place: usize, generation: u32, what: AgentHappening) {
        let now = self.now;
        let lives = |agent: &&mut Agent| agent.engine.is_some() && agent.generation == generation;
        let Some(agent) = self.agents.get_mut(place).filter(lives) else { return };
        match what {
            AgentHappening::Timer(at) => {
                if agent.timer_at != Some(at) {
                    return;
                }
                agent.timer_at = None;
                let due = |agent: &Agent| agent.engine.as_ref().and_then(Engine::poll_timeout);
                if due(agent).is_some_and(|(at, _)| at <= now) {
                    self.tell(place, Event::Timer);
                    let next = self.agents.get(place).and_then(due);
                    self.check(wakefulness::sleeps(&format!("agent {place}"), next, now));
                }
                self.set_timer(place);
            }
            AgentHappening::Flushed => {
                if let Some(Flush::Flushed((commit, changes))) = agent.disk.finish() {
                    self.agent_flushed(place, commit, &changes);
                }
            }
            AgentHappening::HungUp => {
                agent.turn += 1;
                let reason = "closed from here".to_owned();
                self.tell(place, Event::Disconnected { reason, unwelcome: false });
            }
            AgentHappening::Scrub => self.agent_scrubs(place),
            read => self.agent_read(place, read),
        }
    }

    /// Something is published, if the agent listens.
    pub(super) fn publish(&mut self, place: usize) {
        let now = self.now;
        let span = Duration::from_millis(self.random.u64(30..400));
        if self.healed_at.is_some_and(|healed| now.since(healed) >= Duration::from_secs(3)) {
            return;
        }
        self.timeline.after(span, Happening::Publish(place));
        let count = if self.random.u8(0..30) == 0 { 300 } else { 1 };
        for _ in 0..count {
            let lane = *self.random.choice(Lane::ALL.iter()).unwrap_or(&Lane::Normal);
            let Some(agent) = self.agents.get_mut(place) else { return };
            if !agent.engine.as_ref().is_some_and(Engine::has_room) {
                return;
            }
            agent.ticket += 1;
            let ticket = agent.ticket;
            let Ok(topic) = Topic::new("fleet/reading") else { return };
            let payload = Bytes::copy_from_slice(&ticket.to_be_bytes());
            let record = Record::data(topic, payload, Wall(0), now.0);
            self.tell(place, Event::Arrived { ticket, lane, record });
        }
    }
}
