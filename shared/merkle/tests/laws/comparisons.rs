//! Two holders of one journal that went through different things.

use millrace_merkle::comparison::{Contested, Limits};
use millrace_merkle::{Comparison, Difference, Place};
use millrace_model::{NodeHash, RangeSet, SegmentName, Seq, SeqRange};
use proptest::prelude::{any, proptest};
use proptest::test_runner::Config;

use crate::holder::Holder;
use crate::story::{Story, befall, content, mishap, story};

/// What a comparison should find, told without trees.
fn expected(mine: &Holder, theirs: &Holder) -> Difference {
    let floor = mine.floor.max(theirs.floor);
    let kept = SeqRange::new(floor, Seq::MAX).unwrap();
    let (here, there) = (mine.present().within(kept), theirs.present().within(kept));
    let mut found =
        Difference { pull: there.difference(&here), push: here.difference(&there), ..Difference::default() };
    if !found.is_empty() {
        return found;
    }
    for ordinal in mine.first_ordinal().max(theirs.first_ordinal())..mine.plan.len() as u64 {
        let name = |holder: &Holder| holder.segments.get(&ordinal).map(|segment| segment.name);
        match (name(mine), name(theirs)) {
            (one, other) if one == other => {}
            (None, Some(other)) => found.seal.push(other),
            (one, other) => found.contested.push(Contested { mine: one, theirs: other }),
        }
    }
    if found.is_empty() {
        let other = mine.rows.range(floor..).filter(|(seq, content)| theirs.rows.get(seq) != Some(*content));
        found.rows = other.map(|(seq, _)| SeqRange::only(*seq)).collect();
    }
    found
}

fn same_finds(found: &Difference, expected: &Difference) {
    assert_eq!((&found.pull, &found.push), (&expected.pull, &expected.push));
    assert_eq!((&found.seal, &found.contested), (&expected.seal, &expected.contested));
    if found.adopt.is_empty() {
        assert_eq!(found.rows, expected.rows);
    }
    assert_eq!(found.cut, None);
}

/// Lets both ask each other and repair until neither finds anything to do.
fn settle(one: &mut Holder, other: &mut Holder, limits: Limits) {
    for _ in 0..12 {
        let mine = one.compare(other, limits);
        one.repair(&mine, other);
        let theirs = other.compare(one, limits);
        other.repair(&theirs, one);
        if mine.is_empty() && theirs.is_empty() {
            return;
        }
    }
    panic!("they do not come to an end: {:?}", one.compare(other, limits));
}

fn kept(holder: &Holder, floor: Seq) -> (Vec<(Seq, u8)>, Vec<SegmentName>) {
    let all = holder.present().within(SeqRange::new(floor, Seq::MAX).unwrap());
    let contents = all.iter().flat_map(|range| range.first()..=range.last());
    let sealed = holder.segments.values().map(|segment| segment.name);
    (
        contents.map(|seq| (seq, holder.content(seq).unwrap())).collect(),
        sealed.filter(|name| name.first >= floor).collect(),
    )
}

/// After both have let go of the same and settled once more, they are equal, and one question shows it.
fn end_equal(one: &mut Holder, other: &mut Holder) {
    let floor = one.floor.max(other.floor);
    one.trim(floor);
    other.trim(floor);
    settle(one, other, Limits::DEFAULT);
    for (mine, theirs) in [(&mut one.clone(), &mut other.clone()), (other, one)] {
        let last = mine.compare(theirs, Limits::DEFAULT);
        assert!(last.equal && last.figures.questions == 1, "{last:?}");
    }
}

proptest! {
    #![proptest_config(Config { cases: 300, ..Config::default() })]

    #[test]
    fn a_comparison_finds_exactly_what_differs(story in story()) {
        let [mut one, mut other] = story.holders(false);
        let wanted = expected(&one, &other);
        let found = one.compare(&mut other, Limits::DEFAULT);
        same_finds(&found, &wanted);
        same_finds(&other.compare(&mut one, Limits::DEFAULT), &expected(&other, &one));
        if story.fates.iter().all(|(_, from_the_beginning, _)| *from_the_beginning) {
            assert_eq!((found.adopt.len(), found.unsettled), (0, 0), "{found:?}");
            assert_eq!(found.equal, wanted.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn the_order_in_which_records_came_does_not_matter(story in story(), seed in any::<u64>()) {
        let story = Story { fates: [(story.fates[0].0, true, Vec::new()), story.fates[1].clone()], ..story };
        let plain = story.whole(0);
        let mut other = Holder::beginning_at(1, &plain.plan);
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut records: Vec<Seq> = (1..=plain.head).collect();
        chance.shuffle(&mut records);
        for (ordinal, some) in records.chunks(3).enumerate() {
            some.iter().for_each(|seq| other.store(*seq, content(*seq)));
            if ordinal < other.plan.len() {
                other.seal(ordinal as u64);
            }
        }
        let mut unsealed: Vec<u64> = (0..other.plan.len() as u64).collect();
        unsealed.retain(|ordinal| !other.segments.contains_key(ordinal));
        chance.shuffle(&mut unsealed);
        for ordinal in unsealed {
            assert!(other.seal(ordinal));
        }
        other.trim(plain.floor);
        assert_eq!((plain.summary(), plain.nodes.0), (other.summary(), other.nodes.0));
    }

    #[test]
    fn what_was_repaired_is_equal_in_one_round_trip(story in story(), anywhere in any::<bool>(), both in any::<bool>()) {
        let [mut one, mut other] = story.holders(anywhere);
        let floor = one.floor.max(other.floor);
        settle(&mut one, &mut other, Limits { both, ..Limits::DEFAULT });
        assert_eq!(kept(&one, floor), kept(&other, floor));
        end_equal(&mut one, &mut other);
    }

    #[test]
    fn looking_for_both_finds_damage_although_records_are_missing(story in story()) {
        let [mut one, mut other] = story.holders(false);
        let found = one.compare(&mut other, Limits { both: true, ..Limits::DEFAULT });
        let wanted = expected(&one, &other);
        assert_eq!((&found.pull, &found.push), (&wanted.pull, &wanted.push));
        for (ordinal, segment) in one.segments.range(one.first_ordinal().max(other.first_ordinal())..) {
            let theirs = other.segments.get(ordinal).filter(|theirs| theirs.name != segment.name);
            let named = found.contested.iter().any(|place| place.theirs.is_some_and(|name| name.ordinal == *ordinal));
            assert_eq!(named, theirs.is_some());
        }
        let rows = one.rows.iter().filter(|(seq, content)| {
            **seq >= found.floor && other.rows.get(seq).is_some_and(|theirs| theirs != *content)
        });
        assert_eq!(found.rows, rows.map(|(seq, _)| SeqRange::only(*seq)).collect());
    }

    #[test]
    fn what_was_trimmed_does_not_matter_and_never_comes_back(
        story in story(), floors in (any::<u64>(), any::<u64>()), into_the_tail in any::<bool>(),
    ) {
        let story = Story { fates: [(0, true, Vec::new()), (0, true, Vec::new())], ..story };
        let [mut one, mut other] = story.holders(false);
        let ends = one.plan.len() as u64 + if into_the_tail { story.tail } else { 0 } + 1;
        let floor = |at: u64| {
            let at = usize::try_from(at % ends).unwrap();
            let behind = one.head - story.tail + 1;
            one.plan.get(at).map_or(behind + at.saturating_sub(one.plan.len()) as u64, |range| range.first())
        };
        let floors = (floor(floors.0), floor(floors.1));
        one.trim(floors.0);
        other.trim(floors.1);
        let found = one.compare(&mut other, Limits::DEFAULT);
        assert!(found.equal && found.is_empty(), "{found:?}");
        if one.rows == other.rows {
            assert_eq!(found.figures.questions, 1);
        }
        assert_eq!(found.floor, floors.0.max(floors.1));
    }

    #[test]
    fn holders_that_change_while_they_are_compared_do_not_contradict_themselves(
        story in story(), changes in proptest::collection::vec((any::<bool>(), mishap(), any::<bool>()), 1..8), both in any::<bool>(),
    ) {
        let mut holders = story.holders(false);
        let mut changes = changes.into_iter();
        let mut comparison = Comparison::new(Limits { both, ..Limits::DEFAULT });
        while let Some(about) = comparison.poll_question() {
            let [one, other] = &mut holders;
            comparison.answered(one.answer(&about), other.answer(&about)).unwrap();
            if let Some((which, mishap, trims)) = changes.next() {
                let holder = &mut holders[usize::from(which)];
                let next = usize::try_from(holder.first_ordinal() + 7).unwrap();
                if let Some(range) = holder.plan.get(next).filter(|_| trims) {
                    holder.trim(range.first());
                }
                befall(holder, mishap, 0);
            }
        }
        let [mut one, mut other] = holders;
        settle(&mut one, &mut other, Limits::DEFAULT);
        end_equal(&mut one, &mut other);
    }

    #[test]
    fn a_small_budget_ends_with_what_was_found_and_says_so(story in story(), nodes_max in 0_u64..12) {
        let [mut one, mut other] = story.holders(false);
        let full = one.compare(&mut other, Limits::DEFAULT);
        let cut = one.compare(&mut other, Limits { nodes_max, ..Limits::DEFAULT });
        assert!(cut.figures.nodes <= nodes_max.max(full.figures.nodes.min(17)));
        assert!(cut.cut.is_some() || cut == full, "{cut:?}");
        assert!(!cut.equal || full.equal);
        assert!(cut.contested.iter().all(|place| full.contested.contains(place)));
        assert!(cut.seal.iter().all(|name| full.seal.contains(name)));
    }
}

#[test]
fn a_fresh_holder_takes_over_the_hashes_of_what_it_never_had() {
    let story = Story {
        sizes: vec![1; 300],
        tail: 2,
        fates: [(2 * 170 + 1, false, Vec::new()), (0, true, Vec::new())],
    };
    let [mut fresh, mut other] = story.holders(false);
    let found = fresh.compare(&mut other, Limits::DEFAULT);
    assert!(found.pull.is_empty() && !found.equal && found.unsettled == 0);
    assert_eq!(found.adopt.len(), 10 + 10, "ten nodes of sixteen, ten leaves");
    fresh.repair(&found, &mut other);
    let again = fresh.compare(&mut other, Limits::DEFAULT);
    assert!(again.equal && again.figures.questions == 1);
}

#[test]
fn whoever_compares_nothing_itself_is_given_the_hashes_that_it_lacks() {
    let gives = Limits { gives: true, ..Limits::DEFAULT };
    // It never had them; they stand under the same root; it does not know how far its floor is; it remembers something else.
    for (sizes, floor, is_unaware, other_hash) in [
        (vec![1; 300], 2 * 170 + 1, false, None),
        (vec![1; 40], 2 * 20 + 1, false, Some(0)),
        (vec![1; 40], 2 * 20 + 1, false, Some(0xff)),
        (vec![2; 40], 2 * 20 + 1, true, None),
    ] {
        let story = Story { sizes, tail: 2, fates: [(0, true, Vec::new()), (floor, false, Vec::new())] };
        let [mut keeper, mut lacking] = story.holders(false);
        lacking.is_unaware = is_unaware;
        if let Some(byte) = other_hash {
            lacking.set(Place { level: 1, index: 0 }, Some(NodeHash([byte; 16])));
        }
        let silent = keeper.compare(&mut lacking, Limits::DEFAULT);
        assert!(silent.give.is_empty() && !silent.equal, "{silent:?}");
        let found = keeper.compare(&mut lacking, gives);
        assert!(!found.give.is_empty() && found.adopt.is_empty() && found.unsettled == 0, "{found:?}");
        let root = keeper.root;
        keeper.repair(&found, &mut lacking);
        assert_eq!((keeper.root, lacking.root), (root, root));
        let again = keeper.compare(&mut lacking, gives);
        assert!(again.equal && again.figures.questions == 1, "{again:?}");
    }
}

#[test]
fn holders_that_remember_different_things_of_what_is_gone_come_to_the_same_hash() {
    let story = Story {
        sizes: vec![1; 40],
        tail: 0,
        fates: [(2 * 32 + 1, true, Vec::new()), (2 * 32 + 1, false, Vec::new())],
    };
    let mut holders = story.holders(false);
    holders[0].set(Place { level: 1, index: 1 }, Some(NodeHash([1; 16])));
    let [mut one, mut other] = holders;
    other.set(Place { level: 1, index: 1 }, Some(NodeHash([2; 16])));
    settle(&mut one, &mut other, Limits::DEFAULT);
    end_equal(&mut one, &mut other);
}

#[test]
fn who_still_keeps_something_knows_better_than_who_remembers_a_hash() {
    let story =
        Story { sizes: vec![1; 40], tail: 0, fates: [(0, true, Vec::new()), (2 * 32 + 1, true, Vec::new())] };
    let [mut keeper, mut other] = story.holders(false);
    let root = keeper.root;
    for wrong in [0, 0xff] {
        other.set(Place { level: 1, index: 1 }, Some(NodeHash([wrong; 16])));
        let found = keeper.compare(&mut other, Limits::DEFAULT);
        assert!(found.is_empty() && found.unsettled == 1, "{found:?}");
        let found = other.compare(&mut keeper, Limits::DEFAULT);
        assert_eq!(found.adopt.len(), 1);
        other.repair(&found, &mut keeper);
        assert_eq!(other.root, root);
    }
}

#[test]
fn a_holder_that_does_not_know_its_first_ordinal_takes_over_the_hashes_of_leaves_by_their_names() {
    let story = Story {
        sizes: vec![2; 40],
        tail: 0,
        fates: [(2 * 20 + 1, false, Vec::new()), (0, true, Vec::new())],
    };
    let [mut unaware, mut other] = story.holders(false);
    unaware.is_unaware = true;
    let found = unaware.compare(&mut other, Limits::DEFAULT);
    assert!(found.pull.is_empty() && found.unsettled == 0);
    assert_eq!(
        found.adopt.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        (0..20).map(Place::leaf).collect::<Vec<_>>()
    );
    unaware.repair(&found, &mut other);
    let again = unaware.compare(&mut other, Limits::DEFAULT);
    assert!(again.equal && again.figures.questions == 1);
}

#[test]
fn a_journal_that_one_holder_does_not_know_is_pushed_as_a_whole() {
    let story = Story { sizes: vec![3; 20], tail: 1, fates: [(0, true, Vec::new()), (0, true, Vec::new())] };
    let [mut one, mut other] = story.holders(false);
    other = Holder::beginning_at(1, &other.plan);
    let found = one.compare(&mut other, Limits::DEFAULT);
    assert_eq!(found.push, RangeSet::from(SeqRange::new(1, 61).unwrap()));
    assert_eq!(found.figures.questions, 1);
}
