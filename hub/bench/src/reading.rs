//! Readings as machines send them: 200 bytes of JSON, values that wander, numbers that count.
//!
//! Promise: every payload has exactly [`READING_BYTES`], the same seed gives the same readings, and noise is as wide as
//! sensors have it: padding would flatter the compression.

use std::fmt::Write;

use bytes::Bytes;
use millrace_model::{Record, Topic, Wall};

/// Bytes of one reading.
pub(crate) const READING_BYTES: usize = 200;
/// Machines that take turns.
const MACHINES: usize = 12;

/// A hall of machines.
pub(crate) struct Hall {
    rng: fastrand::Rng,
    topics: Vec<Topic>,
    machines: Vec<Machine>,
    number: u64,
}

#[derive(Clone)]
struct Machine {
    cycle: u64,
    force: f64,
    celsius: f64,
    bar: f64,
    state: &'static str,
}

impl Hall {
    /// A hall whose readings follow from `seed`.
    pub(crate) fn new(seed: u64) -> anyhow::Result<Self> {
        let topics = (1..=MACHINES).map(|machine| Topic::new(&format!("plant/hall-2/press-{machine}/cycle")));
        let machine = Machine { cycle: 48_210, force: 852.0, celsius: 61.5, bar: 6.2, state: "pressing" };
        Ok(Self {
            rng: fastrand::Rng::with_seed(seed),
            topics: topics.collect::<Result<_, _>>()?,
            machines: vec![machine; MACHINES],
            number: 0,
        })
    }

    /// The next reading, taken at `wall`, as JSON.
    pub(crate) fn payload(&mut self, wall: Wall) -> (usize, Vec<u8>) {
        let at = usize::try_from(self.number).unwrap_or(0) % MACHINES;
        self.number += 1;
        let (number, rng) = (self.number, &mut self.rng);
        let Some(machine) = self.machines.get_mut(at) else { return (at, Vec::new()) };
        machine.wander(rng);
        let mut text = String::with_capacity(READING_BYTES);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            r#"{{"n":{number},"ts":{},"cycle":{},"force_kn":{:.2},"temp_c":{:.2},"pos_mm":{:.3},"vib_mm_s":{:.4},"pressure_bar":{:.3},"current_a":{:.2},"state":"{}","part":"P"#,
            wall.0 / 1_000,
            machine.cycle,
            machine.force + rng.f64() * 4.0,
            machine.celsius,
            rng.f64() * 120.0,
            rng.f64() * 1.8,
            machine.bar,
            18.0 + rng.f64() * 9.0,
            machine.state,
        );
        let left = (READING_BYTES - 2).saturating_sub(text.len());
        let _ = write!(text, "{:0left$}\"}}", machine.cycle * 7);
        (at, text.into_bytes())
    }

    /// The next reading as a record.
    pub(crate) fn record(&mut self, wall: Wall, mono: u64) -> Option<Record> {
        let (machine, payload) = self.payload(wall);
        self.topics.get(machine).map(|topic| Record::data(topic.clone(), Bytes::from(payload), wall, mono))
    }
}

impl Machine {
    fn wander(&mut self, rng: &mut fastrand::Rng) {
        self.cycle += 1;
        self.force += rng.f64() * 2.0 - 1.0 - (self.force - 852.0) * 0.05;
        self.celsius += (rng.f64() - 0.5) * 0.2 - (self.celsius - 61.5) * 0.02;
        self.bar += (rng.f64() - 0.5) * 0.02 - (self.bar - 6.2) * 0.05;
        self.state =
            ["closing", "pressing", "opening", "idle"].get(rng.usize(0..4)).copied().unwrap_or("idle");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_json_of_the_agreed_size() {
        let mut hall = Hall::new(3).unwrap();
        for at in 0..100_000 {
            let (_, payload) = hall.payload(Wall(1_790_000_000_000_000 + at * 1_000));
            assert_eq!(payload.len(), READING_BYTES, "{}", String::from_utf8_lossy(&payload));
            serde_json::from_slice::<serde_json::Value>(&payload).unwrap();
        }
    }
}
