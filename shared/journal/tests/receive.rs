//! A replica receives runs in any order and any number of times, and seals the author's segments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use bytes::Bytes;
use millrace_journal::Store;
use millrace_model::notice::{Gap, GapReason};
use millrace_model::store::{Change, Outcome};
use millrace_model::{Encoding, Incarnation, JournalId, Lane, RangeSet, Run, SegmentName, SeqRange, Wall};
use plant::{
    all, append, author, block_of, commit, contents, journal, loose, range, reading, readings, receive,
    replica,
};

const NORMAL: Lane = Lane::Normal;

/// An author with three segments and a tail, and what it would send.
fn sent() -> (Store, Vec<Run>) {
    let mut store = Store::in_memory(&author()).unwrap();
    append(&mut store, NORMAL, readings(1, 2_400));
    append(&mut store, NORMAL, readings(2_401, 90));
    let runs = store.load(&journal(NORMAL), all(), usize::MAX).unwrap();
    assert_eq!(runs.len(), 4);
    (store, runs)
}

fn names(store: &Store) -> Vec<SegmentName> {
    store.survey(100).unwrap().into_iter().filter(|s| s.journal == journal(NORMAL)).map(|s| s.name).collect()
}

fn stored(outcome: &Outcome) -> (RangeSet, RangeSet, RangeSet, Option<String>) {
    match outcome {
        Outcome::Received { stored, duplicate, conflict, refused, .. } => {
            (stored.clone(), duplicate.clone(), conflict.clone(), refused.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn segments_travel_byte_for_byte_in_any_order() {
    let (author, runs) = sent();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let mut hub = Store::in_memory(&replica()).unwrap();
        for at in order {
            let (news, _, conflict, refused) = stored(&receive(&mut hub, runs[at].clone()));
            assert_eq!((news, conflict, refused), (runs[at].range().unwrap().into(), RangeSet::new(), None));
        }
        assert_eq!(hub.load(&journal(NORMAL), all(), usize::MAX).unwrap(), runs);
        assert_eq!(names(&hub), names(&author));
        let (here, there) =
            (hub.journal(&journal(NORMAL)).unwrap(), author.journal(&journal(NORMAL)).unwrap());
        assert_eq!((here.head, here.head_check, here.present), (there.head, there.head_check, there.present));
        assert_eq!((here.tail_first, here.next_ordinal), (there.tail_first, there.next_ordinal));
        assert_eq!((here.ledger.ingested, here.ledger.acked, here.ledger.pending), (2_490, 2_490, 0));
        assert!(hub.verify(|_| ()).unwrap().is_clean());
    }
}

#[test]
fn the_same_run_again_is_a_duplicate_and_counts_nothing() {
    let (_, runs) = sent();
    let mut hub = Store::in_memory(&replica()).unwrap();
    for _ in 0..2 {
        runs.iter().for_each(|run| drop(receive(&mut hub, run.clone())));
    }
    let (news, duplicate, ..) = stored(&receive(&mut hub, runs[3].clone()));
    assert_eq!((news, duplicate), (RangeSet::new(), runs[3].range().unwrap().into()));
    assert_eq!(hub.journal(&journal(NORMAL)).unwrap().ledger.ingested, 2_490);
}

#[test]
fn whichever_way_records_travel_the_replica_seals_the_same_segments() {
    let (author, runs) = sent();
    // As loose records first, then sealed by name.
    let mut hub = Store::in_memory(&replica()).unwrap();
    for first in (1..=2_490_u64).step_by(83) {
        let count = 83.min(2_490 - first + 1);
        receive(&mut hub, loose(journal(NORMAL), first, &readings(first, count)));
    }
    for segment in names(&author) {
        let sealed = commit(&mut hub, Change::Seal { journal: journal(NORMAL), segment });
        assert_eq!(sealed, [Outcome::Sealed { journal: journal(NORMAL), sealed: true }]);
    }
    assert_eq!(names(&hub), names(&author));
    assert_eq!(hub.load(&journal(NORMAL), all(), usize::MAX).unwrap(), runs);

    // In parts that name their segment, backwards and overlapping.
    let mut hub = Store::in_memory(&replica()).unwrap();
    for first in (1..=2_400_u64).rev().step_by(97) {
        for run in author.load(&journal(NORMAL), range(first.max(2) - 1, first + 120), usize::MAX).unwrap() {
            let (.., refused) = stored(&receive(&mut hub, run));
            assert_eq!(refused, None);
        }
    }
    receive(&mut hub, author.load(&journal(NORMAL), range(1, 80), usize::MAX).unwrap().remove(0));
    assert_eq!(names(&hub), names(&author));
    assert_eq!(contents(&hub, &journal(NORMAL)), contents(&author, &journal(NORMAL)));

    // Whole segments over loose records that are here already.
    let mut hub = Store::in_memory(&replica()).unwrap();
    receive(&mut hub, loose(journal(NORMAL), 1_000, &readings(1_000, 500)));
    for run in &runs {
        receive(&mut hub, run.clone());
    }
    assert_eq!(hub.load(&journal(NORMAL), all(), usize::MAX).unwrap(), runs);
    assert!(hub.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn a_name_that_the_records_do_not_hash_to_seals_nothing() {
    let (author, _) = sent();
    let mut hub = Store::in_memory(&replica()).unwrap();
    receive(&mut hub, loose(journal(NORMAL), 1, &readings(1, 1_024)));
    let right = names(&author)[0];
    let not_sealed = [Outcome::Sealed { journal: journal(NORMAL), sealed: false }];
    for wrong in [
        SegmentName { ordinal: 1, ..right },
        SegmentName { hash: names(&author)[1].hash, ..right },
        SegmentName { count: 1_025, ..right },
        SegmentName { count: 1_023, ..right },
        SegmentName { first: 0, ..right },
        names(&author)[1],
    ] {
        assert_eq!(commit(&mut hub, Change::Seal { journal: journal(NORMAL), segment: wrong }), not_sealed);
    }
    assert_eq!(names(&hub), []);
}

#[test]
fn the_same_number_with_other_content_is_a_conflict_and_changes_nothing() {
    let (_, runs) = sent();
    let forged = loose(journal(NORMAL), 1_020, &[reading(1_020), reading(1), reading(2), reading(1_023)]);

    let mut hub = Store::in_memory(&replica()).unwrap();
    receive(&mut hub, runs[0].clone());
    let before = hub.journals();
    let (news, duplicate, conflict, _) = stored(&receive(&mut hub, forged.clone()));
    assert_eq!((news, conflict), (RangeSet::new(), range(1_021, 1_022).into()));
    assert_eq!(duplicate, [range(1_020, 1_020), range(1_023, 1_023)].into_iter().collect());
    assert_eq!(hub.journals(), before);

    // The other way round: the forged records were first, and stay.
    let mut hub = Store::in_memory(&replica()).unwrap();
    receive(&mut hub, forged);
    let (news, _, conflict, _) = stored(&receive(&mut hub, runs[0].clone()));
    assert_eq!((news, conflict), (RangeSet::new(), range(1_021, 1_022).into()));
    assert_eq!(contents(&hub, &journal(NORMAL)).len(), 4);
}

#[test]
fn damaged_or_dishonest_runs_are_refused_as_a_whole() {
    let (_, runs) = sent();
    let good = runs[0].clone();
    let name = good.segment.unwrap();
    let mut hub = Store::in_memory(&replica()).unwrap();
    let mut flipped = good.body.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let bad = [
        Run { body: Bytes::from(flipped), ..good.clone() },
        Run { body: runs[1].body.clone(), ..good.clone() },
        Run { encoding: Encoding::Plain, ..good.clone() },
        Run { count: 1_023, segment: None, ..good.clone() },
        Run { first: 0, segment: None, ..good.clone() },
        Run { first: u64::MAX - 5, segment: None, ..good.clone() },
        Run { segment: Some(SegmentName { first: 2, ..name }), ..good.clone() },
        Run { segment: Some(SegmentName { ordinal: 5, ..name }), ..good.clone() },
        Run { journal: journal(Lane::Bulk), ..good.clone() },
        Run { body: Bytes::new(), encoding: Encoding::Plain, ..good.clone() },
    ];
    for run in bad {
        let (news, _, _, refused) = stored(&receive(&mut hub, run.clone()));
        assert!(refused.is_some() && news.is_empty(), "{} {} {:?}", run.first, run.count, run.segment);
    }
    assert_eq!(hub.journals(), []);
    // A segment of loose records that is sent whole in plain form is as good as a compressed one.
    let plain = Run { body: block_of(&good), encoding: Encoding::Plain, ..good };
    assert_eq!(stored(&receive(&mut hub, plain)).3, None);
}

#[test]
fn segments_whose_order_contradicts_their_ordinals_are_refused() {
    let mut other = Store::in_memory(&author()).unwrap();
    append(&mut other, NORMAL, readings(1, 900));
    append(&mut other, NORMAL, readings(901, 900));
    let other_cut = other.load(&journal(NORMAL), all(), usize::MAX).unwrap();
    let (_, runs) = sent();
    let mut hub = Store::in_memory(&replica()).unwrap();
    receive(&mut hub, runs[0].clone());
    let (news, _, conflict, refused) = stored(&receive(&mut hub, other_cut[1].clone()));
    assert!(refused.unwrap().contains("overlaps"));
    assert_eq!((news, conflict), (RangeSet::new(), RangeSet::new()));
}

#[test]
fn nobody_writes_the_authors_own_journals() {
    let (mut author, runs) = sent();
    let before = author.journals();
    assert!(stored(&receive(&mut author, runs[0].clone())).3.unwrap().contains("author"));
    let theirs = JournalId { incarnation: Incarnation::new(99), ..journal(NORMAL) };
    assert!(stored(&receive(&mut author, loose(theirs, 1, &readings(1, 1)))).3.is_some());
    assert_eq!(author.journals(), before);
}

#[test]
fn what_lies_below_the_floor_is_a_duplicate_and_does_not_come_back() {
    let (_, runs) = sent();
    let mut hub = Store::in_memory(&replica()).unwrap();
    runs.iter().for_each(|run| drop(receive(&mut hub, run.clone())));
    let dropped = commit(&mut hub, Change::Drop { journal: journal(NORMAL), through: 2_048, evict: None });
    assert_eq!(
        dropped,
        [Outcome::Dropped { journal: journal(NORMAL), floor: 2_049, trimmed: 2_048, evicted: 0 }]
    );
    let (news, duplicate, ..) = stored(&receive(&mut hub, runs[1].clone()));
    assert_eq!((news, duplicate), (RangeSet::new(), range(1_025, 2_048).into()));
    let (news, duplicate, ..) =
        stored(&receive(&mut hub, loose(journal(NORMAL), 2_040, &readings(2_040, 20))));
    assert_eq!((news, duplicate), (RangeSet::new(), range(2_040, 2_059).into()));
    assert_eq!(hub.journal(&journal(NORMAL)).unwrap().present, range(2_049, 2_490).into());
    assert_eq!(hub.journal(&journal(NORMAL)).unwrap().ledger.acked, 2_490);
}

#[test]
fn gap_records_declare_losses_of_their_own_device() {
    let gap = Gap {
        incarnation: Incarnation::new(5),
        lane: Lane::Bulk,
        range: Some((10, 19)),
        after: None,
        count: 10,
        reason: GapReason::DropOldest,
        from: Wall(1),
        to: Wall(2),
    };
    let mut hub = Store::in_memory(&replica()).unwrap();
    let run = loose(journal(Lane::Urgent), 1, &[reading(1), gap.to_record(Wall(3), 4).unwrap()]);
    match receive(&mut hub, run) {
        Outcome::Received { gaps, .. } => assert_eq!(gaps, [gap]),
        other => panic!("{other:?}"),
    }
    let named = JournalId { incarnation: Incarnation::new(5), ..journal(Lane::Bulk) };
    assert_eq!(hub.journal(&named).unwrap().declared, SeqRange::new(10, 19).unwrap().into());
}

#[test]
fn a_device_cannot_make_journals_or_holes_without_end() {
    let mut hub = Store::in_memory(&replica()).unwrap();
    let mut refused = 0;
    for n in 0..400 {
        for lane in Lane::ALL {
            let theirs = JournalId { incarnation: Incarnation::new(n), lane, ..journal(lane) };
            refused += u32::from(stored(&receive(&mut hub, loose(theirs, 1, &readings(1, 1)))).3.is_some());
        }
    }
    assert_eq!(refused as usize, 1_200 - millrace_journal::DEVICE_JOURNALS_MAX);

    let mut hub = Store::in_memory(&replica()).unwrap();
    let changes: Vec<Change> =
        (1..=4_100).map(|n| Change::Receive(loose(journal(NORMAL), n * 2, &readings(n, 1)))).collect();
    let (_, outcomes) = hub.commit(1, &changes).unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| stored(outcome).3.is_some()).count(), 4);
}
