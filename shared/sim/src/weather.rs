//! What a direction of the network does to what travels on it.
//!
//! Absent: connections; see [`crate::network`].

use std::time::Duration;

/// The state of one direction between two nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Weather {
    /// Time from one end to the other.
    pub delay: Duration,
    /// Up to this much more, drawn for each packet.
    pub jitter: Duration,
    /// Packets lost, in hundredths. What is reliable is sent again.
    pub loss_percent: u8,
    /// Packets that come much later than others, in hundredths.
    pub reorder_percent: u8,
    /// Packets that come twice, in hundredths.
    pub duplicate_percent: u8,
    /// Bytes per second; `None` is unlimited.
    pub bandwidth: Option<u64>,
    /// Nothing gets through.
    pub cut: bool,
}

impl Weather {
    /// A quiet day.
    pub const FAIR: Self = Self {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(1),
        loss_percent: 0,
        reorder_percent: 0,
        duplicate_percent: 0,
        bandwidth: None,
        cut: false,
    };

    /// Whether a packet gets lost now.
    pub fn loses(&self, random: &mut fastrand::Rng) -> bool {
        self.cut || random.u8(0..100) < self.loss_percent
    }

    /// How long a packet takes.
    pub fn passage(&self, random: &mut fastrand::Rng) -> Duration {
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        let passage = self.delay + Duration::from_micros(random.u64(0..=jitter));
        if random.u8(0..100) < self.reorder_percent {
            passage * 3 + Duration::from_millis(1)
        } else {
            passage
        }
    }

    /// Whether a packet comes twice.
    pub fn doubles(&self, random: &mut fastrand::Rng) -> bool {
        random.u8(0..100) < self.duplicate_percent
    }

    /// How long `bytes` occupy the direction.
    #[must_use]
    pub fn occupation(&self, bytes: u64) -> Duration {
        let micros = self.bandwidth.map_or(0, |rate| bytes.saturating_mul(1_000_000) / rate.max(1));
        Duration::from_micros(micros)
    }
}

impl Default for Weather {
    fn default() -> Self {
        Self::FAIR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_loses_everything_and_fair_weather_nothing() {
        let mut random = fastrand::Rng::with_seed(1);
        let cut = Weather { cut: true, ..Weather::FAIR };
        assert!((0..100).all(|_| cut.loses(&mut random)));
        assert!((0..100).all(|_| !Weather::FAIR.loses(&mut random)));
    }

    #[test]
    fn bandwidth_spreads_bytes_over_time() {
        let narrow = Weather { bandwidth: Some(1_000), ..Weather::FAIR };
        assert_eq!(narrow.occupation(2_500), Duration::from_millis(2_500));
        assert_eq!(Weather::FAIR.occupation(2_500), Duration::ZERO);
    }
}
