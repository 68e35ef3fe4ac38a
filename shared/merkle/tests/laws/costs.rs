//! What a comparison of a long journal costs, and what the narrow hashes leave open.
//!
//! A hundred million records: 97,656 segments of 1,024, and a tail.

use std::collections::BTreeSet;

use bytes::Bytes;
use millrace_merkle::comparison::Limits;
use millrace_merkle::question::{NARROW, Slots, WIDE};
use millrace_merkle::responder::{fits, nodes};
use millrace_merkle::tree::Update;
use millrace_merkle::{About, Comparison, Difference, Outline, Place, Told, spans};
use millrace_model::digest::{Root, Summary};
use millrace_model::{NodeHash, RangeSet, SegmentHash, SegmentName, SeqRange};

use crate::holder::{JOURNAL, Rows};

const SEGMENTS: u64 = 97_656;
const RECORDS: u32 = 1_024;

/// A holder of full segments whose content is a number.
struct Long {
    segments: u64,
    other: BTreeSet<u64>,
    nodes: Rows,
    root: Root,
}

impl Long {
    fn new(segments: u64) -> Self {
        let mut long =
            Self { segments, other: BTreeSet::new(), nodes: Rows::default(), root: Root::default() };
        long.set(0..segments);
        long
    }

    fn set(&mut self, ordinals: impl IntoIterator<Item = u64>) {
        let mut update = Update::default();
        for ordinal in ordinals {
            let hash = NodeHash::of_segment(&self.name(ordinal).hash);
            let Ok(()) = update.set(&mut self.nodes, ordinal, Some(hash));
        }
        let Ok(changes) = update.finish(&mut self.nodes, self.root);
        self.nodes.0.extend(changes.nodes);
        self.root = changes.root;
    }

    fn damage(&mut self, ordinals: impl IntoIterator<Item = u64>) {
        self.other.extend(ordinals);
        self.set(self.other.clone());
    }

    fn name(&self, ordinal: u64) -> SegmentName {
        let first = ordinal * u64::from(RECORDS) + 1;
        let content = [u8::from(self.other.contains(&ordinal))];
        let hash = SegmentHash::of(&JOURNAL, ordinal, first, &content);
        SegmentName { ordinal, first, count: RECORDS, hash }
    }

    fn answer(&mut self, about: &About) -> Told {
        fits(about).unwrap();
        match about {
            About::Outline { from } => {
                let head = self.segments * u64::from(RECORDS) + 300;
                let present = RangeSet::from(SeqRange::new(1, head).unwrap());
                let (present, more) = spans::encode(&present, *from);
                let summary = Summary { root: self.root, tail: 99 };
                Told::Outline(Outline { floor: 1, head, first_ordinal: 0, summary, present, more })
            }
            About::Nodes { .. } => nodes(about, &mut self.nodes, self.root).unwrap(),
            About::Names { ordinals } => {
                Told::Names(ordinals.iter().map(|ordinal| self.name(*ordinal)).collect())
            }
            About::Checks { .. } => panic!("the tails are equal"),
        }
    }

    fn compare(&mut self, peer: &mut Self, change: impl Fn(&About, Told) -> Told) -> Difference {
        let mut comparison = Comparison::new(Limits::DEFAULT);
        while let Some(about) = comparison.poll_question() {
            let theirs = change(&about, peer.answer(&about));
            println!("{:>6} {:>6}  {}", about.weight(), theirs.weight(), short(&about));
            comparison.answered(self.answer(&about), theirs).unwrap();
        }
        println!("{:?}", comparison.difference().figures);
        comparison.into_difference()
    }
}

fn short(about: &About) -> String {
    match about {
        About::Nodes { level, indexes, depth, width } => {
            format!("{} nodes of level {level}, {depth} deep, {width} wide", indexes.len())
        }
        About::Names { ordinals } => format!("{} names", ordinals.len()),
        other => format!("{other:?}"),
    }
}

fn damaged(count: u64) -> BTreeSet<u64> {
    let mut chance = fastrand::Rng::with_seed(7);
    let mut damaged = BTreeSet::new();
    while (damaged.len() as u64) < count {
        damaged.insert(chance.u64(..SEGMENTS));
    }
    damaged
}

#[test]
fn one_damaged_segment_of_a_hundred_million_records_is_found_within_a_kilobyte() {
    let (mut mine, mut theirs) = (Long::new(SEGMENTS), Long::new(SEGMENTS));
    mine.damage([54_321]);
    let found = mine.compare(&mut theirs, |_, told| told);
    assert_eq!(found.contested.len(), 1);
    assert_eq!(found.contested[0].theirs.map(|name| name.ordinal), Some(54_321));
    assert!(found.figures.bytes < 500 && found.figures.questions == 6, "{:?}", found.figures);
}

#[test]
fn a_thousand_damaged_segments_are_found_in_one_comparison() {
    let (mut mine, mut theirs) = (Long::new(SEGMENTS), Long::new(SEGMENTS));
    let damaged = damaged(1_000);
    mine.damage(damaged.iter().copied());
    let found = mine.compare(&mut theirs, |_, told| told);
    let ordinals = found.contested.iter().filter_map(|place| Some(place.theirs?.ordinal));
    assert_eq!(ordinals.collect::<BTreeSet<_>>(), damaged);
    assert!(found.figures.bytes < 170_000 && found.figures.questions < 10, "{:?}", found.figures);
}

#[test]
fn when_everything_differs_the_budget_ends_it() {
    let (mut mine, mut theirs) = (Long::new(9_000), Long::new(9_000));
    mine.damage(0..9_000);
    let found = mine.compare(&mut theirs, |_, told| told);
    assert_eq!(found.cut, Some(millrace_merkle::comparison::Cut::Budget));
    assert!((4_096..6_000).contains(&found.contested.len()), "{}", found.contested.len());
}

#[test]
fn hashes_that_begin_alike_are_looked_at_again_in_full() {
    let (mut mine, mut theirs) = (Long::new(400), Long::new(400));
    mine.damage([77]);
    let honest = mine.nodes.0[&Place { level: 1, index: 4 }].clone();
    // The differing child of this node is told with the beginning that the other one has.
    let found = mine.compare(&mut theirs, |about, told| match (about, told) {
        (About::Nodes { level: 1, width: NARROW, .. }, Told::Nodes(nodes)) => {
            let beginnings = honest.children().flat_map(|(_, hash)| hash.0[..4].to_vec());
            let hashes: Bytes = beginnings.collect();
            Told::Nodes(nodes.iter().map(|slots| Slots { hashes: hashes.clone(), ..slots.clone() }).collect())
        }
        (About::Nodes { level, width: WIDE, .. }, told) => {
            assert_eq!(*level, 1);
            told
        }
        (_, told) => told,
    });
    assert_eq!(found.contested.len(), 1);
    assert_eq!(found.unsettled, 0);
}
