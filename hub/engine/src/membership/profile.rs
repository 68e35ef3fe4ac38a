//! What a hub says of itself, and which of two such sayings is the newer one.
//!
//! Promise: a profile that is sent or taken in is within its limits, and fits into one datagram.
//! Absent: whether it is true. It is a hint; what counts stands in the committed member table.

use millrace_model::{HubId, NodeId};
use serde::{Deserialize, Serialize};

/// Bytes of a name, a region, a software version.
pub const TEXT_BYTES_MAX: usize = 64;

/// Addresses of one hub: both families, inside and outside.
pub const ADDRESSES_MAX: usize = 4;

/// Bytes of one address.
pub const ADDRESS_BYTES_MAX: usize = 100;

/// How complete a hub's store is, as it says itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fullness {
    /// New or wiped: it holds nothing of its partitions yet.
    Empty,
    /// It fetches what its partitions hold.
    Syncing,
    /// It holds what its partitions hold, and counts for a quorum.
    Full,
    /// It votes and stores no readings.
    Witness,
}

/// What a hub says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// Its id, as in its certificate.
    pub hub: HubId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Where agents and hubs reach it, `host:port`.
    pub addresses: Vec<String>,
    /// Version of its program.
    pub software: String,
    /// How busy it is, in thousandths of what it can take; at most 1,000.
    pub load_permille: u16,
    /// It is about to stop, and wants no agents.
    pub draining: bool,
    /// How complete its store is.
    pub fullness: Fullness,
}

impl Profile {
    /// The profile within its limits: texts are cut at a character, addresses that are too long or too many are left out.
    #[must_use]
    pub fn fitted(mut self) -> Self {
        for text in [&mut self.name, &mut self.region, &mut self.software] {
            cut(text);
        }
        self.addresses.retain(|address| address.len() <= ADDRESS_BYTES_MAX);
        self.addresses.truncate(ADDRESSES_MAX);
        self.load_permille = self.load_permille.min(1_000);
        self
    }

    /// Whether it is within its limits.
    pub(crate) fn fits(&self) -> bool {
        [&self.name, &self.region, &self.software].iter().all(|text| text.len() <= TEXT_BYTES_MAX)
            && self.addresses.len() <= ADDRESSES_MAX
            && self.addresses.iter().all(|address| address.len() <= ADDRESS_BYTES_MAX)
            && self.load_permille <= 1_000
    }

    /// Whether `other` says the same except how busy the hub is: news that can wait.
    pub(crate) fn differs_in_load_alone(&self, other: &Self) -> bool {
        self != other && *self == Self { load_permille: self.load_permille, ..other.clone() }
    }
}

fn cut(text: &mut String) {
    let ends = text.char_indices().map(|(at, character)| at + character.len_utf8());
    let end = ends.take_while(|end| *end <= TEXT_BYTES_MAX).last().unwrap_or(0);
    text.truncate(end);
}

/// Which profile of a hub: those of a later life are newer, within a life the higher version is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Edition {
    /// The life of the hub that said it.
    pub life: u64,
    /// Rises with every change within that life.
    pub version: u64,
}

/// A profile on its way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Announced {
    pub(crate) node: NodeId,
    pub(crate) edition: Edition,
    pub(crate) profile: Profile,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            hub: HubId::from_bytes([1; 16]),
            name: "north".to_owned(),
            region: "eu".to_owned(),
            addresses: vec!["north.example:7443".to_owned()],
            software: "0.1.0".to_owned(),
            load_permille: 5,
            draining: false,
            fullness: Fullness::Full,
        }
    }

    #[test]
    fn a_profile_is_cut_to_its_limits_and_the_largest_fits_into_an_item() {
        let wide = Profile {
            name: "é".repeat(TEXT_BYTES_MAX),
            region: "r".repeat(TEXT_BYTES_MAX * 2),
            software: "s".repeat(TEXT_BYTES_MAX * 2),
            addresses: vec!["a".repeat(ADDRESS_BYTES_MAX); ADDRESSES_MAX * 2],
            load_permille: 4_000,
            ..profile()
        };
        assert!(!wide.fits());
        let fitted = wide.fitted();
        assert!(fitted.fits(), "{fitted:?}");
        let edition = Edition { life: u64::MAX, version: u64::MAX };
        let announced = Announced { node: NodeId(u64::MAX), edition, profile: fitted };
        assert_eq!(millrace_wire::gossip::encode(&announced, Vec::new()), Ok(()));
    }

    #[test]
    fn only_load_is_news_that_can_wait() {
        assert!(profile().differs_in_load_alone(&Profile { load_permille: 9, ..profile() }));
        assert!(!profile().differs_in_load_alone(&profile()));
        assert!(!profile().differs_in_load_alone(&Profile { draining: true, load_permille: 9, ..profile() }));
    }
}
