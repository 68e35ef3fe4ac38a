//! A publisher: numbers its publications, and publishes one again that was not acknowledged in time or when the agent was
//! gone meanwhile.
//!
//! Promise: at most [`IN_FLIGHT_MAX`] publications wait for their acknowledgement; a sensor with more waits itself, as an
//! MQTT client with its receive maximum does.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::{Lane, Moment, Topic};

use crate::publication::Attempt;

/// Publications of one sensor that wait for an acknowledgement.
pub const IN_FLIGHT_MAX: usize = 400;

/// How long a sensor waits before it publishes again.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// How a sensor behaves.
#[derive(Clone, Debug)]
pub struct Habit {
    /// The lane of its topic's subscription.
    pub lane: Lane,
    /// 0 or 1.
    pub qos: u8,
    /// Time between two publications.
    pub interval: Duration,
    /// Bytes of a payload.
    pub bytes: std::ops::Range<usize>,
    /// In hundredths: how often a publication is a burst.
    pub burst_percent: u8,
    /// Publications of a burst.
    pub burst: u32,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    round: u16,
    since: Moment,
    bytes: usize,
}

/// A publisher.
#[derive(Clone, Debug)]
pub struct Sensor {
    site: u16,
    place: u8,
    /// How it behaves.
    pub habit: Habit,
    /// What it publishes on.
    pub topic: Topic,
    number: u32,
    waiting: BTreeMap<u32, Waiting>,
}

impl Sensor {
    /// A sensor that has published nothing.
    #[must_use]
    pub fn new(site: u16, place: u8, habit: Habit, topic: Topic) -> Self {
        Self { site, place, habit, topic, number: 0, waiting: BTreeMap::new() }
    }

    /// Whether it waits for nothing.
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A new publication, if it may have one more in flight.
    pub fn publish(&mut self, bytes: usize, now: Moment) -> Option<Attempt> {
        if self.waiting.len() >= IN_FLIGHT_MAX {
            return None;
        }
        self.number += 1;
        if self.habit.qos > 0 {
            self.waiting.insert(self.number, Waiting { round: 0, since: now, bytes });
        }
        Some(Attempt { site: self.site, sensor: self.place, number: self.number, round: 0 })
    }

    /// What has to be published again: everything when the agent was gone, otherwise what waits too long.
    pub fn repeat(&mut self, agent_was_gone: bool, now: Moment) -> Vec<(Attempt, usize)> {
        let (site, sensor) = (self.site, self.place);
        let mut again = Vec::new();
        for (number, waiting) in &mut self.waiting {
            if agent_was_gone || now.since(waiting.since) >= PATIENCE {
                waiting.round += 1;
                waiting.since = now;
                again.push((Attempt { site, sensor, number: *number, round: waiting.round }, waiting.bytes));
            }
        }
        again
    }

    /// A publication was acknowledged.
    pub fn acknowledged(&mut self, attempt: Attempt) {
        self.waiting.remove(&attempt.number);
    }
}
