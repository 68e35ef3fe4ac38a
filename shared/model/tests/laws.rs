//! Laws of the model: encodings are exact, and range sets agree with plain sets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;

use bytes::Bytes;
use millrace_model::{Flags, Kind, RangeSet, Record, SeqRange, Topic, Wall, block, canon};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = (
        (any::<u8>(), any::<u8>(), "[a-c]{1,3}(/[a-c]{1,2}){0,2}"),
        vec(any::<u8>(), 0..40),
        (any::<i64>(), any::<u64>(), any::<Option<i64>>()),
    );
    vec(one, 0..20).prop_map(|all| {
        all.into_iter()
            .map(|((kind, flags, topic), payload, (wall, mono, source))| Record {
                kind: Kind(kind),
                flags: match source {
                    Some(_) => Flags(flags).with(Flags::SOURCE_TIME),
                    None => Flags(flags & !Flags::SOURCE_TIME.0),
                },
                topic: Topic::new(&topic).unwrap(),
                payload: Bytes::from(payload),
                wall: Wall(wall),
                mono,
                source: source.map(Wall),
            })
            .collect()
    })
}

fn ranges() -> impl Strategy<Value = Vec<SeqRange>> {
    vec((0_u64..60, 0_u64..12).prop_map(|(first, more)| SeqRange::new(first, first + more).unwrap()), 0..12)
}

fn members(set: &RangeSet) -> BTreeSet<u64> {
    set.iter().flat_map(|range| range.first()..=range.last()).collect()
}

proptest! {
    #[test]
    fn records_and_runs_read_back_exactly(all in records()) {
        for record in &all {
            prop_assert_eq!(&canon::decode(&Bytes::from(canon::encode(record))).unwrap(), record);
        }
        prop_assert_eq!(block::decode(&Bytes::from(block::encode(&all))).unwrap(), all);
    }

    #[test]
    fn what_decodes_is_what_would_be_encoded(bytes in vec(any::<u8>(), 0..80), all in records(), flip in any::<usize>()) {
        let bytes = Bytes::from(bytes);
        if let Ok(record) = canon::decode(&bytes) {
            prop_assert_eq!(canon::encode(&record), bytes.as_ref());
        }
        let mut damaged = block::encode(&all);
        let at = flip % damaged.len();
        damaged[at] ^= 1 << (flip % 8);
        let damaged = Bytes::from(damaged);
        if let Ok(read) = block::decode(&damaged) {
            prop_assert_eq!(block::encode(&read), damaged.as_ref());
        }
    }

    #[test]
    fn range_sets_agree_with_plain_sets(a in ranges(), b in ranges(), gone in ranges()) {
        let (mut set, other): (RangeSet, RangeSet) = (a.into_iter().collect(), b.into_iter().collect());
        let mut plain = members(&set);
        for range in gone {
            set.remove(range);
            plain.retain(|seq| !range.contains(*seq));
        }
        prop_assert_eq!(members(&set), plain.clone());
        let theirs = members(&other);
        prop_assert_eq!(members(&set.difference(&other)), plain.difference(&theirs).copied().collect::<BTreeSet<_>>());
        let mut less = set.clone();
        less.subtract(&other);
        prop_assert_eq!(less, set.difference(&other));
        prop_assert_eq!(members(&set.intersection(&other)), plain.intersection(&theirs).copied().collect::<BTreeSet<_>>());
        let mut union = set.clone();
        union.extend(&other);
        prop_assert_eq!(members(&union), plain.union(&theirs).copied().collect::<BTreeSet<_>>());
        let window = SeqRange::new(10, 40).unwrap();
        prop_assert_eq!(members(&set.within(window)), plain.iter().copied().filter(|s| window.contains(*s)).collect::<BTreeSet<_>>());
        for range in union.iter().collect::<Vec<_>>().windows(2) {
            assert!(range[0].last() + 1 < range[1].first(), "ranges touch: {union}");
        }
        let json = serde_json::to_string(&union).unwrap();
        prop_assert_eq!(serde_json::from_str::<RangeSet>(&json).unwrap(), union);
    }
}

#[test]
fn the_frontier_stops_at_the_first_hole() {
    let set: RangeSet = [SeqRange::new(1, 5).unwrap(), SeqRange::new(8, 9).unwrap()].into_iter().collect();
    assert_eq!(set.frontier(1), 5);
    assert_eq!(set.frontier(6), 5);
    assert_eq!(set.frontier(8), 9);
    assert_eq!(RangeSet::new().frontier(1), 0);
}

#[test]
fn ranges_at_the_ends_of_the_numbers_do_not_overflow() {
    let mut set = RangeSet::from(SeqRange::new(0, u64::MAX).unwrap());
    set.remove(SeqRange::only(u64::MAX));
    set.remove(SeqRange::only(0));
    set.insert(SeqRange::only(u64::MAX));
    assert_eq!(set.iter().collect::<Vec<_>>(), [SeqRange::new(1, u64::MAX).unwrap()]);
    assert_eq!(SeqRange::starting(u64::MAX, 2), None);
}
