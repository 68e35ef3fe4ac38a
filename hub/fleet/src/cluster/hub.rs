//! One hub: its engine, and its journal on a slow disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_hub_engine::{Asker, Command, Config, Engine, Event, Memory, Placed, Synced};
use millrace_journal::{Options, ScrubCursor, Store};
use millrace_merkle::About;
use millrace_model::store::Change;
use millrace_model::{Incarnation, JournalId, Moment, NodeId, Partition, RangeSet, Seq, SeqRange};
use millrace_sim::{ConnectionId, Disk, Notice};
use millrace_wire::{Frame, PeerFrame};

use super::oracle::{name_of, region_of};
use super::{ClusterWorld, Happening, Talk, node_of};
use crate::ClusterSabotage;
use crate::invariants::{Violation, aside, thrift, wakefulness};

/// Under which name a store remembers its life.
pub(super) const LIFE: &str = "store-incarnation";

/// When the only hub says that what it lost is lost.
const OVERDUE_AFTER: Duration = Duration::from_secs(60);

/// What will happen to a hub's process, if it still lives then.
#[derive(Clone, Debug)]
pub(super) enum HubHappening {
    Noticed(Notice<Talk>),
    Timer(Moment),
    Flushed,
    Checked(JournalId, SeqRange),
    Loaded {
        node: NodeId,
        journal: JournalId,
        range: SeqRange,
        bytes_max: usize,
    },
    Consulted {
        asker: Asker,
        number: u64,
        journal: JournalId,
        about: About,
    },
    /// A device gets back what it lost.
    Fetched {
        link: ConnectionId,
        journal: JournalId,
        ranges: RangeSet,
        bytes_max: usize,
    },
    Closed(ConnectionId),
    Placed {
        revision: u64,
        placed: Box<Placed>,
    },
    Dial(NodeId),
    Drain(bool),
    KeepUp,
    /// Somebody queries it.
    Read,
    /// It reads a little of what it stores.
    Scrub,
    /// It looks what has been kept for long enough.
    Look,
}

/// A copy of a store: its image, what of it is sound, and what is damaged.
#[derive(Clone)]
pub(super) struct Backup {
    pub(super) image: Vec<u8>,
    pub(super) sound: BTreeMap<JournalId, RangeSet>,
    pub(super) damaged: BTreeMap<JournalId, RangeSet>,
    pub(super) floors: BTreeMap<JournalId, Seq>,
}

/// One hub's world.
pub(super) struct Hub {
    pub(super) disk: Disk<(u64, Vec<Change>)>,
    pub(super) store: Option<Store>,
    pub(super) engine: Option<Engine>,
    pub(super) image: Option<Vec<u8>>,
    pub(super) backup: Option<Backup>,
    /// Which life its store lives.
    pub(super) life: Incarnation,
    /// The life before that, when it was given a new one while it ran: the same disk.
    pub(super) before: Option<Incarnation>,
    pub(super) generation: u32,
    pub(super) isolated: bool,
    pub(super) paused: bool,
    pub(super) removed: bool,
    /// What came while it was paused.
    deferred: Vec<HubHappening>,
    timer_at: Option<Moment>,
    pub(super) placed: Option<Placed>,
    pub(super) revision: u64,
    /// Connections that it dialled, and those that others dialled.
    pub(super) roads: BTreeMap<NodeId, ConnectionId>,
    pub(super) guests: BTreeMap<ConnectionId, NodeId>,
    pub(super) agents: BTreeSet<ConnectionId>,
    /// What its engine last said that it has synced.
    pub(super) reported: Synced,
    /// Everything that it ever said so, for a hub that is to remember it.
    pub(super) ever_synced: BTreeSet<Partition>,
    /// It will look again whether what it said was heard.
    pub(super) keeps_up: bool,
    /// Where its scrub goes on, and when its passes ended.
    pub(super) scrub: Option<ScrubCursor>,
    pub(super) scrubbed: Vec<Moment>,
    /// What retention remembers from one process to the next.
    pub(super) memory: Memory,
    /// What other hubs told this process that they have, and what agents brought to it.
    pub(super) told: BTreeMap<NodeId, thrift::Told>,
    pub(super) brought: thrift::Told,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Hub(generation {}, store {})", self.generation, self.life)
    }
}

impl ClusterWorld {
    pub(super) fn settle_hub(&mut self, node: NodeId, life: Incarnation) {
        let (first, others) = self.plan.disk_micros.clone();
        let micros = if self.hubs.is_empty() { first } else { others };
        let hub = Hub {
            disk: Disk::new(self.random.u64(..), micros),
            store: None,
            engine: None,
            image: None,
            backup: None,
            life,
            before: None,
            generation: 0,
            isolated: false,
            paused: false,
            removed: false,
            deferred: Vec::new(),
            timer_at: None,
            placed: None,
            revision: 0,
            roads: BTreeMap::new(),
            guests: BTreeMap::new(),
            agents: BTreeSet::new(),
            reported: Synced::default(),
            ever_synced: BTreeSet::new(),
            keeps_up: false,
            scrub: None,
            scrubbed: Vec::new(),
            memory: Memory::default(),
            told: BTreeMap::new(),
            brought: thrift::Told::new(),
        };
        self.hubs.insert(node, hub);
    }

    pub(super) fn hub_later(&mut self, node: NodeId, span: Duration, what: HubHappening) {
        let generation = self.hubs.get(&node).map_or(0, |hub| hub.generation);
        self.timeline.after(span, Happening::Hub { node, generation, what });
    }

    pub(super) fn start_hub(&mut self, node: NodeId) {
        let now = self.now;
        let fresh = Incarnation::new(self.random.u64(..));
        let Some(hub) = self.hubs.get_mut(&node).filter(|hub| hub.engine.is_none() && !hub.removed) else {
            return;
        };
        let opened = match &hub.image {
            Some(image) => Store::from_image(image, &Options::hub()),
            None => Store::in_memory(&Options::hub()),
        };
        let mut store = match opened {
            Ok(store) => store,
            Err(error) => return self.check(Err(Violation::new("survival", format!("hub {node}: {error}")))),
        };
        let remembered = store.recall(LIFE).ok().flatten().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        let life = match remembered {
            Some(bytes) => Incarnation::new(u64::from_be_bytes(bytes)),
            // The first start of a hub that is in the table with its life, or a store that was lost.
            None if hub.generation == 0 => hub.life,
            None => fresh,
        };
        let change = Change::Remember { name: LIFE, value: life.bits().to_be_bytes().to_vec() };
        let remembered = store.commit(0, &[change]);
        (hub.life, hub.before) = (life, None);
        hub.generation += 1;
        (hub.timer_at, hub.placed, hub.revision, hub.paused) = (None, None, 0, false);
        hub.deferred.clear();
        hub.roads.clear();
        hub.guests.clear();
        hub.agents.clear();
        (hub.reported, hub.keeps_up) = (Synced::default(), false);
        hub.ever_synced.clear();
        hub.told.clear();
        hub.brought.clear();
        let missing = store.opened().missing.clone();
        let region = region_of(node, self.plan.regions);
        let numbers = Config::new(name_of(node), "hub", &region);
        let ageing = self.plan.ageing.as_ref();
        let lone = self.plan.hubs == 1;
        let config = Config {
            clustered: true,
            fence_base: u64::from(hub.generation) << 32,
            keep: ageing.and_then(|ageing| ageing.keep_of(node.0)),
            repair_interval: ageing.map_or(numbers.repair_interval, |ageing| ageing.repair_interval),
            consistency_timeout: if lone { OVERDUE_AFTER } else { numbers.consistency_timeout },
            ..numbers
        };
        let mut engine = Engine::new(config, &store.journals(), store.usage(), now);
        engine.recall(hub.memory.clone(), &BTreeSet::new());
        hub.engine = Some(engine);
        hub.store = Some(store);
        if let Err(error) = remembered {
            self.check(Err(Violation::new("survival", error.to_string())));
        }
        self.network.start(node_of(node));
        self.transcript.note(now, format_args!("hub {node} starts with store {life}"));
        for (journal, ranges) in missing {
            self.transcript.note(now, format_args!("hub {node} lacks {journal} {ranges}"));
            self.truth.wear.found += 1;
            self.check(aside::moved(&self.truth, node, &journal, &ranges));
        }
        self.inform(node);
        if self.plan.ageing.is_some() {
            self.floors_stand(node);
            self.look(node);
            self.scrub(node);
            self.queried(node);
        }
    }

    /// The power of a hub goes, now; the disk keeps what it keeps.
    pub(super) fn cut_hub_power(&mut self, node: NodeId) {
        self.network.crash(node_of(node));
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        if hub.engine.take().is_none() {
            return;
        }
        if let Some((commit, changes)) = hub.disk.crash() {
            let _unheard = self.apply(node, commit, &changes);
        }
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        let image = hub.store.as_mut().map(Store::image);
        hub.store = None;
        hub.paused = false;
        match image {
            Some(Ok(image)) => hub.image = Some(image),
            Some(Err(error)) => self.check(Err(Violation::new("survival", error.to_string()))),
            None => {}
        }
    }

    pub(super) fn remove_hub(&mut self, node: NodeId) {
        self.remove_hub_unchecked(node);
        self.check(crate::invariants::loss::none(&self.truth));
    }

    /// The same, when what it held may be lost with it.
    pub(super) fn remove_hub_unchecked(&mut self, node: NodeId) {
        self.cut_hub_power(node);
        if let Some(hub) = self.hubs.get_mut(&node) {
            hub.removed = true;
        }
        self.truth.removed(node);
    }

    pub(super) fn resume(&mut self, node: NodeId) {
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        hub.paused = false;
        let generation = hub.generation;
        for what in std::mem::take(&mut hub.deferred) {
            self.hub_happened(node, generation, what);
        }
    }

    /// Tells a hub's engine something, and does what it asks for.
    pub(super) fn tell_hub(&mut self, node: NodeId, event: Event) {
        let now = self.now;
        let Some(engine) = self.hubs.get_mut(&node).and_then(|hub| hub.engine.as_mut()) else { return };
        engine.handle_event(event, now);
        while self.violation.is_none() {
            let engine = self.hubs.get_mut(&node).and_then(|hub| hub.engine.as_mut());
            let Some(command) = engine.and_then(Engine::poll_command) else { break };
            self.obey_hub(node, command);
        }
        self.set_hub_timer(node);
    }

    fn set_hub_timer(&mut self, node: NodeId) {
        let now = self.now;
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        let Some((at, _)) = hub.engine.as_ref().and_then(Engine::poll_timeout) else { return };
        let at = at.max(now);
        if hub.timer_at.is_none_or(|set| at < set) {
            hub.timer_at = Some(at);
            self.hub_later(node, at.since(now), HubHappening::Timer(at));
        }
    }

    fn obey_hub(&mut self, node: NodeId, command: Command) {
        let now = self.now;
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        match command {
            Command::Commit { commit, changes } => {
                let span = hub.disk.begin((commit, changes));
                self.hub_later(node, span, HubHappening::Flushed);
            }
            Command::Send { link, frame: Frame::Wanted(wanted) } => self.asks_device(node, link, wanted),
            Command::Send { link, frame } => self.hub_says(node, link, frame),
            Command::Close { link, code, reason } => {
                self.transcript.note(now, format_args!("hub {node} closes {link}: {code:?}, {reason}"));
                self.network.close(link, node_of(node), true, now);
                self.hub_later(node, Duration::ZERO, HubHappening::Closed(link));
            }
            Command::Check { journal, range } => {
                let span = hub.disk.time_to_read();
                self.hub_later(node, span, HubHappening::Checked(journal, range));
            }
            Command::Load { node: to, journal, range, bytes_max } => {
                let none = thrift::Told::new();
                let told = (hub.told.get(&to).unwrap_or(&none), &hub.brought);
                let verdict = thrift::sends(&self.truth, to, &journal, &range.into(), told);
                let span = hub.disk.time_to_read();
                self.hub_later(node, span, HubHappening::Loaded { node: to, journal, range, bytes_max });
                if self.plan.ageing.is_some() {
                    self.check(verdict);
                }
            }
            // Whoever does not mend does not compare either: the others would be asked to bring it.
            Command::Tell { frame: PeerFrame::Inquiry(_), .. }
                if self.plan.sabotage == ClusterSabotage::IdleMending => {}
            Command::Tell { node: to, frame } => {
                self.transcript.note(now, format_args!("hub {node} ▶ hub {to} {}", frame.name()));
                if let Some(connection) = hub.roads.get(&to).copied() {
                    self.carry(connection, node_of(node), 0, Talk::Peer(frame));
                }
            }
            Command::Answer { frame: PeerFrame::Flushed(_), .. }
                if self.plan.sabotage == ClusterSabotage::LostAnswers => {}
            Command::Answer { guest, frame: PeerFrame::Lacks(lacks) } if lacks.bring => {
                self.asks_hub(node, guest, lacks);
            }
            Command::Answer { guest, frame } => self.carry(guest, node_of(node), 0, Talk::Peer(frame)),
            Command::Part { node: to, reason } => {
                self.transcript.note(now, format_args!("hub {node} parts from hub {to}: {reason}"));
                let road = self.hubs.get(&node).and_then(|hub| hub.roads.get(&to)).copied();
                if let Some(connection) = road {
                    self.network.close(connection, node_of(node), true, now);
                    self.hub_later(node, Duration::ZERO, HubHappening::Closed(connection));
                }
            }
            Command::Dismiss { guest, reason } => {
                self.transcript.note(now, format_args!("hub {node} dismisses {guest}: {reason}"));
                self.network.close(guest, node_of(node), true, now);
                self.hub_later(node, Duration::ZERO, HubHappening::Closed(guest));
            }
            Command::Synced { .. } => {
                hub.reported = hub.engine.as_ref().map(|engine| engine.synced().clone()).unwrap_or_default();
                hub.ever_synced.extend(hub.reported.partitions.keys());
                self.keep_up(node);
            }
            Command::Relive { reason } => self.relive(node, &reason),
            Command::Consult { asker, number, journal, about } => {
                let span = hub.disk.time_to_read();
                self.hub_later(node, span, HubHappening::Consulted { asker, number, journal, about });
            }
            Command::Compared(round) => {
                self.transcript.note(now, format_args!("hub {node} compared: {round:?}"));
            }
            Command::Mended(mend) => {
                self.transcript.note(now, format_args!("hub {node} mended: {mend:?}"));
                self.truth.mended(node, mend.journal);
            }
            Command::Fetch { link, journal, ranges, bytes_max } => {
                let span = hub.disk.time_to_read();
                self.hub_later(node, span, HubHappening::Fetched { link, journal, ranges, bytes_max });
            }
            // No device of the fleet asks for its history.
            Command::SessionOpened { .. } | Command::Stored { .. } | Command::Recall { .. } => {}
            Command::Alarm(alarm) => self.hub_alarmed(node, &alarm),
        }
    }

    pub(super) fn hub_happened(&mut self, node: NodeId, generation: u32, what: HubHappening) {
        let now = self.now;
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        if hub.engine.is_none() || hub.generation != generation {
            return;
        }
        if hub.paused {
            hub.deferred.push(what);
            return;
        }
        match what {
            HubHappening::Noticed(notice) => self.hub_noticed(node, notice),
            HubHappening::Timer(at) => {
                if hub.timer_at != Some(at) {
                    return;
                }
                hub.timer_at = None;
                let due = |hub: &Hub| hub.engine.as_ref().and_then(Engine::poll_timeout);
                if due(hub).is_some_and(|(at, _)| at <= now) {
                    self.tell_hub(node, Event::Timer);
                    let next = self.hubs.get(&node).and_then(due);
                    self.check(wakefulness::sleeps(&format!("hub {node}"), next, now));
                }
                self.set_hub_timer(node);
            }
            HubHappening::Flushed => self.hub_flushed(node),
            HubHappening::Checked(journal, range) => self.checked(node, journal, range),
            HubHappening::Loaded { node: to, journal, range, bytes_max } => {
                self.loaded(node, to, (journal, range), bytes_max);
            }
            HubHappening::Consulted { asker, number, journal, about } => {
                self.consulted(node, (asker, number), journal, &about);
            }
            HubHappening::Fetched { link, journal, ranges, bytes_max } => {
                self.fetched(node, link, (journal, ranges), bytes_max);
            }
            HubHappening::Read => self.queried(node),
            HubHappening::Scrub => self.scrub(node),
            HubHappening::Look => self.look(node),
            HubHappening::Closed(connection) => self.connection_ended(node, connection),
            HubHappening::Placed { revision, placed } => self.hub_placed(node, revision, placed),
            HubHappening::Dial(to) => self.dial(node, to),
            HubHappening::Drain(on) => self.tell_hub(node, Event::Drain { on }),
            HubHappening::KeepUp => {
                hub.keeps_up = false;
                self.keep_up(node);
            }
        }
    }

    fn hub_placed(&mut self, node: NodeId, revision: u64, mut placed: Box<Placed>) {
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        if hub.isolated {
            let again = HubHappening::Placed { revision, placed };
            return self.hub_later(node, Duration::from_millis(500), again);
        }
        if revision < hub.revision {
            return;
        }
        hub.revision = revision;
        placed.store = hub.life;
        hub.placed = Some((*placed).clone());
        if self.plan.sabotage == ClusterSabotage::GullibleHubs {
            let lives: BTreeMap<NodeId, Incarnation> =
                self.hubs.iter().map(|(node, hub)| (*node, hub.life)).collect();
            for (of, standing) in &mut placed.hubs {
                standing.full = true;
                standing.store = lives.get(of).copied().unwrap_or(standing.store);
            }
        }
        let Some(hub) = self.hubs.get(&node) else { return };
        let missing: Vec<NodeId> = placed
            .hubs
            .keys()
            .copied()
            .filter(|other| *other != node && !hub.roads.contains_key(other))
            .collect();
        self.tell_hub(node, Event::Placed(placed));
        self.keep_up(node);
        missing.into_iter().for_each(|other| self.dial(node, other));
    }
}
