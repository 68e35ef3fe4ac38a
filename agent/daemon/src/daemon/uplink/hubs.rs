//! The book of hubs: who they are, by which addresses each is reached, and whom to dial next.
//!
//! Addresses come from three places. *Seeds* are the operator's, or the join token's; they name no hub, so what answered at
//! them is written down: the certificate says which hub it was. All others are told by hubs.
//!
//! Promise: a hub that answers at an address that the operator named is reached there and nowhere else: it may be a road that
//! hubs do not know of. Everybody who is known is tried once before anybody is tried again.
//! Absent: sockets; what hubs cost ([`Routes`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_agent_engine::routing::{Candidate, Route, Routes, Weights};
use millrace_model::toll::micros;
use millrace_model::{HubId, Moment};
use millrace_wire::HubEndpoint;

use crate::config::HubSettings;
use crate::memory::{Memory, Remembered};

/// Somebody to dial.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Target {
    /// A hub that others told of.
    Hub(HubId),
    /// Whoever answers at this address.
    Seed(String),
}

/// Who answered at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answered {
    /// Always this hub.
    Only(HubId),
    /// Now this hub, now that: a name of several, or a balancer. It leads to no hub in particular.
    Several,
}

/// Everything known of hubs.
pub(super) struct Hubs {
    routes: Routes,
    told: BTreeMap<HubId, HubEndpoint>,
    seeds: Vec<String>,
    /// Whether the operator named the seeds.
    named: bool,
    follow: bool,
    region: Option<String>,
    /// The token's addresses: kept on disk whatever the operator names.
    token: Vec<String>,
    answered: BTreeMap<String, Answered>,
    /// Whom was dialled since a complete hub last took us in.
    tried: BTreeSet<Target>,
    /// When seeds of which nobody knows where they lead are dialled to find out.
    seed_probes: BTreeMap<String, Moment>,
    random: fastrand::Rng,
}

impl Hubs {
    /// The book at the start of the process.
    pub(super) fn new(settings: &HubSettings, memory: Memory, seed: u64) -> Self {
        let named = !settings.addresses.is_empty();
        let seeds = if named { settings.addresses.clone() } else { memory.seeds.clone() };
        let only = |(address, hub)| (address, Answered::Only(hub));
        let mut hubs = Self {
            routes: Routes::new(Weights::DEFAULTS, settings.region.clone(), seed),
            told: BTreeMap::new(),
            seeds,
            named,
            follow: settings.follow,
            region: settings.region.clone(),
            token: memory.seeds,
            answered: memory.answered.into_iter().map(only).collect(),
            tried: BTreeSet::new(),
            seed_probes: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
        };
        let rtts: Vec<_> = memory.hubs.iter().map(|hub| (hub.told.hub, hub.rtt_us)).collect();
        // Who wanted no agents then may be glad of them now.
        let told = memory.hubs.into_iter().map(|hub| HubEndpoint { draining: false, ..hub.told });
        hubs.learn(told.collect());
        for (hub, rtt) in rtts {
            if let Some(rtt) = rtt {
                hubs.routes.recall(hub, Duration::from_micros(rtt));
            }
        }
        hubs
    }

    /// Takes over what a hub told of all hubs; an empty list is not believed. Whether anything but a figure is new.
    pub(super) fn learn(&mut self, told: Vec<HubEndpoint>) -> bool {
        if told.is_empty() {
            return false;
        }
        let told: BTreeMap<HubId, HubEndpoint> = told.into_iter().map(|hub| (hub.hub, hub)).collect();
        let figureless = |hub: &HubEndpoint| HubEndpoint { load_permille: 0, ..hub.clone() };
        let news = told.len() != self.told.len()
            || told.iter().any(|(id, hub)| self.told.get(id).map(figureless) != Some(figureless(hub)));
        self.told = told;
        let known: BTreeSet<&String> =
            self.seeds.iter().chain(self.told.values().flat_map(|hub| &hub.addresses)).collect();
        self.answered.retain(|address, _| known.contains(address));
        self.relearn();
        news
    }

    /// `hub` answered at `address`, where `target` was looked for. Whether that is new.
    pub(super) fn answered(&mut self, address: &str, target: &Target, hub: HubId, now: Moment) -> bool {
        if let Target::Hub(other) = target
            && *other != hub
        {
            self.routes.failed(*other, now);
        }
        let both_live = |old: &HubId| self.told.contains_key(old) && self.told.contains_key(&hub);
        let answer = match self.answered.get(address) {
            Some(Answered::Several) => Answered::Several,
            Some(Answered::Only(old)) if *old != hub && both_live(old) => Answered::Several,
            _ => Answered::Only(hub),
        };
        let news = self.answered.insert(address.to_owned(), answer) != Some(answer);
        if news {
            self.relearn();
        }
        news
    }

    /// Whom to dial now: the best hub that was not tried since a complete one took us in; then seeds of which nobody knows where they lead;
    /// then hubs that are passed over; last, seeds that what hubs told has replaced. When all were tried, the round begins anew.
    pub(super) fn next(&mut self, now: Moment) -> Option<Target> {
        let found = self.untried(now).or_else(|| {
            self.tried.clear();
            self.untried(now)
        })?;
        self.tried.insert(found.clone());
        Some(found)
    }

    /// Whether somebody waits to be tried, so that no pause is needed.
    pub(super) fn elsewhere(&self, now: Moment) -> bool {
        self.untried(now).is_some()
    }

    /// Whether `target` is an address that may belong to nobody any more, while hubs are known.
    pub(super) fn is_replaced(&self, target: &Target) -> bool {
        let Target::Seed(address) = target else { return false };
        !self.told.is_empty()
            && match self.answered.get(address) {
                Some(Answered::Only(hub)) => !self.told.contains_key(hub),
                Some(Answered::Several) => false,
                // What the operator names may be a road that hubs do not know of; a token's address was a hub's.
                None => !self.named,
            }
    }

    fn untried(&self, now: Moment) -> Option<Target> {
        let fresh = |hub| !self.tried.contains(&Target::Hub(hub));
        let up = self.routes.choose_up(now, fresh).map(Target::Hub);
        // One at which a hub answered that was tried is that hub.
        let tried = |seed: &Target| {
            let leads_to = if let Target::Seed(address) = seed { self.leads_to(address) } else { None };
            self.tried.contains(seed) || leads_to.is_some_and(|hub| !fresh(hub))
        };
        let seed =
            |replaced| self.loose_seeds().find(|seed| !tried(seed) && self.is_replaced(seed) == replaced);
        let resting = || self.routes.choose_resting(fresh).map(Target::Hub);
        up.or_else(|| seed(false)).or_else(resting).or_else(|| seed(true))
    }

    /// A hub that is complete took us in: whoever was tried before may be tried again when this one fails.
    pub(super) fn welcomed(&mut self) {
        self.tried.clear();
    }

    /// The session with `target` is over, and it was the hub's or the road's doing.
    pub(super) fn failed(&mut self, target: &Target, now: Moment) {
        self.tried.insert(target.clone());
        if let Target::Hub(hub) = target {
            self.routes.failed(*hub, now);
        }
    }

    /// Who could take over from `present`, the best first: hubs that are up, then loose seeds.
    pub(super) fn others(&self, present: Option<HubId>, now: Moment) -> Vec<Target> {
        let up = self.routes.table(now).into_iter().filter(|row| !row.down && Some(row.hub) != present);
        let mut others: Vec<Target> = up.map(|row| Target::Hub(row.hub)).chain(self.loose_seeds()).collect();
        others.sort_by_key(|target| self.is_replaced(target));
        others
    }

    /// Whom to measure now, if anybody.
    pub(super) fn probe(&mut self, present: Option<HubId>, now: Moment) -> Option<Target> {
        if let Some(hub) = self.routes.probe(present, now) {
            return Some(Target::Hub(hub));
        }
        if !self.named {
            return None;
        }
        let unknown: Vec<String> =
            self.loose_seeds().filter_map(Target::seed).filter(|seed| !self.is_shared(seed)).collect();
        for seed in unknown {
            let every = Weights::DEFAULTS.probe_every;
            let soon = now + self.jitter(Weights::DEFAULTS.probe_first);
            if *self.seed_probes.entry(seed.clone()).or_insert(soon) <= now {
                let again = now + every + self.jitter(every);
                self.seed_probes.insert(seed.clone(), again);
                return Some(Target::Seed(seed));
            }
        }
        None
    }

    /// Up to so long, by chance.
    pub(super) fn jitter(&mut self, up_to: Duration) -> Duration {
        Duration::from_micros(self.random.u64(0..=micros(up_to)))
    }

    /// Where `target` is reached, in the order to be tried.
    pub(super) fn addresses(&self, target: &Target) -> Vec<String> {
        match target {
            Target::Seed(address) => vec![address.clone()],
            Target::Hub(hub) => self.roads(*hub),
        }
    }

    /// Its name, for people.
    pub(super) fn name(&self, target: &Target) -> String {
        match target {
            Target::Seed(address) => address.clone(),
            Target::Hub(hub) => self.told.get(hub).map_or_else(|| hub.to_string(), |told| told.name.clone()),
        }
    }

    /// The region that is preferred.
    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Whether hubs that no address of the operator's leads to are dialled.
    pub(super) const fn follows(&self) -> bool {
        self.follow
    }

    /// What hubs cost.
    pub(super) fn routes(&mut self) -> &mut Routes {
        &mut self.routes
    }

    /// Every hub with what it costs, what was told of it, and its addresses.
    pub(super) fn table(&self, now: Moment) -> Vec<(Route, HubEndpoint, Vec<String>)> {
        let row = |route: Route| {
            let told = self.told.get(&route.hub)?.clone();
            let roads = self.roads(route.hub);
            Some((route, told, roads))
        };
        self.routes.table(now).into_iter().filter_map(row).collect()
    }

    /// The seeds, and the hub that each leads to, if it is known.
    pub(super) fn seeds(&self) -> Vec<(String, Option<HubId>)> {
        self.seeds.iter().map(|seed| (seed.clone(), self.leads_to(seed))).collect()
    }

    /// What is to be kept for the next start.
    pub(super) fn memory(&self, now: Moment) -> Memory {
        let rtts: BTreeMap<HubId, Option<u64>> =
            self.routes.table(now).into_iter().map(|row| (row.hub, row.rtt_us)).collect();
        let rtt_us = |hub: &HubEndpoint| rtts.get(&hub.hub).copied().flatten();
        let only = |(address, answer): (&String, &Answered)| match answer {
            Answered::Only(hub) => Some((address.clone(), *hub)),
            Answered::Several => None,
        };
        Memory {
            seeds: self.token.clone(),
            hubs: self
                .told
                .values()
                .map(|told| Remembered { told: told.clone(), rtt_us: rtt_us(told) })
                .collect(),
            answered: self.answered.iter().filter_map(only).collect(),
            region: self.region.clone(),
        }
    }

    fn relearn(&mut self) {
        let candidate = |hub: &HubEndpoint| Candidate {
            hub: hub.hub,
            region: hub.region.clone(),
            load_permille: hub.load_permille,
            replica: hub.replica,
            draining: hub.draining,
        };
        let reachable = self.told.values().filter(|hub| !self.roads(hub.hub).is_empty());
        let candidates = reachable.map(candidate).collect();
        self.routes.learn(candidates);
    }

    fn roads(&self, hub: HubId) -> Vec<String> {
        let own: Vec<String> = match self.named {
            true => self.seeds.iter().filter(|seed| self.leads_to(seed) == Some(hub)).cloned().collect(),
            false => Vec::new(),
        };
        if !own.is_empty() || !self.follow {
            return own;
        }
        let mut told = self.told.get(&hub).map(|told| told.addresses.clone()).unwrap_or_default();
        told.sort_by_key(|address| self.answered.get(address) != Some(&Answered::Only(hub)));
        told
    }

    /// The hub that is reached at `address`: the one that answered there; before any did, the one that tells it as its own.
    fn leads_to(&self, address: &str) -> Option<HubId> {
        match self.answered.get(address) {
            Some(Answered::Only(hub)) => Some(*hub),
            Some(Answered::Several) => None,
            None => {
                let tells = |hub: &&HubEndpoint| hub.addresses.iter().any(|told| told == address);
                self.told.values().find(tells).map(|hub| hub.hub)
            }
        }
    }

    fn is_shared(&self, address: &str) -> bool {
        self.answered.get(address) == Some(&Answered::Several)
    }

    /// Seeds that lead to no hub that others told of; the one that answered last comes first.
    fn loose_seeds(&self) -> impl Iterator<Item = Target> {
        let loose = |seed: &&String| self.leads_to(seed).is_none_or(|hub| !self.told.contains_key(&hub));
        let mut seeds: Vec<&String> = self.seeds.iter().filter(loose).collect();
        seeds.sort_by_key(|seed| !self.answered.contains_key(*seed));
        seeds.into_iter().cloned().map(Target::Seed).collect::<Vec<_>>().into_iter()
    }
}

impl Target {
    fn seed(self) -> Option<String> {
        match self {
            Self::Seed(address) => Some(address),
            Self::Hub(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "hubs_tests.rs"]
mod tests;
