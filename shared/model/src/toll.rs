//! Toll: what it costs a device to turn to a hub, in microseconds of round trip that one would accept to avoid it.
//!
//! Promise: agents and hubs reckon alike, so what a hub answers to "which way?" is what an agent would find.
//! Absent: failures, and when to move: those are the agent's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What counts, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tolls {
    /// A hub outside the preferred region, where one is preferred: about what lies between two countries.
    pub other_region_us: u64,
    /// A hub that keeps no replica of the device's partition: what it takes it must pass on before a quorum has it, half
    /// of the way between two regions.
    pub no_replica_us: u64,
    /// A hub that is fully loaded; less load costs its square (half the load a quarter), so that small differences move
    /// nobody.
    pub full_load_us: u64,
    /// The round trip that is assumed before one was measured: farther than a hub in the same country, nearer than one on
    /// another continent.
    pub unmeasured_us: u64,
}

impl Tolls {
    /// What everybody reckons with.
    pub const DEFAULTS: Self =
        Self { other_region_us: 30_000, no_replica_us: 15_000, full_load_us: 60_000, unmeasured_us: 50_000 };

    /// What `way` costs.
    #[must_use]
    pub fn of(&self, way: &Way) -> Toll {
        let load = u64::from(way.load_permille.min(1_000));
        Toll {
            road_us: way.rtt.map_or(self.unmeasured_us, micros),
            region_us: if way.elsewhere { self.other_region_us } else { 0 },
            replica_us: if way.replica { 0 } else { self.no_replica_us },
            load_us: self.full_load_us.saturating_mul(load * load) / 1_000_000,
        }
    }
}

/// What is known of the way to a hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// The round trip, if it was measured.
    pub rtt: Option<Duration>,
    /// Whether the hub stands outside the preferred region. `false` when none is preferred.
    pub elsewhere: bool,
    /// Whether it keeps the device's readings.
    pub replica: bool,
    /// How busy it says it is, in thousandths; more than 1,000 counts as 1,000.
    pub load_permille: u16,
}

/// What a hub costs, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Toll {
    /// For the road.
    pub road_us: u64,
    /// For standing in another region than the preferred one.
    pub region_us: u64,
    /// For keeping no replica.
    pub replica_us: u64,
    /// For its load.
    pub load_us: u64,
}

impl Toll {
    /// All together: the least is dialled.
    #[must_use]
    pub const fn total_us(&self) -> u64 {
        self.road_us
            .saturating_add(self.region_us)
            .saturating_add(self.replica_us)
            .saturating_add(self.load_us)
    }
}

/// Whole microseconds.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_adds_its_weight_and_load_its_square() {
        let way = Way { rtt: None, elsewhere: false, replica: true, load_permille: 0 };
        let total = |way: Way| Tolls::DEFAULTS.of(&way).total_us();
        assert_eq!(total(way), 50_000, "nothing was measured");
        assert_eq!(total(Way { rtt: Some(Duration::from_millis(7)), ..way }), 7_000);
        assert_eq!(total(Way { elsewhere: true, ..way }), 80_000);
        assert_eq!(total(Way { replica: false, ..way }), 65_000);
        assert_eq!(total(Way { load_permille: 500, ..way }), 65_000);
        assert_eq!(total(Way { load_permille: u16::MAX, ..way }), 110_000);
        let far = Way { rtt: Some(Duration::MAX), elsewhere: true, replica: false, load_permille: 1_000 };
        assert_eq!(total(far), u64::MAX);
    }
}
