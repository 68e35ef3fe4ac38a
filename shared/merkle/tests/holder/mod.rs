//! A holder of one journal in memory: what a store does with records, segments, nodes and floors, without a disk.
//!
//! A record is one byte of content. The author's plan says which records which segment has.

use std::collections::BTreeMap;

use millrace_merkle::responder::{fits, nodes};
use millrace_merkle::spans;
use millrace_merkle::tree::{Nodes, Update};
use millrace_merkle::{About, Comparison, Difference, Node, Outline, Place, Told};
use millrace_merkle::{comparison::Limits, question::CHECKS_MAX};
use millrace_model::digest::{Root, Summary};
use millrace_model::hash::RecordChecker;
use millrace_model::{
    DeviceId, Incarnation, JournalId, Lane, NodeHash, RangeSet, RecordCheck, SegmentHash, SegmentName, Seq,
    SeqRange,
};

/// The journal that all holders here hold.
pub const JOURNAL: JournalId = JournalId {
    device: DeviceId::from_bytes([5; 16]),
    incarnation: Incarnation::new(77),
    lane: Lane::Normal,
};

/// A sealed segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    pub name: SegmentName,
    pub contents: Vec<u8>,
}

/// Inner nodes by their places.
#[derive(Clone, Debug, Default)]
pub struct Rows(pub BTreeMap<Place, Node>);

impl Nodes for Rows {
    type Error = std::convert::Infallible;

    fn node(&mut self, at: Place) -> Result<Node, Self::Error> {
        Ok(self.0.get(&at).cloned().unwrap_or_default())
    }
}

#[derive(Clone, Debug)]
pub struct Holder {
    /// The records of each segment, as the author decided.
    pub plan: Vec<SeqRange>,
    pub floor: Seq,
    pub head: Seq,
    pub rows: BTreeMap<Seq, u8>,
    pub segments: BTreeMap<u64, Segment>,
    pub nodes: Rows,
    pub root: Root,
    /// Whether it does not know the ordinal of its floor.
    pub is_unaware: bool,
}

impl Holder {
    /// One that begins to keep the journal at `floor`.
    pub fn beginning_at(floor: Seq, plan: &[SeqRange]) -> Self {
        Self {
            plan: plan.to_vec(),
            floor,
            head: 0,
            rows: BTreeMap::new(),
            segments: BTreeMap::new(),
            nodes: Rows::default(),
            root: Root::default(),
            is_unaware: false,
        }
    }

    /// Takes a record in, unless it is below the floor.
    pub fn store(&mut self, seq: Seq, content: u8) {
        if seq >= self.floor && !self.present().contains(seq) {
            self.rows.insert(seq, content);
        }
        self.head = self.head.max(seq);
    }

    /// The name that the author gave a segment with these contents.
    pub fn name(&self, ordinal: u64, contents: &[u8]) -> SegmentName {
        let range = self.plan[usize::try_from(ordinal).unwrap()];
        SegmentName {
            ordinal,
            first: range.first(),
            count: u32::try_from(range.count()).unwrap(),
            hash: SegmentHash::of(&JOURNAL, ordinal, range.first(), contents),
        }
    }

    /// Seals a segment when all its records are here as rows.
    pub fn seal(&mut self, ordinal: u64) -> bool {
        let range = self.plan[usize::try_from(ordinal).unwrap()];
        let contents: Vec<u8> =
            self.rows.range(range.first()..=range.last()).map(|(_, content)| *content).collect();
        if contents.len() as u64 != range.count() {
            return false;
        }
        self.put(Segment { name: self.name(ordinal, &contents), contents });
        true
    }

    /// Puts a whole segment in, in place of whatever is there.
    pub fn put(&mut self, segment: Segment) {
        let range = segment.name.range().unwrap();
        self.rows.retain(|seq, _| !range.contains(*seq));
        self.head = self.head.max(range.last());
        self.set(Place::leaf(segment.name.ordinal), Some(NodeHash::of_segment(&segment.name.hash)));
        self.segments.insert(segment.name.ordinal, segment);
    }

    /// Damage takes a segment.
    pub fn lose(&mut self, ordinal: u64) -> Option<Segment> {
        let lost = self.segments.remove(&ordinal)?;
        self.set(Place::leaf(ordinal), None);
        Some(lost)
    }

    /// Its records become rows again.
    pub fn unseal(&mut self, ordinal: u64) {
        if let Some(segment) = self.lose(ordinal) {
            self.rows.extend((segment.name.first..).zip(segment.contents));
        }
    }

    /// Lets go of everything below `floor`, and of the nodes that nobody needs for what is kept.
    pub fn trim(&mut self, floor: Seq) {
        self.floor = self.floor.max(floor);
        let floor = self.floor;
        self.rows.retain(|seq, _| *seq >= floor);
        self.segments.retain(|_, segment| segment.name.range().unwrap().last() >= floor);
        let first = self.first_ordinal();
        self.nodes.0.retain(|at, _| !at.is_below(first));
    }

    /// The ordinal in which the floor lies, or the next one.
    pub fn first_ordinal(&self) -> u64 {
        if self.is_unaware {
            return 0;
        }
        self.plan.partition_point(|range| range.last() < self.floor) as u64
    }

    pub fn set(&mut self, at: Place, hash: Option<NodeHash>) {
        let mut update = Update::default();
        let Ok(()) = update.set_node(&mut self.nodes, at, hash);
        let Ok(changes) = update.finish(&mut self.nodes, self.root);
        self.nodes.0.extend(changes.nodes);
        self.root = changes.root;
        let first = self.first_ordinal();
        self.nodes.0.retain(|at, node| !at.is_below(first) && node.hash().is_some());
    }

    pub fn present(&self) -> RangeSet {
        let segments = self.segments.values().filter_map(|segment| segment.name.range());
        let mut present: RangeSet = segments.collect();
        self.rows.keys().for_each(|seq| present.insert(SeqRange::only(*seq)));
        present
    }

    pub fn content(&self, seq: Seq) -> Option<u8> {
        let sealed = |segment: &Segment| {
            let at = seq.checked_sub(segment.name.first)?;
            segment.contents.get(usize::try_from(at).ok()?).copied()
        };
        self.rows.get(&seq).copied().or_else(|| self.segments.values().find_map(sealed))
    }

    pub fn check(seq: Seq, content: u8) -> RecordCheck {
        RecordChecker::new(&JOURNAL).check(seq, &[content])
    }

    pub fn summary(&self) -> Summary {
        let checks = self.rows.iter().map(|(seq, content)| Self::check(*seq, *content).0);
        Summary { root: self.root, tail: checks.fold(0, u64::wrapping_add) }
    }

    /// What it answers.
    pub fn answer(&mut self, about: &About) -> Told {
        fits(about).unwrap();
        match about {
            About::Outline { from } => {
                let (present, more) = spans::encode(&self.present(), *from);
                let (floor, head, summary) = (self.floor, self.head, self.summary());
                Told::Outline(Outline {
                    floor,
                    head,
                    first_ordinal: self.first_ordinal(),
                    summary,
                    present,
                    more,
                })
            }
            About::Nodes { .. } => nodes(about, &mut self.nodes, self.root).unwrap(),
            About::Names { ordinals } => {
                let here = ordinals.iter().filter_map(|ordinal| self.segments.get(ordinal));
                Told::Names(here.map(|segment| segment.name).collect())
            }
            About::Checks { ranges } => {
                let rows = self.rows.iter().filter(|(seq, _)| ranges.contains(**seq)).take(CHECKS_MAX);
                Told::Checks(rows.map(|(seq, content)| (*seq, Self::check(*seq, *content))).collect())
            }
        }
    }

    /// Compares itself with a peer.
    pub fn compare(&mut self, peer: &mut Self, limits: Limits) -> Difference {
        let mut comparison = Comparison::new(limits);
        let both_from = self.first_ordinal().max(peer.first_ordinal());
        while let Some(about) = comparison.poll_question() {
            let (level, indexes) = match &about {
                About::Nodes { level, indexes, .. } => (*level, &indexes[..]),
                About::Names { ordinals } => (0, &ordinals[..]),
                About::Outline { .. } | About::Checks { .. } => (0, &[][..]),
            };
            let gone = |index: &u64| Place { level, index: *index }.is_below(both_from);
            assert!(!indexes.iter().any(gone), "rows that one of both let go of are asked for: {about:?}");
            comparison.answered(self.answer(&about), peer.answer(&about)).unwrap();
        }
        assert!(comparison.is_done());
        comparison.into_difference()
    }

    /// Does what a difference asks for: at both, where records are pushed.
    pub fn repair(&mut self, difference: &Difference, peer: &mut Self) {
        peer.copy(&difference.push, self);
        self.copy(&difference.pull, peer);
        let contested = difference.contested.iter().map(|place| (place.mine, place.theirs));
        for place in contested.chain(difference.seal.iter().map(|name| (None, Some(*name)))) {
            match place {
                (_, Some(theirs)) => self.put(peer.segments[&theirs.ordinal].clone()),
                (Some(mine), None) => peer.put(self.segments[&mine.ordinal].clone()),
                (None, None) => panic!("a contested place has a name"),
            }
        }
        for seq in difference.rows.iter().flat_map(|range| range.first()..=range.last()) {
            self.rows.insert(seq, peer.rows[&seq]);
        }
        self.take_over(&difference.adopt);
        peer.take_over(&difference.give);
    }

    fn take_over(&mut self, hashes: &[(Place, NodeHash)]) {
        for (at, hash) in hashes {
            let kept = self.plan.partition_point(|range| range.last() < self.floor) as u64;
            assert!(at.is_below(kept), "{at:?} is not below the floor");
            self.set(*at, Some(*hash));
        }
    }

    /// Fetches records; what completes a segment of the other holder is sealed as it is there.
    fn copy(&mut self, wanted: &RangeSet, from: &Self) {
        for seq in wanted.iter().flat_map(|range| range.first()..=range.last()) {
            self.store(seq, from.content(seq).unwrap());
        }
        for (ordinal, segment) in &from.segments {
            let range = segment.name.range().unwrap();
            if !wanted.within(range).is_empty() && segment.name.first >= self.floor {
                self.rows.extend((range.first()..).zip(segment.contents.iter().copied()));
                self.segments.remove(ordinal);
                assert!(self.seal(*ordinal));
            }
        }
    }
}
