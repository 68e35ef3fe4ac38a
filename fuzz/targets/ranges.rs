//! Range sets that a peer wrote, as CBOR and as JSON, and the algebra that runs on them.
//!
//! Promise: an accepted set is sorted, disjoint and never adjacent; set operations neither overflow nor invent members.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_model::limits::RANGES_MAX;
use millrace_model::{RangeSet, SeqRange};

fuzz_target!(|data: &[u8]| {
    let half = data.len() / 2;
    let (left, right) = data.split_at(half);
    for set in [cbor(data), json(data)].into_iter().flatten() {
        holds(&set);
    }
    if let (Some(a), Some(b)) = (cbor(left), cbor(right)) {
        algebra(&a, &b);
    }
});

fn cbor(bytes: &[u8]) -> Option<RangeSet> {
    millrace_wire::strict::check(bytes).ok()?;
    serde_cbor::from_slice(bytes).ok()
}

fn json(bytes: &[u8]) -> Option<RangeSet> {
    serde_json::from_slice(bytes).ok()
}

fn holds(set: &RangeSet) {
    assert!(set.range_count() <= RANGES_MAX);
    let ranges: Vec<SeqRange> = set.iter().collect();
    for pair in ranges.windows(2) {
        assert!(pair[0].last() + 1 < pair[1].first(), "{set}: touching or out of order");
    }
    assert_eq!(&ranges.into_iter().collect::<RangeSet>(), set, "building it anew gives another set");
    let written = serde_cbor::to_vec(set).expect("a set can be written");
    assert_eq!(&cbor(&written).expect("a written set can be read"), set);
}

fn algebra(a: &RangeSet, b: &RangeSet) {
    let (common, rest) = (a.intersection(b), a.difference(b));
    assert_eq!(common, b.intersection(a));
    assert!(common.intersection(&rest).is_empty());
    let mut whole = common.clone();
    whole.extend(&rest);
    assert_eq!(&whole, a, "what is common and what is left make up the set");
    let mut union = a.clone();
    union.extend(b);
    assert!(union.iter().all(|range| union.covers(range)));
    assert!(a.difference(&union).is_empty() && b.difference(&union).is_empty());
    for range in b.iter() {
        assert_eq!(a.within(range), a.intersection(&RangeSet::from(range)));
        let _frontier = a.frontier(range.first());
    }
}
