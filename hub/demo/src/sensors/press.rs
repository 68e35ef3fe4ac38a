//! A hydraulic press: force, stroke, oil, cycles; a vibration burst now and then; an alarm when the oil is hot.

use rumqttc::QoS;

use super::{Machine, Reading, Wander, digits, named};
use crate::Body;

/// Readings of one stroke.
const STEPS: u64 = 12;
const STATES: [&str; 4] = ["open", "closing", "pressing", "opening"];

/// Every so many readings the accelerometer sends its buffer.
const VIBRATION_EVERY: u64 = 60;

/// One buffer of the accelerometer: 512 samples of 16 bits.
const SAMPLES: usize = 512;

/// Above this the press warns; it comes about twice in a thousand readings.
const OIL_WARN_C: f64 = 50.4;

/// A press.
#[derive(Debug, Clone)]
pub struct Press {
    name: String,
    step: u64,
    cycle: u64,
    oil_c: Wander,
    force_kn: Wander,
    pump_bar: Wander,
}

impl Press {
    /// A press that has made `cycle` strokes.
    #[must_use]
    pub const fn new(name: String, cycle: u64) -> Self {
        Self {
            name,
            step: 0,
            cycle,
            oil_c: Wander::around(48.0, 0.02, 0.4),
            force_kn: Wander::around(0.0, 0.7, 9.0),
            pump_bar: Wander::around(212.0, 0.2, 1.5),
        }
    }

    fn vibration(&self, chance: &mut fastrand::Rng) -> Reading {
        let mut samples = Vec::with_capacity(SAMPLES * 2);
        // Two harmonics of the pump at 48 kHz, with noise.
        for index in 0_u16..512 {
            let phase = f64::from(index) / 48.0;
            let wave = (phase * 6.1).sin() * 9_000.0 + (phase * 18.3).sin() * 2_500.0;
            let sample = wave + (chance.f64() - 0.5) * 3_000.0;
            #[expect(clippy::cast_possible_truncation, reason = "the amplitude stays below 13,000")]
            samples.extend_from_slice(&(sample as i16).to_le_bytes());
        }
        Reading { channel: "vibration", qos: QoS::AtLeastOnce, body: Body::Binary(samples) }
    }
}

impl Machine for Press {
    fn name(&self) -> &str {
        &self.name
    }

    fn reading(&mut self, at_ms: u64, chance: &mut fastrand::Rng) -> Reading {
        self.step += 1;
        let in_stroke = self.step % STEPS;
        let state = usize::try_from(in_stroke * STATES.len() as u64 / STEPS).unwrap_or(0);
        let state = STATES.get(state).copied().unwrap_or("open");
        self.force_kn.aim(if state == "pressing" { 1_250.0 } else { 20.0 });
        let (oil_c, force_kn) = (self.oil_c.step(chance), self.force_kn.step(chance).max(0.0));
        let pump_bar = self.pump_bar.step(chance);
        if oil_c > OIL_WARN_C && chance.u8(..4) == 0 {
            let body = named([
                ("alarm", "oil-hot".into()),
                ("severity", "warning".into()),
                ("oil_c", digits(oil_c, 2)),
                ("limit_c", OIL_WARN_C.into()),
                ("at_ms", at_ms.into()),
            ]);
            return Reading { channel: "alarm", qos: QoS::ExactlyOnce, body };
        }
        if self.step.is_multiple_of(VIBRATION_EVERY) {
            return self.vibration(chance);
        }
        if in_stroke == 0 {
            self.cycle += 1;
            let body = named([
                ("cycle", self.cycle.into()),
                ("peak_kn", digits(1_250.0 + chance.f64() * 8.0, 1)),
                ("good", (chance.u8(..50) != 0).into()),
                ("at_ms", at_ms.into()),
            ]);
            return Reading { channel: "cycle", qos: QoS::ExactlyOnce, body };
        }
        let stroke_mm = 400.0 * f64::from(u32::try_from(in_stroke).unwrap_or(0)) / 12.0;
        let body = named([
            ("state", state.into()),
            ("force_kn", digits(force_kn, 1)),
            ("stroke_mm", digits(stroke_mm + chance.f64(), 2)),
            ("oil_c", digits(oil_c, 2)),
            ("pump_bar", digits(pump_bar, 1)),
            ("ram_mm_s", digits(chance.f64() * 40.0 + 80.0, 1)),
            ("cycle", self.cycle.into()),
            ("at_ms", at_ms.into()),
        ]);
        Reading { channel: "telemetry", qos: QoS::AtLeastOnce, body }
    }
}
