//! An energy meter: three phases, and what has flowed.

use rumqttc::QoS;

use super::{Machine, Reading, Wander, digits, named};

/// Every so many readings the meter sends its register, which is billed and therefore asked to arrive.
const REGISTER_EVERY: u64 = 5;

/// A meter.
#[derive(Debug, Clone)]
pub struct Meter {
    name: String,
    step: u64,
    energy_kwh: f64,
    volts: [Wander; 3],
    amperes: [Wander; 3],
}

impl Meter {
    /// A meter whose register shows `energy_kwh`.
    #[must_use]
    pub fn new(name: String, energy_kwh: f64) -> Self {
        Self {
            name,
            step: 0,
            energy_kwh,
            volts: std::array::from_fn(|_| Wander::around(231.0, 0.1, 0.8)),
            amperes: std::array::from_fn(|_| Wander::around(64.0, 0.05, 4.0)),
        }
    }
}

impl Machine for Meter {
    fn name(&self) -> &str {
        &self.name
    }

    fn reading(&mut self, at_ms: u64, chance: &mut fastrand::Rng) -> Reading {
        self.step += 1;
        let volts = self.volts.each_mut().map(|phase| phase.step(chance));
        let amperes = self.amperes.each_mut().map(|phase| phase.step(chance).max(0.0));
        let [u1, u2, u3] = volts;
        let [i1, i2, i3] = amperes;
        let power_kw = (u1 * i1 + u2 * i2 + u3 * i3) * 0.93 / 1_000.0;
        self.energy_kwh += power_kw / 3_600.0;
        let body = named([
            ("v", [u1, u2, u3].map(|value| digits(value, 1)).to_vec().into()),
            ("a", [i1, i2, i3].map(|value| digits(value, 2)).to_vec().into()),
            ("kw", digits(power_kw, 3)),
            ("kwh", digits(self.energy_kwh, 3)),
            ("pf", 0.93.into()),
            ("hz", digits(50.0 + (chance.f64() - 0.5) * 0.04, 3)),
            ("at_ms", at_ms.into()),
        ]);
        let register = self.step.is_multiple_of(REGISTER_EVERY);
        let qos = if register { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        Reading { channel: if register { "register" } else { "telemetry" }, qos, body }
    }
}
