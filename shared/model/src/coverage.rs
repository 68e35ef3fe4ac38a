//! Coverage: which numbers are in at least so many of several sets. What a majority of replicas has is a question of this kind.

use crate::{RangeSet, Seq, SeqRange};

/// The numbers that are in at least `at_least` of `sets`; nothing when that is 0 or more than there are sets.
#[must_use]
pub fn covered(sets: &[&RangeSet], at_least: usize) -> RangeSet {
    if at_least == 0 || at_least > sets.len() {
        return RangeSet::new();
    }
    // Where a range begins the depth rises, behind its end it falls. Falls come first, so that ranges that touch do not count
    // twice where they meet.
    let mut steps: Vec<(u128, bool)> = Vec::new();
    for range in sets.iter().flat_map(|set| set.iter()) {
        steps.push((u128::from(range.first()), true));
        steps.push((u128::from(range.last()) + 1, false));
    }
    steps.sort_unstable();
    let (mut depth, mut began) = (0, None);
    let mut found = RangeSet::new();
    for (at, rises) in steps {
        let before = depth;
        depth = if rises { depth + 1 } else { depth - 1 };
        if before < at_least && depth == at_least {
            began = Seq::try_from(at).ok();
        } else if before == at_least && depth < at_least {
            let range = began.take().zip(Seq::try_from(at - 1).ok());
            if let Some(range) = range.and_then(|(first, last)| SeqRange::new(first, last)) {
                found.insert(range);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        ranges.iter().filter_map(|(first, last)| SeqRange::new(*first, *last)).collect()
    }

    #[test]
    fn a_majority_is_what_two_of_three_have() {
        let (a, b, c) = (set(&[(1, 10)]), set(&[(4, 6), (9, 20)]), set(&[(6, 9)]));
        assert_eq!(covered(&[&a, &b, &c], 1), set(&[(1, 20)]));
        assert_eq!(covered(&[&a, &b, &c], 2), set(&[(4, 10)]));
        assert_eq!(covered(&[&a, &b, &c], 3), set(&[(6, 6), (9, 9)]));
        assert_eq!(covered(&[&a, &b, &c], 4), RangeSet::new());
        assert_eq!(covered(&[&a], 0), RangeSet::new());
    }

    #[test]
    fn the_last_number_of_all_is_covered_too() {
        let all = set(&[(1, u64::MAX)]);
        assert_eq!(covered(&[&all, &all], 2), all);
    }

    proptest! {
        #[test]
        fn it_agrees_with_counting(
            sets in prop::collection::vec(prop::collection::vec((1_u64..40, 0_u64..9), 0..5), 1..5),
            at_least in 1_usize..5,
        ) {
            let sets: Vec<RangeSet> = sets
                .iter()
                .map(|ranges| ranges.iter().filter_map(|(first, more)| SeqRange::new(*first, first + more)).collect())
                .collect();
            let found = covered(&sets.iter().collect::<Vec<_>>(), at_least);
            for seq in 1..60 {
                let count = sets.iter().filter(|set| set.contains(seq)).count();
                prop_assert_eq!(found.contains(seq), count >= at_least, "{} in {:?}", seq, sets);
            }
        }
    }
}
