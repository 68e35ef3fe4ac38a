//! Replication: nothing is called safe that is not, and everything that is owed is sent.

use std::collections::BTreeSet;

use millrace_model::{AckLevel, DeviceId, HubId};
use proptest::prelude::*;

use super::road::WINDOW_BYTES;
use super::*;
use crate::placement::{Placement, Site, target};
use crate::{HubStanding, LinkId};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const D: NodeId = NodeId(4);
const NOW: Moment = Moment(0);

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

fn shelves(present: RangeSet) -> Shelves {
    let head = present.last().unwrap_or(0);
    [(journal(), Shelf { present, floor: 1, head, ..Shelf::default() })].into()
}

fn sites(nodes: &[NodeId]) -> Vec<Site> {
    let region = |node: &NodeId| if node.0 < 3 { "north" } else { "south" }.to_owned();
    nodes.iter().map(|node| Site { node: *node, region: region(node) }).collect()
}

/// All of these hubs, full, with the lives 10, of which this one is `me`.
fn placed(me: NodeId, nodes: &[NodeId]) -> Placed {
    let mut placement = Placement::default();
    placement.begin(&target(&sites(nodes), 3));
    let standing = |site: Site| {
        let (hub, store) = (HubId::default(), Incarnation::new(10));
        (site.node, HubStanding { hub, region: site.region, store, full: true })
    };
    let hubs = sites(nodes).into_iter().map(standing).collect();
    Placed { me, store: Incarnation::new(10), epoch: 1, placement, hubs }
}

/// A hub's store begins another life: what the cluster commits then.
fn relive(replication: &mut Replication, node: NodeId, life: u64, full: bool, here: &Shelves) {
    let mut placed = replication.placed.clone().unwrap();
    let standing = placed.hubs.get_mut(&node).unwrap();
    (standing.store, standing.full) = (Incarnation::new(life), full);
    if !full {
        placed.placement.raise();
    }
    let _ = replication.placed(placed, here);
}

fn connect(replication: &mut Replication, node: NodeId, life: u64, held: &RangeSet, here: &Shelves) -> Heard {
    replication.connected(node);
    assert!(replication.tells(node, journal(), held));
    let version = replication.placed.as_ref().unwrap().placement.version;
    replication.told(node, Incarnation::new(life), version, here)
}

fn stored(replication: &mut Replication, ranges: &RangeSet) {
    replication.stored(journal(), ranges, None, NOW);
}

fn debt(replication: &Replication, node: NodeId) -> (u64, u64) {
    let debt = replication.debts().into_iter().find(|debt| debt.node == node).unwrap();
    (debt.records, debt.bytes_under_way)
}

/// Three hubs in two regions; this is A, the others are connected, full and empty.
fn three() -> Replication {
    let mut replication = Replication::default();
    let _ = replication.placed(placed(A, &[A, B, C]), &Shelves::new());
    for node in [B, C] {
        let _ = connect(&mut replication, node, 10, &RangeSet::new(), &Shelves::new());
    }
    replication
}

fn all_levels(replication: &mut Replication, ranges: &RangeSet) {
    for (link, level) in [(1, AckLevel::Hub), (2, AckLevel::Region), (3, AckLevel::Quorum)] {
        replication.promise(link, journal(), ranges, level);
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
    stored(&mut replication, &ranges);
    assert_eq!(links(&replication.kept(journal(), &ranges)), [1], "one disk: hub");
    replication.proved(C, journal(), &ranges);
    assert_eq!(links(&replication.kept(journal(), &ranges)), [3], "two of three disks: quorum");
    replication.proved(B, journal(), &ranges);
    assert_eq!(links(&replication.kept(journal(), &ranges)), [2], "both of this region: region");
    assert!(replication.debts().iter().all(|debt| debt.records == 0 && debt.bytes_under_way == 0));
}

#[test]
fn a_part_that_is_safe_is_told_before_the_rest() {
    let mut replication = three();
    replication.promise(1, journal(), &set(1, 10), AckLevel::Quorum);
    stored(&mut replication, &set(1, 10));
    replication.proved(B, journal(), &set(1, 4));
    assert_eq!(replication.kept(journal(), &set(1, 10)), [(1, AckLevel::Quorum, set(1, 4))]);
    assert_eq!(replication.kept(journal(), &set(1, 10)), [], "once");
    replication.proved(C, journal(), &set(3, 10));
    assert_eq!(replication.kept(journal(), &set(1, 10)), [(1, AckLevel::Quorum, set(5, 10))]);
    replication.promise(1, journal(), &set(11, 12), AckLevel::Quorum);
    replication.forget(1);
    replication.proved(B, journal(), &set(11, 12));
    assert_eq!(replication.kept(journal(), &set(1, 12)), [], "nobody waits any more");
}

#[test]
fn the_flushes_of_another_life_and_of_a_store_that_is_not_full_count_for_nothing() {
    let mut replication = three();
    let here = shelves(set(1, 10));
    stored(&mut replication, &set(1, 10));
    replication.proved(B, journal(), &set(1, 10));
    let safe =
        |replication: &Replication| replication.safe(journal(), AckLevel::Quorum, &set(1, 10), &set(1, 10));
    assert_eq!(safe(&replication), set(1, 10));
    replication.disconnected(B);
    assert_eq!(safe(&replication), set(1, 10), "a disk that is away is still a disk");
    replication.lives(B, Incarnation::new(11));
    assert_eq!(safe(&replication), RangeSet::new(), "its disk was wiped, says itself");
    relive(&mut replication, B, 11, false, &here);
    let _ = connect(&mut replication, B, 11, &RangeSet::new(), &here);
    assert_eq!(replication.next(B, NOW), Some((journal(), range(1, 10))), "it gets everything again");
    replication.proved(B, journal(), &set(1, 10));
    assert_eq!(safe(&replication), RangeSet::new(), "it is not full yet");
    relive(&mut replication, B, 11, true, &here);
    assert_eq!(safe(&replication), set(1, 10));
    relive(&mut replication, A, 9, true, &here);
    assert_eq!(
        safe(&replication),
        RangeSet::new(),
        "this hub's own store is of another life than the table says"
    );
}

#[test]
fn numbers_alone_prove_nothing_of_what_an_agent_brought() {
    let mut replication = three();
    let safe = |replication: &Replication, asked: &RangeSet| {
        replication.safe(journal(), AckLevel::Quorum, &set(1, 10), asked)
    };
    replication.stored(journal(), &set(1, 5), Some(B), NOW);
    replication.proved(B, journal(), &set(1, 5));
    stored(&mut replication, &set(6, 10));
    replication.holds(C, journal(), &set(1, 10));
    assert_eq!(safe(&replication, &set(1, 10)), set(1, 5), "C may have another history of the rest");
    assert_eq!(replication.next(C, NOW), Some((journal(), range(6, 10))), "so it gets it, to compare");
    assert_eq!(
        replication.loaded(C, (journal(), range(6, 10)), &[(range(6, 10), 50)]),
        Some(RangeSet::new())
    );
    replication.clashed(C, journal(), &set(7, 8));
    replication.proved(C, journal(), &set(6, 6));
    assert_eq!(safe(&replication, &set(1, 10)), set(1, 6));
    assert_eq!(replication.contested(journal(), &set(1, 10)), set(7, 10));
    assert_eq!(replication.next(C, NOW), None, "nothing is sent into another history");
    assert_eq!(debt(&replication, C), (0, 0));
}

#[test]
fn what_a_replica_missed_is_read_for_it_in_pieces_and_what_is_gone_is_not_owed() {
    let mut replication = three();
    let here = shelves(set(1, 100));
    let next = |replication: &mut Replication| replication.next(C, NOW).map(|(_, range)| range);
    replication.disconnected(C);
    replication.stored(journal(), &set(1, 100), Some(B), NOW);
    replication.connected(C);
    assert_eq!(next(&mut replication), None, "before it said what it holds");
    let _ = connect(&mut replication, C, 10, &set(41, 50), &here);
    assert_eq!(next(&mut replication), Some(range(1, 40)));
    assert_eq!(next(&mut replication), None, "one read at a time");
    let load = |replication: &mut Replication, asked, runs: &[(SeqRange, u64)]| {
        replication.loaded(C, (journal(), asked), runs)
    };
    assert_eq!(load(&mut replication, range(1, 40), &[(range(11, 20), 500)]), Some(set(1, 10)));
    assert_eq!(next(&mut replication), Some(range(21, 40)), "1 to 10 were dropped meanwhile");
    assert_eq!(load(&mut replication, range(1, 40), &[]), None, "an answer to an older question");
    assert_eq!(load(&mut replication, range(21, 40), &[]), Some(set(21, 40)));
    assert_eq!(next(&mut replication), Some(range(51, 100)));
    load(&mut replication, range(51, 100), &[(range(51, 100), 500)]);
    assert_eq!(next(&mut replication), None, "all of it is under way");
    replication.declined(C, journal(), range(51, 100), NOW);
    assert_eq!(next(&mut replication), None, "the journal rests");
    let later = replication.wakes_at().unwrap();
    assert_eq!(replication.next(C, later), Some((journal(), range(51, 100))));
    load(&mut replication, range(51, 100), &[(range(51, 100), 500)]);
    replication.proved(C, journal(), &set(11, 100));
    assert_eq!(debt(&replication, C), (0, 0));
}

#[test]
fn a_replica_that_does_not_answer_costs_a_window_and_no_more() {
    let mut replication = three();
    let mut sent = 0_u64;
    for run in 0..10_000 {
        let range = range(run * 10 + 1, run * 10 + 10);
        let to = replication.forward(journal(), range, 1 << 20);
        sent += to.iter().filter(|node| **node == C).count() as u64;
        stored(&mut replication, &range.into());
        replication.proved(B, journal(), &range.into());
    }
    assert_eq!(sent, WINDOW_BYTES >> 20);
    assert_eq!(debt(&replication, C), (100_000, WINDOW_BYTES));
    assert_eq!(replication.peers[&C].owed.values().map(RangeSet::range_count).sum::<usize>(), 1);
}

#[test]
fn what_another_hub_brought_is_owed_only_when_that_hub_does_not_deliver() {
    let mut replication = three();
    replication.stored(journal(), &set(1, 10), Some(B), NOW);
    assert_eq!(replication.next(C, NOW), None);
    replication.holds(C, journal(), &set(1, 6));
    // It sent them before it had flushed them, and lost one with a connection of its agent.
    replication.holds(B, journal(), &set(1, 9));
    for _ in 0..2 {
        let at = replication.wakes_at().unwrap();
        replication.ripen(at);
    }
    assert_eq!(replication.next(C, NOW), Some((journal(), range(7, 10))));
    assert_eq!(replication.next(B, NOW), Some((journal(), range(10, 10))));
    assert_eq!(replication.wakes_at(), None);
}

#[test]
fn a_hub_alone_is_all_replicas_that_there_are() {
    let mut replication = Replication::default();
    replication.promise(1, journal(), &set(1, 3), AckLevel::Quorum);
    assert_eq!(links(&replication.kept(journal(), &set(1, 3))), [1]);
}

#[test]
fn a_replica_that_knows_a_newer_placement_counts_once_this_hub_knows_it_too() {
    let mut replication = three();
    stored(&mut replication, &set(1, 3));
    for node in [B, C] {
        replication.proved(node, journal(), &set(1, 3));
        let version = replication.placed.as_ref().unwrap().placement.version + 1;
        let _ = replication.told(node, Incarnation::new(10), version, &Shelves::new());
    }
    let safe =
        |replication: &Replication| replication.safe(journal(), AckLevel::Quorum, &set(1, 3), &set(1, 3));
    assert_eq!(safe(&replication), RangeSet::new());
    let mut newer = replication.placed.clone().unwrap();
    newer.placement.raise();
    let _ = replication.placed(newer, &Shelves::new());
    assert_eq!(safe(&replication), set(1, 3));
}

/// This is B, wiped, in its life 11, with `here`; the others are full.
fn wiped(here: &Shelves) -> Replication {
    let mut replication = Replication::default();
    let mut placed = placed(B, &[A, B, C]);
    let standing = placed.hubs.get_mut(&B).unwrap();
    (standing.store, standing.full, placed.store) = (Incarnation::new(11), false, Incarnation::new(11));
    placed.placement.raise();
    let _ = replication.placed(placed, here);
    replication
}

fn synced(replication: &mut Replication, at: u64) -> usize {
    replication.report(Moment(at * 1_000_000)).map_or(0, |partitions| partitions.len())
}

#[test]
fn a_wiped_hub_is_synced_when_it_has_what_enough_others_told() {
    let here = Shelves::new();
    let mut replication = wiped(&here);
    assert_eq!(replication.fullness(), Fullness { partitions: 256, synced: 0, lacking: 0 });
    let _ = connect(&mut replication, A, 10, &set(1, 10), &here);
    assert_eq!(synced(&mut replication, 1), 0, "an earlier majority may have been this hub and C");
    let _ = connect(&mut replication, C, 10, &set(5, 12), &here);
    assert_eq!(synced(&mut replication, 2), 255, "all but the partition of the journal");
    assert_eq!(replication.fullness(), Fullness { partitions: 256, synced: 255, lacking: 12 });
    replication.stored(journal(), &set(1, 11), Some(A), NOW);
    assert_eq!(synced(&mut replication, 4), 0);
    replication.gone(C, journal(), &set(12, 12));
    assert_eq!(synced(&mut replication, 5), 256);
    assert_eq!(synced(&mut replication, 14), 0, "nothing new");
    assert_eq!(synced(&mut replication, 15), 256, "nothing came of it: once more");
}

#[test]
fn what_was_let_go_elsewhere_before_this_hub_knew_that_it_is_empty_is_not_waited_for() {
    let mut here = Shelves::new();
    let mut replication = Replication::default();
    let mut table = placed(B, &[A, B, C]);
    let _ = replication.placed(table.clone(), &here);
    replication.connected(A);
    let _ = replication.told(A, Incarnation::new(10), table.placement.version, &here);
    replication.gone(A, journal(), &set(1, 9));
    for (journal, ranges) in replication.let_go() {
        here.entry(journal).or_default().passed.extend(&ranges);
    }
    // Only now does the table speak of this life.
    let standing = table.hubs.get_mut(&B).unwrap();
    (standing.store, standing.full, table.store) = (Incarnation::new(11), false, Incarnation::new(11));
    table.placement.raise();
    let _ = replication.placed(table, &here);
    for node in [A, C] {
        let _ = connect(&mut replication, node, 10, &set(1, 9), &here);
    }
    assert_eq!(replication.fullness(), Fullness { partitions: 256, synced: 256, lacking: 0 });
}

#[test]
fn what_was_let_go_by_a_hub_that_has_not_told_what_it_holds_is_not_waited_for() {
    let here = Shelves::new();
    let mut replication = wiped(&here);
    for node in [A, C] {
        replication.gone(node, journal(), &set(1, 9));
        let _ = connect(&mut replication, node, 10, &set(1, 9), &here);
    }
    assert_eq!(replication.fullness(), Fullness { partitions: 256, synced: 256, lacking: 0 });
}

#[test]
fn whoever_does_not_know_yet_that_a_hub_joins_is_not_heard() {
    let here = Shelves::new();
    let mut replication = Replication::default();
    let mut first = placed(D, &[A, B, C]);
    first.hubs.extend(placed(D, &[D]).hubs);
    let old = first.placement.version;
    first.placement.begin(&target(&sites(&[A, B, D]), 3));
    let moving = first.placement.moving();
    assert!(moving > 0);
    let _ = replication.placed(first.clone(), &here);
    for node in [A, B, C] {
        replication.connected(node);
        let _ = replication.told(node, Incarnation::new(10), old, &here);
    }
    assert_eq!(synced(&mut replication, 1), 0);
    for node in [A, B] {
        let _ = replication.told(node, Incarnation::new(10), first.placement.version, &here);
    }
    assert_eq!(synced(&mut replication, 2), moving);
}

#[test]
fn a_hub_that_has_nobody_to_hear_is_synced_at_once() {
    let mut replication = Replication::default();
    let mut alone = placed(A, &[A]);
    alone.hubs.get_mut(&A).unwrap().full = false;
    let _ = replication.placed(alone, &Shelves::new());
    assert_eq!(synced(&mut replication, 1), 256);
}

#[test]
fn what_was_synced_is_said_with_the_life_and_the_assignments_under_which_it_was() {
    let here = Shelves::new();
    let mut replication = wiped(&here);
    let _ = connect(&mut replication, A, 10, &RangeSet::new(), &here);
    let _ = connect(&mut replication, C, 10, &RangeSet::new(), &here);
    assert_eq!(synced(&mut replication, 1), 256);
    let said = replication.synced().clone();
    assert_eq!(said.store, Incarnation::new(11));
    assert!(said.partitions.values().all(|since| *since == 1), "placed in the first version");
    let mut shrunk = replication.placed.clone().unwrap();
    shrunk.placement.begin(&target(&sites(&[A, B]), 3));
    let _ = replication.placed(shrunk, &here);
    assert!(replication.synced().partitions.is_empty(), "it has to hear once more");
    for node in [A, C] {
        let version = replication.placed.as_ref().unwrap().placement.version;
        let _ = replication.told(node, Incarnation::new(10), version, &here);
    }
    assert_eq!(synced(&mut replication, 2), 256);
    assert!(replication.synced().partitions.values().all(|since| *since == 3));
    assert!(replication.regress());
    assert_eq!(synced(&mut replication, 30), 0, "a store that is not what it was has synced nothing");
}

#[test]
fn a_wiped_hub_that_was_alone_hears_the_one_that_joins_it() {
    let here = Shelves::new();
    let mut replication = Replication::default();
    let mut moving = placed(A, &[A]);
    moving.hubs.extend(placed(A, &[B]).hubs);
    moving.placement.begin(&target(&sites(&[A, B]), 3));
    moving.placement.raise();
    for standing in moving.hubs.values_mut() {
        standing.full = false;
    }
    moving.store = Incarnation::new(11);
    moving.hubs.get_mut(&A).unwrap().store = moving.store;
    let _ = replication.placed(moving, &here);
    assert_eq!(synced(&mut replication, 1), 0, "B may hold what was acked since it began to join");
    let _ = connect(&mut replication, B, 10, &set(1, 5), &here);
    assert_eq!(synced(&mut replication, 2), 255);
    replication.stored(journal(), &set(1, 5), Some(B), NOW);
    assert_eq!(synced(&mut replication, 3), 256);
}

#[test]
fn a_store_that_holds_less_than_it_told_is_found_out() {
    let mut replication = three();
    let here = shelves(set(1, 10));
    replication.proved(B, journal(), &set(1, 10));
    replication.disconnected(B);
    let heard = connect(&mut replication, B, 10, &set(1, 6), &here);
    assert_eq!(heard.lost, [(journal(), set(7, 10))].into());
    assert_eq!(debt(&replication, B).0, 4);
    // And the other way round: this hub is told so, once.
    assert!(replication.regress() && !replication.regress());
    assert_eq!(replication.safe(journal(), AckLevel::Quorum, &set(1, 3), &set(1, 3)), RangeSet::new());
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
        let mut lives: BTreeMap<NodeId, u64> = [(B, 10), (C, 10)].into();
        let mut full: BTreeSet<NodeId> = [B, C].into();
        for step in steps {
            match step {
                Step::Store(first, last) => {
                    let news = set(first, last).difference(&here);
                    here.extend(&news);
                    stored(&mut replication, &news);
                }
                Step::Flush(node, first, last) => {
                    let flushed = here.within(range(first, last));
                    disks.get_mut(&node).unwrap().extend(&flushed);
                    replication.proved(node, journal(), &flushed);
                }
                Step::Wipe(node) => {
                    let life = lives.get_mut(&node).unwrap();
                    *life += 1;
                    disks.insert(node, RangeSet::new());
                    full.remove(&node);
                    relive(&mut replication, node, *life, false, &shelves(here.clone()));
                    let _ = connect(&mut replication, node, *life, &RangeSet::new(), &shelves(here.clone()));
                }
                Step::Fill(node) => {
                    full.insert(node);
                    relive(&mut replication, node, lives[&node], true, &shelves(here.clone()));
                }
                Step::Cut(node) => replication.disconnected(node),
                Step::Promise(first, last) => {
                    replication.promise(1, journal(), &here.within(range(first, last)), AckLevel::Quorum);
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
