//! Replication: nothing is called safe that is not, and everything that is owed is sent.

use std::collections::BTreeSet;

use millrace_model::DeviceId;
use proptest::prelude::*;

use super::*;
use crate::placement::{Site, target};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);

fn journal() -> JournalId {
    let device = DeviceId::from_bytes([7; 16]);
    JournalId { device, incarnation: Incarnation::new(1), lane: Lane::Normal }
}

fn set(first: u64, last: u64) -> RangeSet {
    SeqRange::new(first, last).into_iter().collect()
}

fn range(first: u64, last: u64) -> SeqRange {
    SeqRange::new(first, last).unwrap()
}

fn regions() -> BTreeMap<NodeId, String> {
    [(A, "north"), (B, "north"), (C, "south")].map(|(node, region)| (node, region.to_owned())).into()
}

fn placement() -> Placement {
    let sites: Vec<Site> = regions().into_iter().map(|(node, region)| Site { node, region }).collect();
    let mut placement = Placement::default();
    placement.begin(&target(&sites, 3));
    placement
}

/// Three hubs in two regions; this is A, the others are connected, full and empty.
fn three() -> Replication {
    let mut replication = Replication::new(A);
    replication.placed(placement(), regions(), &std::iter::empty());
    for node in [B, C] {
        replication.connected(node, Incarnation::new(10), true);
        replication.greeted(node, std::iter::empty());
    }
    replication
}

fn all_levels(replication: &mut Replication, ranges: &RangeSet) {
    for (link, level) in [(1, AckLevel::Hub), (2, AckLevel::Region), (3, AckLevel::Quorum)] {
        replication.promise(link, journal(), ranges.clone(), level);
    }
}

fn links(kept: &[(LinkId, AckLevel, RangeSet)]) -> Vec<LinkId> {
    kept.iter().map(|(link, ..)| *link).collect()
}

#[test]
fn each_level_is_kept_when_its_disks_have_flushed() {
    let mut replication = three();
    let ranges = set(1, 10);
    all_levels(&mut replication, &ranges);
    assert_eq!(replication.forward(journal(), range(1, 10), 1_000).len(), 2);
    replication.stored(journal(), &ranges);
    assert_eq!(links(&replication.kept(journal(), &ranges)), [1], "one disk: hub");
    replication.flushed(C, journal(), &ranges);
    assert_eq!(links(&replication.kept(journal(), &ranges)), [3], "two of three disks: quorum");
    replication.flushed(B, journal(), &ranges);
    assert_eq!(links(&replication.kept(journal(), &ranges)), [2], "both of this region: region");
    assert!(replication.debts().iter().all(|debt| debt.records == 0 && debt.bytes_under_way == 0));
}

#[test]
fn a_part_that_is_safe_is_told_before_the_rest() {
    let mut replication = three();
    replication.promise(1, journal(), set(1, 10), AckLevel::Quorum);
    replication.stored(journal(), &set(1, 10));
    replication.flushed(B, journal(), &set(1, 4));
    assert_eq!(replication.kept(journal(), &set(1, 10)), [(1, AckLevel::Quorum, set(1, 4))]);
    assert_eq!(replication.kept(journal(), &set(1, 10)), [], "once");
    replication.flushed(C, journal(), &set(3, 10));
    assert_eq!(replication.kept(journal(), &set(1, 10)), [(1, AckLevel::Quorum, set(5, 10))]);
    replication.promise(1, journal(), set(11, 12), AckLevel::Quorum);
    replication.forget(1);
    replication.flushed(B, journal(), &set(11, 12));
    assert_eq!(replication.kept(journal(), &set(1, 12)), [], "nobody waits any more");
}

#[test]
fn the_flushes_of_another_life_and_of_a_store_that_is_not_full_count_for_nothing() {
    let mut replication = three();
    replication.stored(journal(), &set(1, 10));
    replication.flushed(B, journal(), &set(1, 10));
    let safe =
        |replication: &Replication| replication.safe(journal(), AckLevel::Quorum, &set(1, 10), &set(1, 10));
    assert_eq!(safe(&replication), set(1, 10));
    replication.disconnected(B);
    assert_eq!(safe(&replication), set(1, 10), "a disk that is away is still a disk");
    replication.connected(B, Incarnation::new(11), false);
    assert_eq!(safe(&replication), RangeSet::new(), "its disk was wiped");
    let here = set(1, 10);
    replication.greeted(B, [(journal(), &here)].into_iter());
    assert_eq!(replication.next(B), Some((journal(), range(1, 10))), "it gets everything again");
    replication.flushed(B, journal(), &set(1, 10));
    assert_eq!(safe(&replication), RangeSet::new(), "it is not full yet");
    replication.filled(B);
    assert_eq!(safe(&replication), set(1, 10));
}

#[test]
fn what_a_replica_missed_is_read_for_it_in_pieces_and_what_is_gone_is_not_owed() {
    let mut replication = three();
    replication.disconnected(C);
    replication.stored(journal(), &set(1, 100));
    replication.connected(C, Incarnation::new(10), true);
    assert_eq!(replication.next(C), None, "before it said what it holds");
    replication.holds(C, journal(), set(41, 50));
    let here = set(1, 100);
    replication.greeted(C, [(journal(), &here)].into_iter());
    assert_eq!(replication.next(C), Some((journal(), range(1, 40))));
    assert_eq!(replication.next(C), None, "one read at a time");
    replication.loaded(C, &[(range(11, 20), 500)]);
    assert_eq!(replication.next(C), Some((journal(), range(21, 40))), "1 to 10 were dropped meanwhile");
    replication.loaded(C, &[]);
    assert_eq!(replication.next(C), Some((journal(), range(51, 100))));
    replication.loaded(C, &[(range(51, 100), 500)]);
    assert_eq!(replication.next(C), None, "all of it is under way");
    replication.declined(C, journal(), range(51, 100));
    assert_eq!(replication.next(C), Some((journal(), range(51, 100))));
    replication.loaded(C, &[(range(51, 100), 500)]);
    replication.flushed(C, journal(), &set(11, 100));
    let debt = replication.debts().into_iter().find(|debt| debt.node == C).unwrap();
    assert_eq!((debt.records, debt.bytes_under_way), (0, 0));
}

#[test]
fn a_replica_that_does_not_answer_costs_a_window_and_no_more() {
    let mut replication = three();
    let mut sent = 0_u64;
    for run in 0..10_000 {
        let range = range(run * 10 + 1, run * 10 + 10);
        let to = replication.forward(journal(), range, 1 << 20);
        sent += to.iter().filter(|node| **node == C).count() as u64;
        replication.stored(journal(), &range.into());
        replication.flushed(B, journal(), &range.into());
    }
    assert_eq!(sent, WINDOW_BYTES >> 20);
    let debt = replication.debts().into_iter().find(|debt| debt.node == C).unwrap();
    assert_eq!((debt.records, debt.bytes_under_way), (100_000, WINDOW_BYTES));
    assert_eq!(replication.peers[&C].owed.values().map(RangeSet::range_count).sum::<usize>(), 1);
}

#[test]
fn a_hub_alone_is_all_replicas_that_there_are() {
    let mut replication = Replication::new(A);
    replication.promise(1, journal(), set(1, 3), AckLevel::Quorum);
    assert_eq!(links(&replication.kept(journal(), &set(1, 3))), [1]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Store(u64, u64),
    Flush(NodeId, u64, u64),
    Wipe(NodeId),
    Fill(NodeId),
    Cut(NodeId),
    Promise(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let node = || prop_oneof![Just(B), Just(C)];
    let span = || (1_u64..30, 0_u64..10);
    prop_oneof![
        4 => span().prop_map(|(first, more)| Step::Store(first, first + more)),
        4 => (node(), span()).prop_map(|(node, (first, more))| Step::Flush(node, first, first + more)),
        1 => node().prop_map(Step::Wipe),
        2 => node().prop_map(Step::Fill),
        1 => node().prop_map(Step::Cut),
        2 => span().prop_map(|(first, more)| Step::Promise(first, first + more)),
    ]
}

proptest! {
    #[test]
    fn what_is_told_is_on_a_majority_of_disks_that_count(steps in prop::collection::vec(step(), 1..60)) {
        let mut replication = three();
        let mut here = RangeSet::new();
        let mut disks: BTreeMap<NodeId, RangeSet> = [(B, RangeSet::new()), (C, RangeSet::new())].into();
        let mut full: BTreeSet<NodeId> = [B, C].into();
        let mut lives = 10;
        for step in steps {
            match step {
                Step::Store(first, last) => {
                    here.insert(range(first, last));
                    replication.stored(journal(), &set(first, last));
                }
                Step::Flush(node, first, last) => {
                    let flushed = here.within(range(first, last));
                    disks.get_mut(&node).unwrap().extend(&flushed);
                    replication.flushed(node, journal(), &flushed);
                }
                Step::Wipe(node) => {
                    lives += 1;
                    disks.insert(node, RangeSet::new());
                    full.remove(&node);
                    replication.connected(node, Incarnation::new(lives), false);
                    replication.greeted(node, [(journal(), &here)].into_iter());
                }
                Step::Fill(node) => {
                    full.insert(node);
                    replication.filled(node);
                }
                Step::Cut(node) => replication.disconnected(node),
                Step::Promise(first, last) => {
                    replication.promise(1, journal(), here.within(range(first, last)), AckLevel::Quorum);
                }
            }
            for (_, _, told) in replication.kept(journal(), &here) {
                for seq in told.iter().flat_map(|range| range.first()..=range.last()) {
                    let copies = disks.iter().filter(|(node, disk)| full.contains(node) && disk.contains(seq));
                    prop_assert!(here.contains(seq) && copies.count() >= 1, "{seq} is on one disk only");
                }
            }
        }
        // Whoever is connected is owed exactly what it has not flushed.
        for debt in replication.debts() {
            let missing = here.difference(&disks[&debt.node]).count();
            prop_assert_eq!(debt.records, missing);
        }
    }
}
