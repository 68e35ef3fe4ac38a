//! Digests: the same for the same history, whoever holds it, in whatever order it came and however much of it is still kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use millrace_journal::Store;
use millrace_model::notice::GapReason;
use millrace_model::store::{Change, Outcome};
use millrace_model::{Incarnation, JournalId, Lane, NodeHash, RangeSet};
use plant::{
    all, append, commit, contents, hasty, journal, names, range, reading, readings, receive, replica,
    root_over, summary,
};

const NORMAL: Lane = Lane::Normal;

/// An author with so many segments of four records.
fn sealed(segments: u64) -> Store {
    let mut store = Store::in_memory(&hasty()).unwrap();
    for segment in 0..segments {
        append(&mut store, NORMAL, readings(segment * 4 + 1, 4));
    }
    store
}

/// A replica that got everything that the author still has.
fn copy_of(author: &Store) -> Store {
    let mut hub = Store::in_memory(&replica()).unwrap();
    for run in author.load(&journal(NORMAL), all(), usize::MAX).unwrap() {
        receive(&mut hub, run);
    }
    hub
}

fn ack_and_drop(store: &mut Store, through: u64) {
    let id = journal(NORMAL);
    commit(store, Change::Acknowledge { journal: id, ranges: range(1, through).into() });
    commit(store, Change::Drop { journal: id, through, evict: None });
}

#[test]
fn author_and_replicas_agree_in_whatever_order_it_came_and_whatever_each_keeps() {
    let id = journal(NORMAL);
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut author = sealed(0);
        let mut hubs = [Store::in_memory(&replica()).unwrap(), Store::in_memory(&replica()).unwrap()];
        let mut all_names = std::collections::BTreeMap::new();
        let mut made = 0;
        for _ in 0..6 {
            let first = made + 1;
            for _ in 0..rng.u64(1..60) {
                let count = rng.u64(1..5);
                append(&mut author, NORMAL, readings(made + 1, count));
                made += count;
            }
            all_names.extend(names(&author, &id));
            let runs = author.load(&id, range(first, made), usize::MAX).unwrap();
            for hub in &mut hubs {
                let mut order = runs.clone();
                rng.shuffle(&mut order);
                let changes: Vec<Change> = order.into_iter().map(Change::Receive).collect();
                changes.chunks(rng.usize(1..20)).for_each(|some| drop(hub.commit(1, some).unwrap()));
                let through = rng.u64(0..=made);
                commit(hub, Change::Drop { journal: id, through, evict: None });
            }
            ack_and_drop(&mut author, rng.u64(1..=made));
            let expected = root_over(all_names.values());
            assert_eq!(summary(&author, &id).root.hash, expected);
            for hub in &hubs {
                assert!(summary(hub, &id).agrees(&summary(&author, &id)), "seed {seed}");
                assert!(hub.verify(|_| ()).unwrap().is_clean());
            }
            assert!(author.verify(|_| ()).unwrap().is_clean());
        }
    }
}

#[test]
fn a_tail_counts_whatever_order_its_rows_came_in_and_goes_when_it_is_sealed() {
    let (mut author, mut hub) =
        (Store::in_memory(&plant::author()).unwrap(), Store::in_memory(&replica()).unwrap());
    let id = journal(NORMAL);
    append(&mut author, NORMAL, readings(1, 30));
    for (first, count) in [(21, 10), (1, 5), (11, 10), (6, 5)] {
        receive(&mut hub, plant::loose(id, first, &readings(first, count)));
    }
    assert_ne!(summary(&hub, &id).tail, 0);
    assert_eq!(summary(&hub, &id), summary(&author, &id));
    append(&mut author, NORMAL, readings(31, 994));
    assert_eq!(summary(&author, &id).tail, 0);
    receive(&mut hub, plant::loose(id, 31, &readings(31, 994)));
    commit(&mut hub, Change::Seal { journal: id, segment: names(&author, &id)[&0] });
    assert_eq!(summary(&hub, &id), summary(&author, &id));
}

#[test]
fn what_is_evicted_before_any_hub_got_it_leaves_the_digest() {
    let mut author = sealed(40);
    let id = journal(NORMAL);
    let hub = copy_of(&{
        let mut known = sealed(40);
        ack_and_drop(&mut known, 80);
        known
    });
    // The hub got the segments from 20 on; those before are evicted, some of them acked in part.
    commit(&mut author, Change::Acknowledge { journal: id, ranges: range(3, 3).into() });
    let evict = Some(GapReason::DropOldest);
    commit(&mut author, Change::Drop { journal: id, through: 80, evict });
    assert!(summary(&author, &id).agrees(&summary(&hub, &id)));
    assert_eq!(author.journal(&id).unwrap().first_ordinal, 20);
    assert!(author.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn what_moves_to_a_new_life_leaves_the_digest_and_what_a_hub_has_stays_in_it() {
    let mut store = sealed(6);
    let id = journal(NORMAL);
    let segments = names(&store, &id);
    commit(&mut store, Change::Acknowledge { journal: id, ranges: range(1, 10).into() });
    let open = Box::new(reading(0));
    commit(&mut store, Change::Reincarnate { incarnation: Incarnation::new(2), open });
    // The hub has the fourth segment too, under the same numbers.
    let equal: RangeSet = range(13, 16).into();
    commit(&mut store, Change::Reauthor { journal: id, range: range(1, 24), equal });
    assert_eq!(summary(&store, &id).root.hash, root_over([0, 1, 3].map(|ordinal| &segments[&ordinal])));
    let state = store.journal(&id).unwrap();
    assert_eq!((state.present, state.first_ordinal), (RangeSet::new(), 6));
    assert!(store.verify(|_| ()).unwrap().is_clean());
    let new = JournalId { incarnation: Incarnation::new(2), ..id };
    assert_eq!(contents(&store, &new).len(), 10);
}

#[test]
fn a_replica_that_began_late_takes_over_what_a_peer_knows_of_the_time_before() {
    let id = journal(NORMAL);
    let mut author = sealed(0);
    let mut early = Store::in_memory(&replica()).unwrap();
    let mut late = Store::in_memory(&replica()).unwrap();
    let mut hashes = std::collections::BTreeMap::new();
    for segment in 0..300 {
        append(&mut author, NORMAL, readings(segment * 4 + 1, 4));
        let run = author.load(&id, range(segment * 4 + 1, segment * 4 + 4), usize::MAX).unwrap().remove(0);
        hashes.insert(segment, NodeHash::of_segment(&run.segment.unwrap().hash));
        receive(&mut early, run.clone());
        if segment >= 40 {
            receive(&mut late, run);
        }
    }
    let before = summary(&late, &id);
    let subtree = |low: u64, high: u64| {
        let found = names(&early, &id);
        root_over((low..high).map(|ordinal| &found[&ordinal])).unwrap()
    };
    let tops = [subtree(0, 16), subtree(16, 32)];
    let mut nodes = vec![(1, 0, tops[0]), (1, 1, tops[1])];
    nodes.extend((32..40).map(|ordinal| (0, ordinal, hashes[&ordinal])));
    let adopt = Change::Adopt { journal: id, nodes: nodes.clone() };
    commit(&mut late, adopt.clone());
    assert_eq!(summary(&late, &id), before, "while the floor is at the beginning, all of it is missed");

    commit(&mut late, Change::Drop { journal: id, through: 160, evict: None });
    assert_eq!(late.journal(&id).unwrap().first_ordinal, 40);
    assert!(!summary(&late, &id).agrees(&summary(&early, &id)));
    commit(&mut late, adopt);
    assert!(summary(&late, &id).agrees(&summary(&early, &id)));
    assert!(late.verify(|_| ()).unwrap().is_clean());

    // What does not lie wholly below the floor, or has no row above it, is left alone.
    let lie = NodeHash([9; 16]);
    let nodes = vec![(0, 40, lie), (0, 5, lie), (2, 0, lie), (9, 0, lie), (16, 0, lie), (77, 1, lie)];
    commit(&mut late, Change::Adopt { journal: id, nodes });
    assert!(summary(&late, &id).agrees(&summary(&early, &id)));
    assert!(late.verify(|_| ()).unwrap().is_clean());

    // What is below the floor gives way to what whoever compares takes for the better hash.
    commit(&mut late, Change::Adopt { journal: id, nodes: vec![(0, 35, lie), (1, 1, lie)] });
    assert!(!summary(&late, &id).agrees(&summary(&early, &id)));
    let nodes = vec![(0, 35, hashes[&35]), (1, 1, tops[1])];
    commit(&mut late, Change::Adopt { journal: id, nodes });
    assert!(summary(&late, &id).agrees(&summary(&early, &id)));

    // And it holds when the floor goes on, beyond everything that was ever there.
    commit(&mut late, Change::Drop { journal: id, through: 1_200, evict: None });
    assert!(summary(&late, &id).agrees(&summary(&early, &id)));
    let nobody = JournalId { lane: Lane::Bulk, ..id };
    assert_eq!(
        commit(&mut late, Change::Adopt { journal: nobody, nodes: vec![(0, 0, lie)] }),
        [Outcome::Done]
    );
    assert!(late.journal(&nobody).is_none());
}

#[test]
fn a_floor_in_a_hole_is_known_for_certain_when_the_segment_there_has_come() {
    let id = journal(NORMAL);
    let author = sealed(60);
    let runs = author.load(&id, all(), usize::MAX).unwrap();
    let mut hub = Store::in_memory(&replica()).unwrap();
    runs[50..].iter().for_each(|run| drop(receive(&mut hub, run.clone())));
    commit(&mut hub, Change::Drop { journal: id, through: 80, evict: None });
    let state = hub.journal(&id).unwrap();
    assert_eq!((state.floor, state.first_ordinal), (81, 0), "the hole might be 120 segments of one record");
    receive(&mut hub, runs[20].clone());
    assert_eq!(hub.journal(&id).unwrap().first_ordinal, 20);
    commit(&mut hub, Change::Drop { journal: id, through: 90, evict: None });
    let state = hub.journal(&id).unwrap();
    assert_eq!((state.floor, state.first_ordinal), (91, 21), "what was dropped is below it");
    assert!(hub.verify(|_| ()).unwrap().is_clean());
    runs.iter().for_each(|run| drop(receive(&mut hub, run.clone())));
    assert!(hub.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn a_hash_for_the_whole_tree_takes_the_place_of_all_that_was_known() {
    let id = journal(NORMAL);
    let author = sealed(270);
    let runs = author.load(&id, all(), usize::MAX).unwrap();
    let segments = names(&author, &id);
    let whole = root_over((0..256).map(|ordinal| &segments[&ordinal])).unwrap();
    // Two of the first 256 segments came here before the floor passed all of them.
    let mut hub = Store::in_memory(&replica()).unwrap();
    for known in [3, 255] {
        receive(&mut hub, runs[known].clone());
    }
    commit(&mut hub, Change::Drop { journal: id, through: 1_024, evict: None });
    let state = hub.journal(&id).unwrap();
    assert_eq!((state.first_ordinal, state.summary.root.level), (256, 2));
    commit(&mut hub, Change::Adopt { journal: id, nodes: vec![(2, 0, whole)] });
    assert_eq!(summary(&hub, &id).root.hash, Some(whole));
    runs[256..].iter().for_each(|run| drop(receive(&mut hub, run.clone())));
    assert!(summary(&hub, &id).agrees(&summary(&author, &id)));
    assert!(hub.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn a_tree_that_was_let_go_as_a_whole_grows_on() {
    let id = journal(NORMAL);
    let (mut whole, mut trimmed) = (sealed(0), sealed(0));
    let mut rng = fastrand::Rng::with_seed(3);
    for segment in 0..290_u64 {
        for store in [&mut whole, &mut trimmed] {
            append(store, NORMAL, readings(segment * 4 + 1, 4));
        }
        if segment % 16 == 15 || rng.u8(0..9) == 0 {
            ack_and_drop(&mut trimmed, segment * 4 + 4);
            assert_eq!(trimmed.journal(&id).unwrap().first_ordinal, segment + 1);
        }
        assert_eq!(summary(&whole, &id), summary(&trimmed, &id), "{segment}");
        assert!(!trimmed.rebuild_digest(&id).unwrap(), "{segment}");
    }
}

#[test]
fn a_segment_that_claims_a_place_below_the_floor_is_refused() {
    let id = journal(NORMAL);
    let author = sealed(9);
    let mut hub = copy_of(&author);
    commit(&mut hub, Change::Drop { journal: id, through: 36, evict: None });
    let mut liar = sealed(0);
    append(&mut liar, NORMAL, readings(1, 40));
    let mut run = liar.load(&id, range(37, 40), usize::MAX).unwrap().remove(0);
    let block = plant::block_of(&run);
    let hash = millrace_model::SegmentHash::of(&id, 3, 37, &block);
    run.segment = Some(millrace_model::SegmentName { ordinal: 3, first: 37, count: 4, hash });
    let before = summary(&hub, &id);
    match receive(&mut hub, run) {
        Outcome::Received { refused: Some(why), .. } => assert!(why.contains("below the floor"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(summary(&hub, &id), before);
}

#[test]
fn what_nobody_has_any_more_is_not_waited_for_and_counts_again_when_it_turns_up() {
    let id = journal(NORMAL);
    let author = sealed(10);
    let runs = author.load(&id, all(), usize::MAX).unwrap();
    let mut hub = Store::in_memory(&replica()).unwrap();
    for run in runs.iter().filter(|run| ![3, 4].contains(&run.segment.unwrap().ordinal)) {
        receive(&mut hub, run.clone());
    }
    commit(&mut hub, Change::Drop { journal: id, through: 4, evict: None });
    let before = summary(&hub, &id);
    let ranges: RangeSet = [range(1, 14), range(15, 17)].into_iter().collect();
    commit(&mut hub, Change::DeclareLost { journal: id, ranges });
    let state = hub.journal(&id).unwrap();
    assert_eq!(state.declared, range(13, 17).into(), "neither what is here nor what lies below the floor");
    assert_eq!(state.summary, before, "nobody knows which segments these were");
    assert!(hub.verify(|_| ()).unwrap().is_clean());
    // At the author nothing is done.
    let mut author = author;
    commit(&mut author, Change::DeclareLost { journal: id, ranges: range(1, 40).into() });
    assert!(author.journal(&id).unwrap().declared.is_empty());
    for run in runs {
        receive(&mut hub, run);
    }
    assert!(summary(&hub, &id).agrees(&summary(&author, &id)));
}
