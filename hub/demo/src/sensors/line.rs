//! A production line: a few machines that take turns, and the names of what they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use rumqttc::QoS;

use super::{Machine, Meter, Press, Robot};
use crate::{Publication, Stamp};

/// Milliseconds of machine time between two readings of a line; the machines do not know how fast they are asked.
const STEP_MS: u64 = 10;

/// Which machines stand on a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LineKind {
    /// Four hydraulic presses.
    Presses,
    /// Three welding robots.
    Robots,
    /// Three energy meters.
    Meters,
}

/// Machines behind one agent.
pub struct Line {
    name: String,
    machines: Vec<Box<dyn Machine>>,
    numbers: BTreeMap<String, u64>,
    turn: usize,
    at_ms: u64,
    unsure: bool,
    chance: fastrand::Rng,
}

impl Line {
    /// A line; its machines are named after it. `unsure` allows QoS 0: only where the agent is not killed, because
    /// nobody can say what became of a QoS 0 publication then.
    #[must_use]
    pub fn new(name: &str, kind: LineKind, unsure: bool, seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut machines: Vec<Box<dyn Machine>> = Vec::new();
        for number in 1..=if kind == LineKind::Presses { 4 } else { 3 } {
            let named = |what: &str| format!("{name}.{what}-{number}");
            machines.push(match kind {
                LineKind::Presses => Box::new(Press::new(named("press"), chance.u64(10_000..90_000))),
                LineKind::Robots => Box::new(Robot::new(named("robot"))),
                LineKind::Meters => Box::new(Meter::new(named("meter"), chance.f64() * 90_000.0)),
            });
        }
        Self { name: name.to_owned(), machines, numbers: BTreeMap::new(), turn: 0, at_ms: 0, unsure, chance }
    }

    /// The next publication of the next machine; `None` only for a line without machines.
    pub fn publication(&mut self) -> Option<Publication> {
        self.at_ms += STEP_MS;
        let turn = self.turn % self.machines.len().max(1);
        self.turn += 1;
        let machine = self.machines.get_mut(turn)?;
        let reading = machine.reading(self.at_ms, &mut self.chance);
        let number = self.numbers.entry(machine.name().to_owned()).or_default();
        *number += 1;
        let stamp = Stamp { source: Arc::from(machine.name()), number: *number, attempt: 1 };
        let topic = format!("plant/{}/{}/{}", self.name, machine.name(), reading.channel);
        let qos = match reading.qos {
            QoS::AtMostOnce if !self.unsure => QoS::AtLeastOnce,
            qos => qos,
        };
        Some(Publication { topic, qos, stamp, body: reading.body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn first(kind: LineKind, unsure: bool, count: usize) -> Vec<Publication> {
        let mut line = Line::new("hall-2", kind, unsure, 11);
        (0..count).map(|_| line.publication().unwrap()).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_readings_and_no_stamp_twice() {
        for kind in [LineKind::Presses, LineKind::Robots, LineKind::Meters] {
            let readings = first(kind, true, 2_000);
            assert_eq!(readings, first(kind, true, 2_000));
            let stamps: BTreeSet<_> = readings.iter().map(|reading| reading.stamp.clone()).collect();
            assert_eq!(stamps.len(), 2_000);
        }
    }

    #[test]
    fn qos_0_is_used_only_where_it_is_allowed() {
        for kind in [LineKind::Presses, LineKind::Robots, LineKind::Meters] {
            assert!(first(kind, false, 500).iter().all(|reading| reading.qos != QoS::AtMostOnce));
        }
        let levels = |kind| {
            first(kind, true, 2_000)
                .iter()
                .map(|reading| crate::book::level(reading.qos))
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(levels(LineKind::Presses), BTreeSet::from([1, 2]));
        assert_eq!(levels(LineKind::Robots), BTreeSet::from([0, 2]));
        assert_eq!(levels(LineKind::Meters), BTreeSet::from([0, 1]));
    }

    #[test]
    fn a_press_line_speaks_on_every_lane_in_readings_of_about_200_bytes() {
        let readings = first(LineKind::Presses, false, 4_000);
        for channel in ["telemetry", "cycle", "alarm", "vibration"] {
            assert!(readings.iter().any(|reading| reading.topic.ends_with(channel)), "{channel}");
        }
        let telemetry = readings.iter().filter(|reading| reading.topic.ends_with("telemetry"));
        let sizes: Vec<usize> = telemetry.map(|reading| reading.payload().len()).collect();
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!((140..=240).contains(&mean), "{mean} bytes");
    }
}
