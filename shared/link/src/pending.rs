//! The handshakes under way: how many, and from where.
//!
//! Promise: no more than [`HANDSHAKES_MAX`] in all and [`HANDSHAKES_PER_SOURCE_MAX`] from one source; a place
//! is given back when it is dropped, however its handshake ended.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::{HANDSHAKES_MAX, HANDSHAKES_PER_SOURCE_MAX};

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_source: BTreeMap<IpAddr, usize>,
}

/// Counts handshakes. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pending(Arc<Mutex<Counts>>);

/// One handshake's place.
#[derive(Debug)]
pub(crate) struct Place {
    counts: Arc<Mutex<Counts>>,
    source: IpAddr,
}

impl Pending {
    /// How many are under way.
    pub(crate) fn all(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// A place for a handshake from `address`, if there is one.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let source = source_of(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = counts.by_source.get(&source).copied().unwrap_or(0);
        if counts.all >= HANDSHAKES_MAX || here >= HANDSHAKES_PER_SOURCE_MAX {
            return None;
        }
        counts.all += 1;
        counts.by_source.insert(source, here + 1);
        Some(Place { counts: Arc::clone(&self.0), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        match counts.by_source.get_mut(&self.source) {
            Some(here) if *here > 1 => *here -= 1,
            _ => {
                counts.by_source.remove(&self.source);
            }
        }
    }
}

/// The address for IPv4; the /64 for IPv6, of which one subscriber has all addresses.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_all_places_and_places_come_back() {
        let pending = Pending::default();
        let hostile: Vec<_> = std::iter::from_fn(|| pending.enter([10, 0, 0, 1].into())).collect();
        assert_eq!(hostile.len(), HANDSHAKES_PER_SOURCE_MAX);
        let honest = pending.enter([10, 0, 0, 2].into()).expect("a place is left for others");
        assert_eq!(pending.all(), HANDSHAKES_PER_SOURCE_MAX + 1);
        drop((hostile, honest));
        assert_eq!(pending.all(), 0);
        assert!(pending.0.lock().unwrap().by_source.is_empty());
    }

    #[test]
    fn all_places_together_are_bounded() {
        let pending = Pending::default();
        let places: Vec<_> = (0..u8::MAX)
            .flat_map(|host| (0..16).map(move |_| host))
            .filter_map(|host| pending.enter([10, 0, 0, host].into()))
            .collect();
        assert_eq!(places.len(), HANDSHAKES_MAX);
    }

    #[test]
    fn a_subscriber_with_many_ipv6_addresses_is_one_source() {
        let a: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        let b: IpAddr = "2001:db8:0:1:ffff::2".parse().unwrap();
        let c: IpAddr = "2001:db8:0:2::1".parse().unwrap();
        assert_eq!(source_of(a), source_of(b));
        assert_ne!(source_of(a), source_of(c));
        assert_eq!(source_of("::ffff:10.0.0.1".parse().unwrap()), source_of([10, 0, 0, 1].into()));
    }
}
