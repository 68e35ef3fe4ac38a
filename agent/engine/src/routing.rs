//! Routing: which hub to dial, and when a better one is worth moving to.
//!
//! Every hub has a cost in microseconds: what its road takes, and what its state is worth ([`Tolls`]). The cheapest is
//! dialled. A hub that failed [`Weights::fall`] times running is passed over until its pause is over; once it has failed,
//! a session moves to it only after [`Weights::rise`] good answers. A running session moves only for a clear and lasting
//! gain, or away from a hub that wants no agents.
//!
//! Promise: as long as any hub is known, [`Routes::choose`] names one: a bad hub is better than none. Nothing here is
//! random but the seed's jitter, so two agents with the same hubs do not move at the same moment.
//! Absent: sockets, names. The daemon measures and dials.
//!
//! | room | what is decided there |
//! |---|---|
//! | [`vigil`] | whether a hub has fallen silent |

pub mod vigil;

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::toll::micros;
use millrace_model::{HubId, Moment, Toll, Tolls, Way};
use serde::Serialize;

/// What counts, and how much: `millrace-agent routes` shows it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Weights {
    /// What a hub costs.
    #[serde(flatten)]
    pub tolls: Tolls,
    /// Failures running before a hub is passed over.
    pub fall: u32,
    /// Good answers running before a hub that failed is trusted again.
    pub rise: u32,
    /// How long a hub that fell is passed over; doubles with each further failure, up to `pause_max`.
    #[serde(rename = "pause_min_us", serialize_with = "in_micros")]
    pub pause_min: Duration,
    /// The longest such pause.
    #[serde(rename = "pause_max_us", serialize_with = "in_micros")]
    pub pause_max: Duration,
    /// Another hub must be cheaper by this much, and by a quarter, before a session moves to it.
    #[serde(rename = "gain_us", serialize_with = "in_micros")]
    pub gain: Duration,
    /// For how long it must have been so; up to as much again is added by chance.
    #[serde(rename = "patience_us", serialize_with = "in_micros")]
    pub patience: Duration,
    /// A hub that wants no agents is left within this time, at a moment that chance chooses.
    #[serde(rename = "leave_within_us", serialize_with = "in_micros")]
    pub leave_within: Duration,
    /// Hubs that were heard of are measured for the first time within this time.
    #[serde(rename = "probe_first_us", serialize_with = "in_micros")]
    pub probe_first: Duration,
    /// Then as often as this; up to as much again is added by chance.
    #[serde(rename = "probe_every_us", serialize_with = "in_micros")]
    pub probe_every: Duration,
    /// As often as this, or half of it, while a hub that failed is not trusted again.
    #[serde(rename = "probe_doubted_us", serialize_with = "in_micros")]
    pub probe_doubted: Duration,
}

impl Weights {
    /// What an agent does unless told otherwise.
    pub const DEFAULTS: Self = Self {
        tolls: Tolls::DEFAULTS,
        fall: 2,
        rise: 3,
        pause_min: Duration::from_secs(5),
        pause_max: Duration::from_secs(300),
        gain: Duration::from_millis(10),
        patience: Duration::from_secs(60),
        leave_within: Duration::from_secs(2),
        probe_first: Duration::from_secs(5),
        probe_every: Duration::from_secs(300),
        probe_doubted: Duration::from_secs(5),
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
    pub load_permille: u16,
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
    pub load_permille: u16,
    /// Whether it keeps this device's readings.
    pub replica: bool,
    /// Whether it wants no agents.
    pub draining: bool,
    /// Whether it is passed over because it failed.
    pub down: bool,
    /// Failures that it has not made good.
    pub failures: u32,
    /// What it costs in microseconds: the least is dialled.
    pub cost_us: u64,
    /// What that is made of.
    pub toll: Toll,
}

#[derive(Clone, Debug)]
struct Known {
    candidate: Candidate,
    rtt: Option<Duration>,
    failures: u32,
    successes: u32,
    down: bool,
    until: Moment,
    probe_at: Option<Moment>,
}

/// The hubs that an agent knows, and what it has seen of them.
#[derive(Clone, Debug)]
pub struct Routes {
    weights: Weights,
    region: Option<String>,
    known: BTreeMap<HubId, Known>,
    /// A better hub than the present one, and until when it must stay better.
    better: Option<(HubId, Moment)>,
    /// When to leave a hub that wants no agents.
    leave_at: Option<Moment>,
    random: fastrand::Rng,
}

impl Routes {
    /// No hubs yet. `region` is preferred, when there is one; `seed` spreads agents.
    #[must_use]
    pub fn new(weights: Weights, region: Option<String>, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { weights, region, known: BTreeMap::new(), better: None, leave_at: None, random }
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
                None => Known::new(candidate),
            };
            self.known.insert(hub, known);
        }
    }

    /// What was measured in an earlier life of the process.
    pub fn recall(&mut self, hub: HubId, rtt: Duration) {
        if let Some(known) = self.known.get_mut(&hub) {
            known.rtt.get_or_insert(rtt);
        }
    }

    /// The round trip of the running session with `hub`. Smoothed by an eighth, as TCP does (RFC 6298).
    pub fn timed(&mut self, hub: HubId, rtt: Duration) {
        if let Some(known) = self.known.get_mut(&hub) {
            known.rtt = Some(known.rtt.map_or(rtt, |smooth| (smooth * 7 + rtt) / 8));
        }
    }

    /// `hub` was dialled, and answered. That it also serves is another matter: see [`Self::served`].
    pub fn measured(&mut self, hub: HubId, rtt: Duration, now: Moment) {
        self.timed(hub, rtt);
        let Some(known) = self.known.get_mut(&hub) else { return };
        known.successes = known.successes.saturating_add(1);
        if known.successes >= self.weights.rise || known.failures == 0 {
            (known.failures, known.down) = (0, false);
        }
        let again = match known.failures {
            0 => self.weights.probe_every + jitter(self.weights.probe_every, &mut self.random),
            _ => jittered(self.weights.probe_doubted, &mut self.random),
        };
        known.probe_at = Some(now + again);
    }

    /// `hub` does what a hub is for.
    pub fn served(&mut self, hub: HubId) {
        if let Some(known) = self.known.get_mut(&hub) {
            (known.failures, known.down) = (0, false);
        }
    }

    /// Dialling `hub` failed, or the session with it broke.
    pub fn failed(&mut self, hub: HubId, now: Moment) {
        let weights = &self.weights;
        let Some(known) = self.known.get_mut(&hub) else { return };
        known.successes = 0;
        known.failures = known.failures.saturating_add(1);
        let mut again = now + jittered(weights.probe_doubted, &mut self.random);
        if known.failures >= weights.fall {
            known.down = true;
            let doubled = known.failures.saturating_sub(weights.fall).min(16);
            let pause = weights.pause_min.saturating_mul(1 << doubled).min(weights.pause_max);
            known.until = now + jittered(pause, &mut self.random);
            again = again.max(known.until);
        }
        known.probe_at = Some(again);
    }

    /// The hub to dial now: the cheapest one that is up; when none is, the one whose pause ends first. `None` only when no hub
    /// is known.
    #[must_use]
    pub fn choose(&self, now: Moment) -> Option<HubId> {
        self.choose_up(now, |_| true).or_else(|| self.choose_resting(|_| true))
    }

    /// The cheapest hub among `those` that is up. One that wants no agents only when there is no other.
    #[must_use]
    pub fn choose_up(&self, now: Moment, those: impl Fn(HubId) -> bool) -> Option<HubId> {
        let up = self.known.values().filter(|known| known.is_up(now) && those(known.candidate.hub));
        up.min_by_key(|known| (known.candidate.draining, self.cost(known), known.candidate.hub))
            .map(|known| known.candidate.hub)
    }

    /// The hub among `those` whose pause ends first.
    #[must_use]
    pub fn choose_resting(&self, those: impl Fn(HubId) -> bool) -> Option<HubId> {
        let those = self.known.values().filter(|known| those(known.candidate.hub));
        those.min_by_key(|known| (known.until, known.candidate.hub)).map(|known| known.candidate.hub)
    }

    /// Whether the session with `present` should move now, and where to. Ask now and then.
    pub fn reconsider(&mut self, present: HubId, now: Moment) -> Option<HubId> {
        let wanted = |hub: &HubId| self.known.get(hub).is_some_and(|known| !known.candidate.draining);
        // One that is not in the table any more has left the cluster.
        if !wanted(&present)
            && let Some(best) = self.choose_up(now, |hub| hub != present).filter(wanted)
        {
            let within = self.weights.leave_within;
            let random = &mut self.random;
            let at = *self.leave_at.get_or_insert_with(|| now + jitter(within, random));
            return (at <= now).then_some(best);
        }
        self.leave_at = None;
        let trusted = |hub| self.known.get(&hub).is_some_and(Known::is_trusted);
        let best = self.choose_up(now, |hub| hub != present && trusted(hub)).filter(wanted);
        let cost = best.and_then(|best| self.known.get(&best)).map(|there| self.cost(there));
        let Some((best, _)) = best.zip(cost).filter(|(_, cost)| self.is_gain(present, *cost)) else {
            self.better = None;
            return None;
        };
        match self.better {
            Some((hub, since_then)) if hub == best => (since_then <= now).then_some(best),
            _ => {
                let patience = self.weights.patience;
                self.better = Some((best, now + patience + jitter(patience, &mut self.random)));
                None
            }
        }
    }

    /// Whether moving from `present` to `there` is still worth it, now that it was dialled and took `rtt`: what was
    /// remembered may be old, and what slows the present road down may slow down all. One that is to be left is left.
    #[must_use]
    pub fn confirms(&mut self, present: HubId, there: HubId, rtt: Duration) -> bool {
        let Some(other) = self.known.get(&there) else { return false };
        let unwanted = self.known.get(&present).is_none_or(|here| here.candidate.draining);
        let confirms = unwanted || self.is_gain(present, self.toll(other, Some(rtt)).total_us());
        if !confirms {
            self.better = None;
        }
        confirms
    }

    fn is_gain(&self, present: HubId, cost: u64) -> bool {
        let here = self.known.get(&present).map_or(u64::MAX, |here| self.cost(here));
        let gain = here.saturating_sub(cost);
        gain >= micros(self.weights.gain) && gain >= here / 4
    }

    /// A hub that is to be measured now, besides `present`: each soon after it was heard of, then rarely; one that failed more
    /// often, so that it can be trusted again.
    pub fn probe(&mut self, present: Option<HubId>, now: Moment) -> Option<HubId> {
        for known in self.known.values_mut().filter(|known| known.probe_at.is_none()) {
            known.probe_at = Some(now + jitter(self.weights.probe_first, &mut self.random));
        }
        let due = |known: &&mut Known| {
            let other = present != Some(known.candidate.hub) && !known.candidate.draining;
            other && known.probe_at.is_some_and(|at| at <= now)
        };
        let known = self.known.values_mut().filter(due).min_by_key(|known| known.probe_at)?;
        // Answered by `measured` or `failed`; if neither comes, it is asked again.
        known.probe_at = Some(now + self.weights.probe_every);
        Some(known.candidate.hub)
    }

    /// Every hub with its cost, the cheapest first.
    #[must_use]
    pub fn table(&self, now: Moment) -> Vec<Route> {
        let mut rows: Vec<Route> = self.known.values().map(|known| self.row(known, now)).collect();
        rows.sort_by_key(|row| (row.draining, row.down, row.cost_us, row.hub));
        rows
    }

    fn row(&self, known: &Known, now: Moment) -> Route {
        let Candidate { hub, region, load_permille, replica, draining } = known.candidate.clone();
        let toll = self.toll(known, known.rtt);
        Route {
            hub,
            region,
            rtt_us: known.rtt.map(micros),
            load_permille,
            replica,
            draining,
            down: !known.is_up(now),
            failures: known.failures,
            cost_us: toll.total_us(),
            toll,
        }
    }

    fn cost(&self, known: &Known) -> u64 {
        self.toll(known, known.rtt).total_us()
    }

    fn toll(&self, known: &Known, rtt: Option<Duration>) -> Toll {
        let Candidate { load_permille, replica, .. } = known.candidate;
        let elsewhere = self.region.as_ref().is_some_and(|region| *region != known.candidate.region);
        self.weights.tolls.of(&Way { rtt, elsewhere, replica, load_permille })
    }
}

impl Known {
    const fn new(candidate: Candidate) -> Self {
        let (rtt, until, probe_at) = (None, Moment(0), None);
        Self { candidate, rtt, failures: 0, successes: 0, down: false, until, probe_at }
    }

    fn is_up(&self, now: Moment) -> bool {
        !self.down || self.until <= now
    }

    /// Whether a session may leave a hub that works for this one.
    const fn is_trusted(&self) -> bool {
        self.rtt.is_some() && !self.down && self.failures == 0
    }
}

fn in_micros<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(micros(*duration))
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
