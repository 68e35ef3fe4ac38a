//! Routing: which hub to dial, and when a better one is worth moving to.
//!
//! Every hub has a cost in microseconds: what its road takes, and what its state is worth ([`Weights`]). The cheapest is
//! dialled. A hub that failed [`Weights::fall`] times running is passed over until its pause is over; it is trusted again
//! after [`Weights::rise`] good answers. A running session moves only for a clear and lasting gain.
//!
//! Promise: as long as any hub is known, [`Routes::choose`] names one: a bad hub is better than none. Nothing here is
//! random but the seed's jitter, so two agents with the same hubs do not move at the same moment.
//! Absent: sockets, names. The daemon measures and dials.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::{HubId, Moment};
use serde::Serialize;

/// What counts, and how much. Costs are microseconds of round trip that one would accept to avoid it.
#[derive(Clone, PartialEq, Debug)]
pub struct Weights {
    /// A hub outside the preferred region.
    pub other_region: Duration,
    /// A hub that keeps no replica of this device's partition: what it takes it must pass on.
    pub no_replica: Duration,
    /// A hub that is fully loaded; less load costs its square: half the load a quarter.
    pub full_load: Duration,
    /// The round trip that is assumed before one was measured.
    pub unmeasured: Duration,
    /// Failures running before a hub is passed over.
    pub fall: u32,
    /// Good answers running before a hub that fell is trusted again.
    pub rise: u32,
    /// How long a hub that fell is passed over; doubles with each further failure, up to `pause_max`.
    pub pause_min: Duration,
    /// The longest such pause.
    pub pause_max: Duration,
    /// Another hub must be cheaper by this much, and by a quarter, before a session moves to it.
    pub gain: Duration,
    /// For how long it must have been so; up to as much again is added by chance.
    pub patience: Duration,
}

impl Weights {
    /// What an agent does unless told otherwise.
    pub const DEFAULTS: Self = Self {
        other_region: Duration::from_millis(30),
        no_replica: Duration::from_millis(15),
        full_load: Duration::from_millis(60),
        unmeasured: Duration::from_millis(50),
        fall: 2,
        rise: 3,
        pause_min: Duration::from_secs(5),
        pause_max: Duration::from_secs(300),
        gain: Duration::from_millis(10),
        patience: Duration::from_secs(60),
    };
}

/// What hubs say of one hub.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Which hub.
    pub hub: HubId,
    /// Where it stands.
    pub region: String,
    /// How loaded it says it is, in thousandths.
    pub load: u16,
    /// Whether it keeps a replica of this device's partition.
    pub replica: bool,
    /// Whether it wants no agents: it drains, or it is not well.
    pub draining: bool,
}

/// How a hub stands in the agent's eyes: one row of `millrace-agent routes`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Route {
    /// Which hub.
    pub hub: HubId,
    /// Its region.
    pub region: String,
    /// Round trip in microseconds, smoothed; none before the first measurement.
    pub rtt_us: Option<u64>,
    /// Its load in thousandths.
    pub load: u16,
    /// Whether it keeps this device's readings.
    pub replica: bool,
    /// Whether it wants no agents.
    pub draining: bool,
    /// Whether it is passed over because it failed.
    pub down: bool,
    /// Failures running.
    pub failures: u32,
    /// What it costs in microseconds: the least is dialled.
    pub cost_us: u64,
}

#[derive(Clone, Debug)]
struct Known {
    candidate: Candidate,
    rtt: Option<Duration>,
    failures: u32,
    successes: u32,
    down: bool,
    until: Moment,
}

/// The hubs that an agent knows, and what it has seen of them.
#[derive(Clone, Debug)]
pub struct Routes {
    weights: Weights,
    region: Option<String>,
    known: BTreeMap<HubId, Known>,
    /// A better hub than the present one, and since when and until when it must stay better.
    better: Option<(HubId, Moment)>,
    random: fastrand::Rng,
}

impl Routes {
    /// No hubs yet. `region` is preferred, when there is one; `seed` spreads agents.
    #[must_use]
    pub fn new(weights: Weights, region: Option<String>, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { weights, region, known: BTreeMap::new(), better: None, random }
    }

    /// Takes over what a hub says of all hubs. What was seen of those that stay is kept; the others are forgotten. A table
    /// without hubs changes nothing.
    pub fn learn(&mut self, candidates: Vec<Candidate>) {
        if candidates.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut self.known);
        for candidate in candidates {
            let hub = candidate.hub;
            let known = match before.remove(&hub) {
                Some(seen) => Known { candidate, ..seen },
                None => {
                    Known { candidate, rtt: None, failures: 0, successes: 0, down: false, until: Moment(0) }
                }
            };
            self.known.insert(hub, known);
        }
    }

    /// A round trip to `hub` was measured. Smoothed by an eighth, as TCP does (RFC 6298).
    pub fn measured(&mut self, hub: HubId, rtt: Duration) {
        let Some(known) = self.known.get_mut(&hub) else { return };
        known.rtt = Some(known.rtt.map_or(rtt, |smooth| (smooth * 7 + rtt) / 8));
        known.failures = 0;
        known.successes = known.successes.saturating_add(1);
        if known.successes >= self.weights.rise {
            known.down = false;
        }
    }

    /// Dialling `hub` failed, or the session with it broke.
    pub fn failed(&mut self, hub: HubId, now: Moment) {
        let weights = &self.weights;
        let Some(known) = self.known.get_mut(&hub) else { return };
        known.successes = 0;
        known.failures = known.failures.saturating_add(1);
        if known.failures >= weights.fall {
            known.down = true;
            let doubled = known.failures.saturating_sub(weights.fall).min(16);
            let pause = weights.pause_min.saturating_mul(1 << doubled).min(weights.pause_max);
            known.until = now + jittered(pause, &mut self.random);
        }
    }

    /// The hub to dial now: the cheapest one that is up; when none is, the one whose pause ends first. `None` only when no hub
    /// is known.
    #[must_use]
    pub fn choose(&self, now: Moment) -> Option<HubId> {
        let up = self.known.values().filter(|known| known.is_up(now));
        let welcome = up.clone().filter(|known| !known.candidate.draining);
        let cheapest = |known: &&Known| (self.cost(known), known.candidate.hub);
        let resting = || self.known.values().min_by_key(|known| (known.until, known.candidate.hub));
        let chosen = welcome.min_by_key(cheapest).or_else(|| up.min_by_key(cheapest)).or_else(resting);
        chosen.map(|known| known.candidate.hub)
    }

    /// Whether the session with `present` should move now, and where to. Ask now and then; a draining hub is left at once.
    pub fn reconsider(&mut self, present: HubId, now: Moment) -> Option<HubId> {
        let best = self.choose(now).filter(|best| *best != present)?;
        let (Some(here), Some(there)) = (self.known.get(&present), self.known.get(&best)) else {
            // The present hub is not in the table any more.
            return Some(best);
        };
        if here.candidate.draining && !there.candidate.draining {
            return Some(best);
        }
        let (here, trusted) = (self.cost(here), there.rtt.is_some() && !there.down);
        let there = self.cost(there);
        let gain = here.saturating_sub(there);
        if !trusted || gain < micros(self.weights.gain) || gain < here / 4 {
            self.better = None;
            return None;
        }
        match self.better {
            Some((hub, since_then)) if hub == best => (since_then <= now).then_some(best),
            _ => {
                let patience = self.weights.patience;
                self.better = Some((best, now + patience + jitter(patience, &mut self.random)));
                None
            }
        }
    }

    /// Every hub with its cost, the cheapest first.
    #[must_use]
    pub fn table(&self, now: Moment) -> Vec<Route> {
        let mut rows: Vec<Route> = self.known.values().map(|known| self.row(known, now)).collect();
        rows.sort_by_key(|row| (row.draining, row.down, row.cost_us, row.hub));
        rows
    }

    fn row(&self, known: &Known, now: Moment) -> Route {
        let Candidate { hub, region, load, replica, draining } = known.candidate.clone();
        Route {
            hub,
            region,
            rtt_us: known.rtt.map(micros),
            load,
            replica,
            draining,
            down: !known.is_up(now),
            failures: known.failures,
            cost_us: self.cost(known),
        }
    }

    fn cost(&self, known: &Known) -> u64 {
        let Weights { other_region, no_replica, full_load, unmeasured, .. } = &self.weights;
        let load = u64::from(known.candidate.load.min(1_000));
        let elsewhere = self.region.as_ref().is_some_and(|region| *region != known.candidate.region);
        micros(known.rtt.unwrap_or(*unmeasured))
            + if elsewhere { micros(*other_region) } else { 0 }
            + if known.candidate.replica { 0 } else { micros(*no_replica) }
            + micros(*full_load) * load * load / 1_000_000
    }
}

impl Known {
    fn is_up(&self, now: Moment) -> bool {
        !self.down || self.until <= now
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn jitter(up_to: Duration, random: &mut fastrand::Rng) -> Duration {
    Duration::from_micros(random.u64(0..=micros(up_to)))
}

/// Between half and all of it.
fn jittered(pause: Duration, random: &mut fastrand::Rng) -> Duration {
    pause / 2 + jitter(pause / 2, random)
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
