//! Two holders of one journal that went through different things.

use millrace_merkle::comparison::{Contested, Limits};
use millrace_merkle::{Difference, Place};
use millrace_model::{NodeHash, RangeSet, SegmentName, Seq, SeqRange};
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;

use crate::holder::{Holder, Segment};

/// What can befall a holder.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    /// A segment is gone.
    Lost(u64),
    /// A segment's records are rows.
    Unsealed(u64),
    /// The same, and one of the records is gone.
    Torn(u64),
    /// A segment has other content, under another hash.
    Other(u64),
    /// A row is gone.
    RowLost(u64),
    /// A row has other content.
    RowOther(u64),
    /// Everything from here on has not come yet.
    Behind(u64),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    let at = any::<u64>;
    prop_oneof![
        3 => at().prop_map(Mishap::Lost),
        3 => at().prop_map(Mishap::Unsealed),
        2 => at().prop_map(Mishap::Torn),
        3 => at().prop_map(Mishap::Other),
        2 => at().prop_map(Mishap::RowLost),
        3 => at().prop_map(Mishap::RowOther),
        1 => at().prop_map(Mishap::Behind),
    ]
}

/// How two holders came about.
#[derive(Clone, Debug)]
struct Story {
    sizes: Vec<u64>,
    tail: u64,
    /// For each holder: its floor as an ordinal, whether it kept the journal from the beginning, and what befell it.
    fates: [(usize, bool, Vec<Mishap>); 2],
}

fn story() -> impl Strategy<Value = Story> {
    let sizes = prop_oneof![
        proptest::collection::vec(1_u64..5, 0..40),
        proptest::collection::vec(1_u64..2, 200..330)
    ];
    let fate = || (0_usize..400, any::<bool>(), proptest::collection::vec(mishap(), 0..5));
    (sizes, 0_u64..6, fate(), fate()).prop_map(|(sizes, tail, one, other)| Story {
        sizes,
        tail,
        fates: [one, other],
    })
}

impl Story {
    fn plan(&self) -> Vec<SeqRange> {
        let mut next = 1;
        let ranges = self.sizes.iter().map(|size| {
            let range = SeqRange::starting(next, *size).unwrap();
            next += size;
            range
        });
        ranges.collect()
    }

    /// The ordinal of a holder's floor: half of them have none.
    fn floor(&self, which: usize) -> usize {
        let (floor, ..) = self.fates[which];
        if floor % 2 == 0 { 0 } else { floor / 2 % (self.sizes.len() + 1) }
    }

    /// The holder before anything befell it.
    fn whole(&self, which: usize) -> Holder {
        let plan = self.plan();
        let head = plan.last().map_or(0, |range| range.last()) + self.tail;
        let ordinal = self.floor(which);
        let floor = plan.get(ordinal).map_or(head - self.tail + 1, |range| range.first());
        let from_the_beginning = self.fates[which].1;
        let begin = if from_the_beginning { 1 } else { floor };
        let mut holder = Holder::beginning_at(begin, &plan);
        let bytes = |range: SeqRange| (range.first()..=range.last()).map(content).collect::<Vec<u8>>();
        for (ordinal, range) in (0..).zip(&plan).filter(|(_, range)| range.last() >= begin) {
            let contents = bytes(*range);
            holder.put(Segment { name: holder.name(ordinal, &contents), contents });
        }
        (head - self.tail + 1..=head).for_each(|seq| holder.store(seq, content(seq)));
        holder.trim(floor);
        holder
    }

    /// Both holders after everything; where segments are kept by both, or wherever they are kept.
    fn holders(&self, anywhere: bool) -> [Holder; 2] {
        let whole = [self.whole(0), self.whole(1)];
        let from = if anywhere { 0 } else { whole[0].first_ordinal().max(whole[1].first_ordinal()) };
        let mut which = 0;
        whole.map(|mut holder| {
            for mishap in &self.fates[which].2 {
                befall(&mut holder, *mishap, from);
            }
            which += 1;
            holder
        })
    }
}

fn content(seq: Seq) -> u8 {
    (seq % 200) as u8
}

/// One of those that are here, by a random number.
fn pick<T: Copy>(from: impl Iterator<Item = T>, at: u64) -> Option<T> {
    let all: Vec<T> = from.collect();
    let at = at.checked_rem(all.len() as u64)?;
    all.get(usize::try_from(at).unwrap()).copied()
}

fn befall(holder: &mut Holder, mishap: Mishap, from: u64) {
    let segment = |at| pick(holder.segments.range(from..).map(|(ordinal, _)| *ordinal), at);
    let kept = holder.plan.get(usize::try_from(from).unwrap()).map_or(holder.head, |range| range.first());
    let row = |at| pick(holder.rows.range(kept..).map(|(seq, _)| *seq), at);
    match mishap {
        Mishap::Lost(at) => {
            if let Some(ordinal) = segment(at) {
                holder.lose(ordinal);
            }
        }
        Mishap::Unsealed(at) => {
            if let Some(ordinal) = segment(at) {
                holder.unseal(ordinal);
            }
        }
        Mishap::Torn(at) => {
            if let Some(ordinal) = segment(at) {
                let range = holder.segments[&ordinal].name.range().unwrap();
                holder.unseal(ordinal);
                holder.rows.remove(&(range.first() + at % range.count()));
            }
        }
        Mishap::Other(at) => {
            if let Some(ordinal) = segment(at) {
                let mut segment = holder.segments[&ordinal].clone();
                segment.contents[0] = 250 + (at % 6) as u8;
                segment.name = holder.name(ordinal, &segment.contents);
                holder.put(segment);
            }
        }
        Mishap::RowLost(at) => {
            if let Some(seq) = row(at) {
                holder.rows.remove(&seq);
            }
        }
        Mishap::RowOther(at) => {
            if let Some(seq) = row(at) {
                holder.rows.insert(seq, 250 + (at % 6) as u8);
            }
        }
        Mishap::Behind(at) => {
            if let Some(ordinal) = segment(at) {
                let last = holder.segments[&ordinal].name.first - 1;
                let gone: Vec<u64> = holder.segments.range(ordinal..).map(|(ordinal, _)| *ordinal).collect();
                gone.iter().for_each(|ordinal| drop(holder.lose(*ordinal)));
                holder.rows.retain(|seq, _| *seq <= last);
                holder.head = last.max(holder.floor - 1);
            }
        }
    }
}

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
    #![proptest_config(Config { cases: 600, ..Config::default() })]

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
