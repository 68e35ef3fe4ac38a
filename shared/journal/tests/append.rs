//! Appending, sealing, loading, trimming at the author.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use millrace_journal::{CommitError, Store};
use millrace_model::limits::PAYLOAD_BYTES_MAX;
use millrace_model::notice::{Gap, GapReason};
use millrace_model::store::{Change, Outcome};
use millrace_model::{Kind, Lane, RangeSet, Record, SeqRange, Wall};
use plant::{all, append, author, check_of, commit, contents, journal, range, reading, readings, records_of};

const NORMAL: Lane = Lane::Normal;

#[test]
fn what_was_appended_loads_in_order_from_segments_and_tail() {
    let mut store = Store::in_memory(&author()).unwrap();
    let mut expected = Vec::new();
    for (first, count) in [(1, 10), (11, 1), (12, 300), (312, 2_000), (2_312, 5)] {
        let at = append(&mut store, NORMAL, readings(first, count));
        assert_eq!((at.first(), at.count()), (first, count));
        expected.extend((first..).zip(readings(first, count)));
    }
    assert_eq!(contents(&store, &journal(NORMAL)), expected);
    let state = store.journal(&journal(NORMAL)).unwrap();
    assert_eq!(state.head, 2_316);
    assert_eq!(state.present, RangeSet::from(range(1, 2_316)));
    assert_eq!(state.head_check, Some(check_of(&journal(NORMAL), 2_316, &reading(2_316))));
    assert_eq!(state.ledger.ingested, 2_316);
    assert_eq!(state.ledger.pending, 2_316);
    assert!(state.ledger.balances());
    assert!(store.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn a_tail_is_sealed_when_a_segment_is_full_and_a_burst_at_once() {
    let mut store = Store::in_memory(&author()).unwrap();
    for batch in 0..10 {
        append(&mut store, NORMAL, readings(1 + batch * 100, 100));
    }
    let state = store.journal(&journal(NORMAL)).unwrap();
    assert_eq!((state.next_ordinal, state.tail_first), (0, 1));
    let sealed =
        match commit(&mut store, Change::Append { lane: NORMAL, records: readings(1_001, 100) }).remove(0) {
            Outcome::Appended { sealed, .. } => sealed,
            other => panic!("{other:?}"),
        };
    assert_eq!(
        sealed.iter().map(|name| (name.ordinal, name.first, name.count)).collect::<Vec<_>>(),
        [(0, 1, 1_024)]
    );
    let state = store.journal(&journal(NORMAL)).unwrap();
    assert_eq!((state.next_ordinal, state.tail_first), (1, 1_025));
    // 76 rows in the tail and 600 new ones: a burst leaves nothing behind as rows.
    append(&mut store, NORMAL, readings(1_101, 600));
    assert_eq!(store.journal(&journal(NORMAL)).unwrap().tail_first, 1_701);
    assert_eq!(
        store.journal(&journal(NORMAL)).unwrap().head_check,
        Some(check_of(&journal(NORMAL), 1_700, &reading(1_700)))
    );
}

#[test]
fn large_records_are_sealed_by_their_bytes() {
    let mut store = Store::in_memory(&author()).unwrap();
    let large = |n: u8| Record { payload: vec![n; PAYLOAD_BYTES_MAX].into(), ..reading(n.into()) };
    for n in 1..=5 {
        append(&mut store, NORMAL, vec![large(n)]);
    }
    let state = store.journal(&journal(NORMAL)).unwrap();
    assert_eq!(state.next_ordinal, 4);
    assert_eq!(contents(&store, &journal(NORMAL)), (1..=5).map(|n| (n.into(), large(n))).collect::<Vec<_>>());
    let too_large = Record { payload: vec![0; PAYLOAD_BYTES_MAX + 1].into(), ..reading(1) };
    let refused = store.commit(9, &[Change::Append { lane: NORMAL, records: vec![reading(6), too_large] }]);
    assert!(matches!(refused, Err(CommitError::Invalid(_))));
    assert_eq!(store.journal(&journal(NORMAL)).unwrap().head, 5);
}

#[test]
fn records_that_do_not_fit_into_a_page_are_sealed_before_they_waste_many() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&dir.path().join("journal.db"), &author()).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut raw = 0;
    for batch in 0..140 {
        let records = (1..=6).map(|n| {
            let payload: Vec<u8> = (0..1_100).map(|_| random.u8(..)).collect();
            raw += payload.len() as u64;
            Record { payload: payload.into(), ..reading(batch * 6 + n) }
        });
        let records = records.collect();
        append(&mut store, NORMAL, records);
    }
    let state = store.journal(&journal(NORMAL)).unwrap();
    assert!(state.head - state.tail_first < 256, "a tail of {} records", state.head - state.tail_first);
    drop(store);
    // The records, and the pages that a segment's worth of tail takes.
    let used = std::fs::metadata(dir.path().join("journal.db")).unwrap().len();
    assert!(used < raw + raw / 10 + (3 << 19), "{used} bytes for {raw} that do not compress");
}

#[test]
fn a_commit_that_fails_half_way_changes_nothing() {
    let mut store = Store::in_memory(&author()).unwrap();
    append(&mut store, NORMAL, readings(1, 3));
    let before = store.journals();
    let changes = [
        Change::Append { lane: NORMAL, records: readings(4, 500) },
        Change::Append { lane: Lane::Bulk, records: Vec::new() },
    ];
    assert!(matches!(store.commit(2, &changes), Err(CommitError::Invalid(_))));
    assert_eq!(store.journals(), before);
    assert_eq!(contents(&store, &journal(NORMAL)).len(), 3);
    assert_eq!(append(&mut store, NORMAL, readings(4, 1)), SeqRange::only(4));
}

#[test]
fn a_load_stops_at_its_bytes_and_gives_at_least_one_run() {
    let mut store = Store::in_memory(&author()).unwrap();
    append(&mut store, NORMAL, readings(1, 5_000));
    append(&mut store, NORMAL, readings(5_001, 200));
    let everything = store.load(&journal(NORMAL), all(), usize::MAX).unwrap();
    let whole = everything.iter().filter(|run| run.is_whole_segment()).count();
    assert_eq!(whole, 5);
    assert_eq!(store.load(&journal(NORMAL), all(), 0).unwrap().len(), 1);
    let largest = everything.iter().map(|run| run.body.len()).max().unwrap();
    for bytes_max in [1, 1_000, 20_000, 60_000] {
        for first in [1, 700, 1_025, 4_990, 5_001, 5_150] {
            let runs = store.load(&journal(NORMAL), range(first, 5_180), bytes_max).unwrap();
            let bytes: usize = runs.iter().map(|run| run.body.len()).sum();
            assert!(bytes <= bytes_max.max(largest), "{bytes} bytes for {bytes_max}");
            let got: Vec<u64> = runs.iter().flat_map(records_of).map(|(seq, _)| seq).collect();
            assert!(!got.is_empty());
            assert_eq!(got, (first..first + got.len() as u64).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_part_of_a_segment_names_the_segment() {
    let mut store = Store::in_memory(&author()).unwrap();
    append(&mut store, NORMAL, readings(1, 1_024));
    let runs = store.load(&journal(NORMAL), range(100, 199), usize::MAX).unwrap();
    let [run] = &runs[..] else { panic!("{runs:?}") };
    assert_eq!((run.first, run.count), (100, 100));
    assert_eq!(run.segment.unwrap().range(), Some(range(1, 1_024)));
    assert_eq!(records_of(run), (100..200).map(|n| (n, reading(n))).collect::<Vec<_>>());
    let checks = store.checks(&journal(NORMAL), range(100, 102)).unwrap();
    assert_eq!(
        checks,
        (100..103).map(|n| (n, check_of(&journal(NORMAL), n, &reading(n)))).collect::<Vec<_>>()
    );
}

#[test]
fn acked_segments_go_and_others_go_only_for_a_reason_that_becomes_a_gap() {
    let mut store = Store::in_memory(&author()).unwrap();
    append(&mut store, NORMAL, readings(1, 3_072));
    append(&mut store, NORMAL, readings(3_073, 50));
    let id = journal(NORMAL);
    commit(&mut store, Change::Acknowledge { journal: id, ranges: RangeSet::from(range(1, 1_500)) });
    let survey = store.survey(2).unwrap();
    assert_eq!(survey.iter().map(|s| (s.name.first, s.unacked)).collect::<Vec<_>>(), [(1, 0), (1_025, 548)]);

    let drop = |through, evict| Change::Drop { journal: id, through, evict };
    let dropped = commit(&mut store, drop(3_122, None));
    assert_eq!(dropped, [Outcome::Dropped { journal: id, floor: 1_025, trimmed: 1_024, evicted: 0 }]);
    let dropped = commit(&mut store, drop(2_048, Some(GapReason::DropOldest)));
    assert_eq!(dropped, [Outcome::Dropped { journal: id, floor: 2_049, trimmed: 476, evicted: 548 }]);
    let dropped = commit(&mut store, drop(3_100, Some(GapReason::DropOldest)));
    assert_eq!(dropped, [Outcome::Dropped { journal: id, floor: 3_101, trimmed: 0, evicted: 1_052 }]);

    let ledger = store.journal(&id).unwrap().ledger;
    assert_eq!((ledger.acked, ledger.pending, ledger.evicted), (1_500, 22, 1_600));
    assert!(ledger.balances());
    assert!(store.has_open_gaps().unwrap());
    commit(&mut store, Change::DeclareGaps { wall: Wall(9), mono: 9 });
    assert!(!store.has_open_gaps().unwrap());
    let declared = contents(&store, &journal(Lane::Urgent));
    let gaps: Vec<Gap> = declared.iter().filter_map(|(_, record)| Gap::from_record(record)).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].range, gaps[0].count, gaps[0].lane), (Some((1_501, 3_100)), 1_600, NORMAL));
    assert!(declared.iter().all(|(_, record)| record.kind == Kind::GAP));
    assert_eq!(store.journal(&journal(Lane::Urgent)).unwrap().ledger.pending, 1);
    assert!(store.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn acks_count_once_and_only_what_is_here() {
    let mut store = Store::in_memory(&author()).unwrap();
    append(&mut store, NORMAL, readings(1, 10));
    for ranges in [range(1, 4), range(3, 6), range(9, 400)] {
        commit(&mut store, Change::Acknowledge { journal: journal(NORMAL), ranges: RangeSet::from(ranges) });
    }
    let state = store.journal(&journal(NORMAL)).unwrap();
    assert_eq!((state.ledger.acked, state.ledger.pending), (8, 2));
    assert_eq!(state.acked, [range(1, 6), range(9, 10)].into_iter().collect());
}

#[test]
fn rejections_are_counted_and_declared_without_numbers() {
    let mut store = Store::in_memory(&author()).unwrap();
    for at in [5, 3] {
        let (from, to) = (Wall(at), Wall(at + 1));
        commit(
            &mut store,
            Change::Reject { lane: Lane::Bulk, count: 2, reason: GapReason::Oversize, from, to },
        );
    }
    let ledger = store.journal(&journal(Lane::Bulk)).unwrap().ledger;
    assert_eq!((ledger.ingested, ledger.rejected), (4, 4));
    commit(&mut store, Change::DeclareGaps { wall: Wall(9), mono: 9 });
    let gap = Gap::from_record(&contents(&store, &journal(Lane::Urgent))[0].1).unwrap();
    assert_eq!((gap.range, gap.count, gap.from, gap.to), (None, 4, Wall(3), Wall(6)));
    assert_eq!(gap.reason, GapReason::Oversize);
}

#[test]
fn what_is_remembered_survives_and_is_bounded() {
    let mut store = Store::in_memory(&author()).unwrap();
    commit(&mut store, Change::Remember { name: "hubs", value: b"a,b".to_vec() });
    commit(&mut store, Change::Remember { name: "hubs", value: b"c".to_vec() });
    let image = store.image().unwrap();
    let store = Store::from_image(&image, &author()).unwrap();
    assert_eq!(store.recall("hubs").unwrap(), Some(b"c".to_vec()));
    assert_eq!(store.recall("nothing").unwrap(), None);
    let mut store = store;
    let large = Change::Remember { name: "hubs", value: vec![0; millrace_journal::REMEMBERED_BYTES_MAX + 1] };
    assert!(matches!(store.commit(1, &[large]), Err(CommitError::Invalid(_))));
}

#[test]
fn what_the_hubs_lost_waits_again() {
    let mut store = Store::in_memory(&author()).unwrap();
    append(&mut store, NORMAL, readings(1, 30));
    let id = journal(NORMAL);
    commit(&mut store, Change::Acknowledge { journal: id, ranges: RangeSet::from(range(1, 20)) });
    commit(&mut store, Change::Reclaim { journal: id, ranges: RangeSet::from(range(11, 25)) });
    let state = store.journal(&id).unwrap();
    assert_eq!((state.ledger.acked, state.ledger.pending), (10, 20));
    assert!(state.ledger.balances());
    assert_eq!(state.acked, RangeSet::from(range(1, 10)));
}
