//! Hubs, datagrams on bad roads, one clock.
//!
//! A datagram is lost, late, or doubled as the weather of its road says; nothing is sent again. Promise: one seed, one history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use millrace_hub_engine::membership::{Fullness, Input, Liveness, Membership, Output, Peer, Preset, Profile};
use millrace_model::{HubId, Incarnation, Moment, NodeId};
use millrace_sim::{Timeline, Weather};

struct Passage {
    from: u64,
    to: u64,
    bytes: Bytes,
}

/// The lives of hubs begin above this: microseconds since 1970, so that datagrams are as long as real ones.
pub(crate) const BEGUN: u64 = 1_795_000_000_000_000;

pub(crate) struct Cluster {
    pub(crate) now: Moment,
    pub(crate) weather: Weather,
    /// Pairs between which nothing goes, in this direction.
    pub(crate) cuts: BTreeSet<(u64, u64)>,
    /// Hubs that do not run at present; what reaches them waits.
    asleep: BTreeMap<u64, Vec<Passage>>,
    pub(crate) hubs: BTreeMap<u64, Membership>,
    /// What hubs noticed, sends left out.
    pub(crate) seen: Vec<(Moment, u64, Output)>,
    /// Datagrams and bytes sent.
    pub(crate) sent: (u64, u64),
    preset: Preset,
    random: fastrand::Rng,
    roads: Timeline<Passage>,
}

pub(crate) fn profile(node: u64, name: &str) -> Profile {
    Profile {
        hub: HubId::from_bytes([u8::try_from(node).unwrap(); 16]),
        name: name.to_owned(),
        region: "eu-north".to_owned(),
        addresses: vec![format!("hub-{node}.plant.example:7443"), format!("[fd00::{node}]:7443")],
        software: "0.1.0".to_owned(),
        load_permille: 120,
        draining: false,
        fullness: Fullness::Full,
    }
}

impl Cluster {
    pub(crate) fn new(preset: Preset, seed: u64) -> Self {
        let delay = match preset {
            Preset::Lan => Duration::from_millis(1),
            Preset::Wan => Duration::from_millis(120),
        };
        Self {
            now: Moment(1_000_000),
            weather: Weather { delay, jitter: delay / 2, ..Weather::FAIR },
            cuts: BTreeSet::new(),
            asleep: BTreeMap::new(),
            hubs: BTreeMap::new(),
            seen: Vec::new(),
            sent: (0, 0),
            preset,
            random: fastrand::Rng::with_seed(seed),
            roads: Timeline::default(),
        }
    }

    /// Hubs 1 to `count`, each of which knows the first and nobody else; run until all know all.
    pub(crate) fn formed(preset: Preset, seed: u64, count: u64) -> Self {
        let mut cluster = Self::new(preset, seed);
        (1..=count).for_each(|node| cluster.start(node, BEGUN + 1_000));
        (2..=count).for_each(|node| cluster.input(node, Input::Joined(vec![NodeId(1)])));
        cluster.run_until(Duration::from_secs(60), Self::all_see_all);
        assert!(cluster.all_see_all(), "seed {seed}");
        cluster
    }

    pub(crate) fn start(&mut self, node: u64, life: u64) {
        let incarnation = Incarnation::new(u64::MAX / 3 + node);
        let me = Peer { node: NodeId(node), life, incarnation };
        let hub = Membership::new(me, self.preset, self.random.u64(..), self.now);
        self.hubs.insert(node, hub);
        self.input(node, Input::ProfileChanged(profile(node, &format!("hub-{node}"))));
    }

    pub(crate) fn kill(&mut self, node: u64) {
        self.hubs.remove(&node);
    }

    pub(crate) fn sleep(&mut self, node: u64) {
        self.asleep.insert(node, Vec::new());
    }

    /// A hub runs again: its sockets hold what came meanwhile, as far as they have room, and its timers are late.
    pub(crate) fn wake(&mut self, node: u64) {
        let waiting = self.asleep.remove(&node).unwrap_or_default();
        self.input(node, Input::Timer);
        waiting.into_iter().take(64).for_each(|passage| self.arrive(passage));
    }

    pub(crate) fn input(&mut self, node: u64, input: Input) {
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        hub.handle(input, self.now);
        let outputs: Vec<Output> = std::iter::from_fn(|| hub.poll()).collect();
        for output in outputs {
            match output {
                Output::Send { to, bytes } => self.send(Passage { from: node, to: to.0, bytes }),
                other => self.seen.push((self.now, node, other)),
            }
        }
    }

    fn send(&mut self, passage: Passage) {
        assert!(passage.bytes.len() <= millrace_wire::limits::GOSSIP_DATAGRAM_MAX);
        self.sent.0 += 1;
        self.sent.1 += passage.bytes.len() as u64;
        if self.cuts.contains(&(passage.from, passage.to)) || self.weather.loses(&mut self.random) {
            return;
        }
        if self.weather.doubles(&mut self.random) {
            let Passage { from, to, bytes } = &passage;
            let twin = Passage { from: *from, to: *to, bytes: bytes.clone() };
            self.roads.at(self.now + self.weather.passage(&mut self.random), twin);
        }
        self.roads.at(self.now + self.weather.passage(&mut self.random), passage);
    }

    fn arrive(&mut self, passage: Passage) {
        if let Some(waiting) = self.asleep.get_mut(&passage.to) {
            waiting.push(passage);
            return;
        }
        let Passage { from, to, bytes } = passage;
        self.input(to, Input::Datagram { from: NodeId(from), bytes });
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Lets time pass until something is so, or the span is over; returns how long it took.
    pub(crate) fn run_until(&mut self, span: Duration, enough: impl Fn(&Self) -> bool) -> Duration {
        let (began, end) = (self.now, self.now + span);
        while !enough(self) {
            let awake = self.hubs.iter().filter(|(node, _)| !self.asleep.contains_key(node));
            let timers = awake.filter_map(|(node, hub)| hub.poll_timeout().map(|(at, _)| (at, *node)));
            let timer = timers.min();
            let arrival = self.roads.next_at();
            let next = timer.map(|(at, _)| at).into_iter().chain(arrival).min().filter(|at| *at <= end);
            let Some(next) = next else {
                self.now = end;
                break;
            };
            self.now = self.now.max(next);
            match timer {
                Some((at, node)) if arrival.is_none_or(|arrival| at <= arrival) => {
                    self.input(node, Input::Timer);
                }
                _ => {
                    let (_, passage) = self.roads.poll(self.now).unwrap();
                    self.arrive(passage);
                }
            }
        }
        self.now - began
    }

    pub(crate) fn liveness(&self, at: u64, of: u64) -> Option<Liveness> {
        self.hubs[&at].member(NodeId(of)).map(|view| view.liveness)
    }

    /// Whether every hub has every other one as not down.
    pub(crate) fn all_see_all(&self) -> bool {
        let there =
            |at: u64, of: u64| matches!(self.liveness(at, of), Some(Liveness::Alive | Liveness::Suspect));
        self.hubs.keys().all(|at| self.hubs.keys().all(|of| at == of || there(*at, *of)))
    }

    /// Whether every hub that runs has `node` as down.
    pub(crate) fn all_miss(&self, node: u64) -> bool {
        let others = self.hubs.keys().filter(|at| **at != node);
        others.into_iter().all(|at| self.liveness(*at, node) == Some(Liveness::Down))
    }

    /// Whether every hub has the newest profile of every other one.
    pub(crate) fn all_know_all(&self) -> bool {
        let newest = |of: u64| self.hubs[&of].profile();
        let known = |at: u64, of: u64| self.hubs[&at].member(NodeId(of)).and_then(|view| view.profile);
        self.hubs.keys().all(|at| self.hubs.keys().all(|of| at == of || known(*at, *of) == newest(*of)))
    }

    pub(crate) fn downs(&self) -> Vec<&(Moment, u64, Output)> {
        self.seen.iter().filter(|(_, _, output)| matches!(output, Output::Down(_))).collect()
    }

    pub(crate) fn suspicions(&self) -> u64 {
        self.hubs.values().map(|hub| hub.counts().suspicions).sum()
    }
}
