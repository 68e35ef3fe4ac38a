//! The road between two machines: what a connection may expect of it, as presets.
//!
//! Promise: every preset keeps alive at least twice within its own idle timeout, so that one lost packet
//! never ends a session.
//! Absent: bandwidth budgets and schedules, which the agent's engine decides.

use std::str::FromStr;
use std::time::Duration;

/// What a dialing side assumes about its road. Choose a preset and change what you know better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Road {
    /// Silence after which the connection counts as lost. At most [`crate::limits::HUB_IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// Silence after which a sign of life is sent, about 70 bytes with its answer. At most half of
    /// [`Self::idle_timeout`], or one lost packet ends the session.
    pub keep_alive: Duration,
    /// How long the other side may answer nothing to what asks for an answer, while there is another hub to turn to; four
    /// round trips when those take longer. Several of QUIC's own probes fit in, so it takes more than a few lost packets.
    /// Too small: agents change hubs for a hiccup. Too large: readings are late when a hub dies.
    pub silence: Duration,
    /// Round trip assumed before one is measured. Too small: handshakes are sent twice. Too large: a lost
    /// first packet is noticed late.
    pub first_rtt: Duration,
    /// Bytes sent and not yet acknowledged: bandwidth × round trip, and the memory that the link may take.
    pub send_window_bytes: u64,
}

impl Road {
    /// Between hubs of one country: a hub that died is noticed within 3 s, which is what gossip needs too. Three signs of life
    /// fit into that, and one of them costs 70 bytes in both directions together.
    pub const HUBS_NEAR: Self = Self {
        idle_timeout: Duration::from_secs(3),
        keep_alive: Duration::from_millis(800),
        silence: Duration::from_secs(3),
        first_rtt: Duration::from_millis(50),
        send_window_bytes: crate::limits::HUB_TO_HUB_SEND_WINDOW_BYTES,
    };

    /// Between hubs on several continents: round trips of 300 ms, and roads that stall for a second or two.
    pub const HUBS_FAR: Self = Self {
        idle_timeout: Duration::from_secs(9),
        keep_alive: Duration::from_millis(2_500),
        silence: Duration::from_secs(9),
        first_rtt: Duration::from_millis(300),
        send_window_bytes: crate::limits::HUB_TO_HUB_SEND_WINDOW_BYTES,
    };

    /// Wired: the fall of a hub is noticed a second after a reading was sent to it, 1.75 s after when nothing was, and where
    /// nobody else is there within 15 s. An idle agent costs 100 bytes a second, 10,000 of them 27,000 small packets
    /// a second at their hub.
    pub const FIBRE: Self = Self {
        idle_timeout: Duration::from_secs(15),
        keep_alive: Duration::from_millis(750),
        silence: Duration::from_secs(1),
        first_rtt: Duration::from_millis(100),
        send_window_bytes: 2 << 20,
    };

    /// Mobile: half the signs of life (metered, battery), patience for a hand-over between cells. Address
    /// translators forget UDP after 30 s, which the keep-alive stays below. A hand-over, or a lift, silences a modem for some
    /// seconds; another hub would not be heard either.
    pub const CELLULAR: Self = Self {
        idle_timeout: Duration::from_secs(30),
        keep_alive: Duration::from_secs(10),
        silence: Duration::from_secs(6),
        first_rtt: Duration::from_millis(333),
        send_window_bytes: 1 << 20,
    };

    /// Geostationary: 600 ms and more of round trip, dear bytes, a wide window so that 50 Mbit/s fit into it. Three of QUIC's
    /// probes, at 0.9, 2.7 and 6.3 s, and their answers fit into the silence.
    pub const SATELLITE: Self = Self {
        idle_timeout: Duration::from_secs(45),
        keep_alive: Duration::from_secs(15),
        silence: Duration::from_secs(8),
        first_rtt: Duration::from_millis(800),
        send_window_bytes: 4 << 20,
    };
}

impl Default for Road {
    fn default() -> Self {
        Self::FIBRE
    }
}

/// A word that names no road.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no road: choose `fibre`, `cellular` or `satellite`")]
pub struct RoadError(pub String);

impl FromStr for Road {
    type Err = RoadError;

    fn from_str(word: &str) -> Result<Self, RoadError> {
        match word {
            "fibre" => Ok(Self::FIBRE),
            "cellular" => Ok(Self::CELLULAR),
            "satellite" => Ok(Self::SATELLITE),
            _ => Err(RoadError(word.chars().take(64).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lost_sign_of_life_never_ends_a_session() {
        for word in ["fibre", "cellular", "satellite"] {
            let road: Road = word.parse().unwrap();
            assert!(road.keep_alive * 2 < road.idle_timeout, "{word}");
            assert!(road.keep_alive + road.silence < road.idle_timeout, "{word}: silence is noticed first");
            assert!(road.silence >= road.first_rtt * 8, "{word}: probes fit into the silence");
            assert!(road.idle_timeout <= crate::limits::HUB_IDLE_TIMEOUT, "{word}");
        }
        for road in [Road::HUBS_NEAR, Road::HUBS_FAR] {
            assert!(road.keep_alive * 3 < road.idle_timeout, "between hubs two may be lost: {road:?}");
        }
        assert!("carrier pigeon".parse::<Road>().is_err());
    }
}
