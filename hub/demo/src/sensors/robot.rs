//! A welding robot: six joints as packed samples, and a line of JSON when a program has ended.

use rumqttc::QoS;

use super::{Machine, Reading, Wander, digits, named};
use crate::Body;

/// Readings between two ends of a program.
const STEPS: u64 = 25;
const PROGRAMS: [&str; 4] = ["weld-a3", "weld-b1", "flip", "park"];
const JOINTS: usize = 6;

/// A robot.
#[derive(Debug, Clone)]
pub struct Robot {
    name: String,
    step: u64,
    program: usize,
    started_ms: u64,
    temperatures_c: [Wander; JOINTS],
    currents_a: [Wander; JOINTS],
}

impl Robot {
    /// A robot at the beginning of its first program.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self {
            name,
            step: 0,
            program: 0,
            started_ms: 0,
            temperatures_c: std::array::from_fn(|_| Wander::around(61.0, 0.01, 0.2)),
            currents_a: std::array::from_fn(|_| Wander::around(4.2, 0.3, 1.1)),
        }
    }

    fn joints(&mut self, at_ms: u64, chance: &mut fastrand::Rng) -> Body {
        // The controller's layout: time as u64, then per joint temperature and current as f32, little-endian, and
        // 0xff as its end.
        let mut packed = at_ms.to_le_bytes().to_vec();
        for (temperature_c, current_a) in self.temperatures_c.iter_mut().zip(&mut self.currents_a) {
            for value in [temperature_c.step(chance), current_a.step(chance)] {
                #[expect(clippy::cast_possible_truncation, reason = "the controller sends single precision")]
                packed.extend_from_slice(&(value as f32).to_le_bytes());
            }
        }
        packed.push(0xff);
        Body::Binary(packed)
    }
}

impl Machine for Robot {
    fn name(&self) -> &str {
        &self.name
    }

    fn reading(&mut self, at_ms: u64, chance: &mut fastrand::Rng) -> Reading {
        self.step += 1;
        if !self.step.is_multiple_of(STEPS) {
            let body = self.joints(at_ms, chance);
            return Reading { channel: "joints", qos: QoS::AtMostOnce, body };
        }
        let program = PROGRAMS.get(self.program % PROGRAMS.len()).copied().unwrap_or("park");
        self.program += 1;
        let cycle_s = f64::from(u32::try_from(at_ms - self.started_ms).unwrap_or(0)) / 1_000.0;
        self.started_ms = at_ms;
        let body = named([
            ("program", program.into()),
            ("cycle_s", digits(cycle_s, 3)),
            ("weld_energy_kj", digits(chance.f64() * 3.0 + 41.0, 2)),
            ("wire_m", digits(chance.f64() * 0.4 + 2.2, 3)),
            ("tip_wear_pct", digits(f64::from(u32::try_from(self.step % 9_000).unwrap_or(0)) / 90.0, 1)),
            ("good", (chance.u8(..80) != 0).into()),
            ("at_ms", at_ms.into()),
        ]);
        Reading { channel: "cycle", qos: QoS::ExactlyOnce, body }
    }
}
