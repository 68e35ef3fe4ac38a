//! The numbers of gossip, for hubs in one building and for hubs on several continents.
//!
//! Promise: a hub that dies is known to be down at all others within [`Numbers::detection`], in clusters of up to
//! seven hubs; two hubs with nothing to say exchange less than 5 kB in a second. Both are tests.
//! Absent: limits of sizes; they stand in `millrace_wire::limits` and beside what they limit.

use std::num::{NonZeroU8, NonZeroUsize};
use std::str::FromStr;
use std::time::Duration;

use foca::PeriodicParams;
use millrace_wire::limits::GOSSIP_DATAGRAM_MAX;
use serde::{Deserialize, Serialize};

/// How far apart the hubs stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Round trips of up to some tens of milliseconds: one site, one city, one country.
    Lan,
    /// Round trips of up to 400 ms: several continents. The default, since it is never wrong, only slower.
    #[default]
    Wan,
}

/// The numbers of a preset. All are times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// How often a hub probes one of the others, in turn. An answer counts until the next probe, so this is also how
    /// slow a hub may be without being suspected.
    pub probe_every: Duration,
    /// After this without an answer, up to three others are asked to probe too; what is left of the period must suffice
    /// for their four hops.
    pub probe_patience: Duration,
    /// How long a suspected hub has to say that it lives: nine rounds of gossip or more, so that a road that loses every fifth
    /// datagram does not kill anybody.
    pub suspicion: Duration,
    /// How often news are passed on, to three others. Nothing is sent when there are none.
    pub gossip_every: Duration,
    /// How often hubs that should be there and are not are knocked at: this heals partitions.
    pub announce_every: Duration,
    /// How often one other hub is asked whether its profile changed: this repairs what gossip missed, and measures the
    /// round trip.
    pub ask_every: Duration,
    /// How often a change of the load alone is told at most: a load that flickers must not become traffic.
    pub load_every: Duration,
    /// Within this time a hub that died is known to be down everywhere: the wait for the first probe, the probe, the
    /// suspicion, the rounds of gossip. The wait is a matter of chance: it was never longer in
    /// 2,400 simulated deaths in clusters of two to seven hubs, and it cannot be ruled out.
    pub detection: Duration,
}

/// Numbers of [`Preset::Lan`]. The period is for the machines, not for the road: a hub that is busy for half a second is no
/// suspect. Simulated, a dead hub is down everywhere after less than 4 s in the median.
const LAN: Numbers = Numbers {
    probe_every: Duration::from_millis(750),
    probe_patience: Duration::from_millis(250),
    suspicion: Duration::from_secs(2),
    gossip_every: Duration::from_millis(200),
    announce_every: Duration::from_secs(5),
    ask_every: Duration::from_secs(2),
    load_every: Duration::from_secs(5),
    detection: Duration::from_secs(8),
};

/// Numbers of [`Preset::Wan`]. The patience covers the round trip to the other side of the earth, the 900 ms after it
/// the four hops over a third hub. Simulated, a dead hub is down everywhere after 7 s in the median.
const WAN: Numbers = Numbers {
    probe_every: Duration::from_millis(1_500),
    probe_patience: Duration::from_millis(600),
    suspicion: Duration::from_millis(4_500),
    gossip_every: Duration::from_millis(500),
    announce_every: Duration::from_secs(10),
    ask_every: Duration::from_secs(5),
    load_every: Duration::from_secs(10),
    detection: Duration::from_secs(15),
};

/// Others that are asked to probe too, and that news go to in one round. Three of them all being wrong is what a
/// suspicion is for.
const FANOUT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// How often one piece of news is sent on by each hub that has it: four rounds to three others reach 64 hubs over a road that
/// loses every fifth datagram.
const TRANSMISSIONS: NonZeroU8 = NonZeroU8::MIN.saturating_add(11);

/// How long a hub that is down is remembered: as long as an old rumour that it lives could still come up.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a hub asks one other for everybody it knows: nobody stays unknown for longer than some of these.
const ROLL_CALL_EVERY: Duration = Duration::from_secs(30);

impl Preset {
    /// Its numbers.
    #[must_use]
    pub const fn numbers(self) -> Numbers {
        match self {
            Self::Lan => LAN,
            Self::Wan => WAN,
        }
    }
}

/// A word that is no preset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no preset of gossip; use `lan` for hubs in one country, `wan` for hubs on several continents"
)]
pub struct PresetError(String);

impl FromStr for Preset {
    type Err = PresetError;

    fn from_str(text: &str) -> Result<Self, PresetError> {
        match text {
            "lan" => Ok(Self::Lan),
            "wan" => Ok(Self::Wan),
            other => Err(PresetError(other.chars().take(64).collect())),
        }
    }
}

impl Numbers {
    /// The same for foca.
    pub(crate) fn swim(&self) -> foca::Config {
        let each = |frequency, num_members| Some(PeriodicParams { frequency, num_members });
        foca::Config {
            probe_period: self.probe_every,
            probe_rtt: self.probe_patience,
            num_indirect_probes: FANOUT,
            max_transmissions: TRANSMISSIONS,
            suspect_to_down_after: self.suspicion,
            remove_down_after: Some(REMEMBERED),
            max_packet_size: swim_bytes_max(),
            // Two sides of a partition hold each other for dead; only being told makes a hub begin its next life.
            notify_down_members: true,
            periodic_announce: each(ROLL_CALL_EVERY, NonZeroUsize::MIN),
            // Membership knocks by itself, also at hubs that were never met or were forgotten.
            periodic_announce_to_down_members: None,
            periodic_gossip: each(self.gossip_every, FANOUT),
        }
    }
}

/// A datagram without what stands in front of foca's bytes.
fn swim_bytes_max() -> NonZeroUsize {
    let bytes = GOSSIP_DATAGRAM_MAX - super::datagram::PREFIX_BYTES;
    NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN)
}
