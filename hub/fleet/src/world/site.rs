//! One agent with its disk and sensors: how it is set up, started and cut off.

use std::collections::{BTreeMap, BTreeSet};

use millrace_agent_engine::{Config, Engine, Event, Ticket};
use millrace_journal::{Author, Options, Store};
use millrace_model::notice::Open;
use millrace_model::store::Change;
use millrace_model::{DeviceId, Incarnation, Lane, Moment, Topic, Wall};
use millrace_sim::{ConnectionId, Disk};

use super::{AgentHappening, HUB, Happening, World, node_of};
use crate::invariants::order::LastNumbers;
use crate::invariants::{Violation, survival};
use crate::model::Mirror;
use crate::plan::SitePlan;
use crate::publication::Attempt;
use crate::sensor::Sensor;

/// A commit on its way to the disk.
pub(super) type Commit = (u64, Vec<Change>);

/// What all walls show at the beginning: a day in 2026.
const EPOCH_MICROS: i64 = 1_790_000_000_000_000;

/// A copy of a directory.
#[derive(Clone, Debug)]
pub(super) struct Backup {
    pub(super) image: Vec<u8>,
    pub(super) mirror: Mirror,
}

/// One agent's world.
pub(super) struct Site {
    pub(super) device: DeviceId,
    pub(super) plan: SitePlan,
    pub(super) sensors: Vec<Sensor>,
    /// Sensors that have not heard from this life of the process.
    pub(super) bereft: BTreeSet<usize>,
    pub(super) disk: Disk<Commit>,
    pub(super) store: Option<Store>,
    pub(super) engine: Option<Engine>,
    /// The disk's content while the process is off; `None` is an empty disk.
    pub(super) image: Option<Vec<u8>>,
    /// What the store must hold.
    pub(super) mirror: Mirror,
    /// What it gave up.
    pub(super) given_up: Mirror,
    pub(super) backup: Option<Backup>,
    pub(super) last_numbers: LastNumbers,
    pub(super) generation: u32,
    pub(super) tickets: BTreeMap<Ticket, Attempt>,
    pub(super) next_ticket: Ticket,
    pub(super) durable: BTreeSet<Attempt>,
    pub(super) rejected_room: u64,
    pub(super) connection: Option<ConnectionId>,
    pub(super) timer_at: Option<Moment>,
    pub(super) wall_jump: i64,
    pub(super) allowance: (Option<u64>, bool),
}

impl std::fmt::Debug for Site {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Site({}, generation {})", self.device, self.generation)
    }
}

impl Site {
    pub(super) fn wall(&self, now: Moment) -> Wall {
        Wall(EPOCH_MICROS + self.wall_jump + i64::try_from(now.0).unwrap_or(0))
    }

    fn config(&self) -> Config {
        Config {
            policies: self.plan.policies,
            disk_budget_bytes: self.plan.disk_budget_bytes,
            disk_reserve_bytes: self.plan.disk_budget_bytes / 16,
            grace: self.plan.grace,
            intake_records_max: 512,
            backoff_max: std::time::Duration::from_secs(8),
            trim_interval: std::time::Duration::from_secs(3),
            ..Config::new(self.device, "fleet")
        }
    }
}

impl World {
    /// Adds a site that has never run.
    pub(super) fn settle_site(&mut self, place: usize, device: DeviceId, plan: SitePlan) {
        let node = node_of(place);
        *self.network.weather(node, HUB) = plan.weather.clone();
        *self.network.weather(HUB, node) = plan.weather.clone();
        let mut sensors = Vec::new();
        for (at, habit) in plan.sensors.iter().enumerate() {
            let name = format!("site/{place}/sensor/{at}");
            if let (Ok(topic), Ok(site), Ok(number)) =
                (Topic::new(&name), u16::try_from(place), u8::try_from(at))
            {
                sensors.push(Sensor::new(site, number, habit.clone(), topic));
            }
            self.timeline.after(habit.interval, Happening::Tick { site: place, sensor: at });
        }
        self.sites.push(Site {
            device,
            sensors,
            bereft: BTreeSet::new(),
            disk: Disk::new(self.random.u64(..), plan.disk_micros.clone()),
            store: None,
            engine: None,
            image: None,
            mirror: Mirror::new(),
            given_up: Mirror::new(),
            backup: None,
            last_numbers: LastNumbers::new(),
            generation: 0,
            tickets: BTreeMap::new(),
            next_ticket: 0,
            durable: BTreeSet::new(),
            rejected_room: 0,
            connection: None,
            timer_at: None,
            wall_jump: 0,
            allowance: (None, false),
            plan,
        });
    }

    /// The agent's process starts on what its disk holds.
    pub(super) fn start_site(&mut self, place: usize) {
        let incarnation = Incarnation::new(self.random.u64(..));
        let (nonce, seed, now) = (self.random.u64(..), self.random.u64(..), self.now);
        let Some(site) = self.sites.get_mut(place).filter(|site| site.engine.is_none()) else { return };
        if site.disk.is_full() {
            // systemd starts it again.
            return self.timeline.after(std::time::Duration::from_secs(1), Happening::StartSite(place));
        }
        let options = Options {
            burst_records: site.plan.burst_records,
            ..Options::agent(Author { device: site.device, incarnation_if_new: incarnation })
        };
        let opened = match &site.image {
            Some(image) => Store::from_image(image, &options),
            None => Store::in_memory(&options),
        };
        let store = match opened {
            Ok(store) => store,
            Err(error) => {
                return self.check(Err(Violation::new("survival", format!("site {place}: {error}"))));
            }
        };
        let verdict = survival::holds(&format!("site {place}"), &store, &site.mirror);
        site.store = Some(store);
        site.generation += 1;
        site.tickets.clear();
        site.durable.clear();
        site.rejected_room = 0;
        site.connection = None;
        site.timer_at = None;
        site.bereft = (0..site.sensors.len()).collect();
        let wall = site.wall(now);
        self.check(verdict);
        self.open_journal(place, nonce, wall);
        self.begin_engine(place, seed);
    }

    /// The `open` record of this start, before anything else.
    fn open_journal(&mut self, place: usize, nonce: u64, wall: Wall) {
        let open = Open {
            boot: String::new(),
            nonce: format!("{nonce:016x}"),
            clock: "unknown".to_owned(),
            software: "fleet".to_owned(),
            previous: None,
            reason: None,
        };
        if let Some(record) = open.to_record(wall, self.now.0) {
            let change = Change::Append { lane: Lane::Urgent, records: vec![record] };
            self.apply(place, 0, &[change]);
        }
    }

    fn begin_engine(&mut self, place: usize, seed: u64) {
        let now = self.now;
        let Some(site) = self.sites.get_mut(place) else { return };
        let Some((store, incarnation)) = site.store.as_ref().and_then(|s| Some((s, s.incarnation()?))) else {
            return;
        };
        let engine = Engine::new(site.config(), incarnation, store.journals(), store.usage(), seed, now);
        site.engine = Some(engine);
        let (rate, metered) = site.allowance;
        let clocks = Event::Clocks { wall: site.wall(now), mono: now.0 };
        self.network.start(node_of(place));
        self.transcript.note(now, format_args!("site {place} starts as {incarnation}"));
        self.tell(place, clocks);
        self.tell(place, Event::Allowance { rate, metered });
        self.later(place, std::time::Duration::from_secs(5), AgentHappening::Clocks);
    }

    /// The power of a site goes, now; the disk keeps what it keeps.
    pub(super) fn cut_power(&mut self, place: usize) {
        self.network.crash(node_of(place));
        let Some(site) = self.sites.get_mut(place) else { return };
        if site.engine.take().is_none() {
            return;
        }
        let lies = self.plan.sabotage == crate::Sabotage::LyingFlush;
        let old = site.store.as_mut().filter(|_| lies).and_then(|_| site.backup.clone());
        if let Some((commit, changes)) = site.disk.crash() {
            self.apply(place, commit, &changes);
        }
        let Some(site) = self.sites.get_mut(place) else { return };
        let image = site.store.as_mut().map(Store::image);
        site.store = None;
        match image {
            Some(Ok(image)) => site.image = Some(old.map_or(image, |backup| backup.image)),
            Some(Err(error)) => self.check(Err(Violation::new("survival", error.to_string()))),
            None => {}
        }
    }

    pub(super) fn later(&mut self, place: usize, span: std::time::Duration, what: AgentHappening) {
        let generation = self.sites.get(place).map_or(0, |site| site.generation);
        self.timeline.after(span, Happening::Agent { site: place, generation, what });
    }
}
