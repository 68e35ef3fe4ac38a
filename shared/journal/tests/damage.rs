//! Flipped bits anywhere: what is read is right, or named as damaged; never wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millrace_journal::{OpenError, Order, Query, ReadError, Store};
use millrace_model::notice::{Gap, GapReason};
use millrace_model::store::{Change, Outcome, Quarantined};
use millrace_model::{Lane, RangeSet, Seq, Wall};
use plant::{
    all, append, author, commit, contents, journal, range, reading, readings, receive, records_of, replica,
};

const NORMAL: Lane = Lane::Normal;

/// A closed store of 2,048 sealed readings and 100 in the tail.
fn closed() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mut store = Store::open(&path, &author()).unwrap();
    append(&mut store, NORMAL, readings(1, 2_048));
    append(&mut store, NORMAL, readings(2_049, 100));
    drop(store);
    assert!(!dir.path().join("journal.db-wal").exists(), "closing carries the log over");
    (dir, path)
}

fn flip(path: &Path, at: usize, bit: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    std::fs::write(path, bytes).unwrap();
}

/// Where `needle` stands in the file.
fn find(path: &Path, needle: &[u8]) -> usize {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(needle.len()).position(|window| window == needle).unwrap()
}

/// Changes a database behind the store's back.
fn tamper(path: &Path, sql: &str) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(sql).unwrap();
}

#[test]
fn a_flipped_bit_in_a_tail_row_is_named_and_moved_aside() {
    let (_dir, path) = closed();
    let at = find(&path, &reading(2_100).payload);
    flip(&path, at + 10, 3);
    let mut store = Store::open(&path, &author()).unwrap();
    let damaged = store.load(&journal(NORMAL), range(2_049, 2_148), usize::MAX);
    assert!(
        matches!(&damaged, Err(ReadError::Damaged { range, .. }) if *range == plant::range(2_100, 2_100)),
        "{damaged:?}"
    );
    assert_eq!(store.verify(|_| ()).unwrap().found, 1);
    let gone = store.quarantine(&journal(NORMAL), range(2_100, 2_100)).unwrap();
    assert_eq!((gone.ranges, gone.evicted), (range(2_100, 2_100).into(), 1));
    assert_eq!(store.quarantined().unwrap(), 1);

    let state = store.journal(&journal(NORMAL)).unwrap();
    assert_eq!((state.ledger.pending, state.ledger.evicted), (2_147, 1));
    assert!(state.ledger.balances());
    assert_eq!(contents(&store, &journal(NORMAL)).len(), 2_147);
    assert!(store.verify(|_| ()).unwrap().is_clean());
    commit(&mut store, Change::DeclareGaps { wall: Wall(1), mono: 1 });
    let gap = Gap::from_record(&contents(&store, &journal(Lane::Urgent))[0].1).unwrap();
    assert_eq!((gap.range, gap.count, gap.reason), (Some((2_100, 2_100)), 1, GapReason::Damaged));
}

#[test]
fn sealing_meets_damage_in_the_tail_and_goes_on() {
    let (_dir, path) = closed();
    let at = find(&path, &reading(2_100).payload);
    flip(&path, at + 10, 3);
    let mut store = Store::open(&path, &author()).unwrap();
    append(&mut store, NORMAL, readings(2_149, 1_000));
    let state = store.journal(&journal(NORMAL)).unwrap();
    assert_eq!(state.present, [range(1, 2_099), range(2_101, 3_148)].into_iter().collect());
    assert_eq!(state.ledger.evicted, 1);
    let seqs: Vec<Seq> = contents(&store, &journal(NORMAL)).iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, (1..=2_099).chain(2_101..=3_148).collect::<Vec<_>>());
    assert!(store.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn a_query_goes_on_around_damage_and_names_it() {
    let (_dir, path) = closed();
    let body = {
        let store = Store::open(&path, &author()).unwrap();
        store.load(&journal(NORMAL), range(1_025, 2_048), usize::MAX).unwrap().remove(0).body
    };
    let at = find(&path, &body[body.len() - 64..]);
    flip(&path, at, 5);
    let at = find(&path, &reading(2_100).payload);
    flip(&path, at + 10, 3);
    let store = Store::open(&path, &author()).unwrap();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut query = Query { order, limit: 100, ..Query::default() };
        let (mut seqs, mut damaged) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let page = store.query(&query).unwrap();
            assert!(page.rows.iter().all(|row| row.record == reading(row.seq)));
            seqs.extend(page.rows.iter().map(|row| row.seq));
            assert_eq!(page.damages, page.damaged.len() as u64);
            damaged.extend(page.damaged.iter().map(|damage| (damage.range.first(), damage.range.last())));
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        let expected: BTreeSet<Seq> = (1..=1_024).chain(2_049..=2_099).chain(2_101..=2_148).collect();
        assert_eq!(seqs, expected);
        assert_eq!(damaged, [(1_025, 2_048), (2_100, 2_100)].into());
    }
    let elsewhere = Query { to: Some(reading(1_000).wall), ..Query::default() };
    assert_eq!(store.query(&elsewhere).unwrap().damages, 0, "only what the query touches");
}

#[test]
fn a_query_goes_on_around_a_damaged_row_of_a_segment() {
    let (_dir, path) = closed();
    tamper(&path, "UPDATE segment SET size = size + 1 WHERE first_seq = 1");
    let store = Store::open(&path, &author()).unwrap();
    let page = store.query(&Query { limit: 10_000, ..Query::default() }).unwrap();
    assert_eq!(page.rows.len(), 1_124);
    let named: Vec<_> = page.damaged.iter().map(|damage| (damage.journal, damage.range.first())).collect();
    assert_eq!(named, [(journal(NORMAL), 1)]);
}

#[test]
fn a_commit_tells_what_it_put_aside_and_loses_nothing_that_it_brings_acks_of() {
    let (_dir, path) = closed();
    tamper(&path, "UPDATE segment SET min_wall = min_wall + 1 WHERE first_seq = 1");
    let mut store = Store::open(&path, &author()).unwrap();
    let id = journal(NORMAL);
    let acked = Change::Acknowledge { journal: id, ranges: range(1, 24).into() };
    let dropped = Change::Drop { journal: id, through: 2_048, evict: Some(GapReason::DropOldest) };
    let (_, outcomes) = store.commit(1, &[acked, dropped]).unwrap();
    let aside = Quarantined { journal: id, ranges: range(1, 1_024).into(), evicted: 1_000 };
    let gone = Outcome::Dropped { journal: id, floor: 2_049, trimmed: 0, evicted: 1_024 };
    assert_eq!(outcomes, [Outcome::Done, gone, Outcome::Quarantined(aside)]);
    let ledger = store.journal(&id).unwrap().ledger;
    assert_eq!((ledger.acked, ledger.pending, ledger.evicted), (24, 100, 2_024));
    assert_eq!(commit(&mut store, Change::DeclareGaps { wall: Wall(1), mono: 1 }).len(), 1, "told once");
}

#[test]
fn a_damaged_segment_at_a_replica_is_fetched_again() {
    let mut source = Store::in_memory(&author()).unwrap();
    append(&mut source, NORMAL, readings(1, 2_048));
    let runs = source.load(&journal(NORMAL), all(), usize::MAX).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mut hub = Store::open(&path, &replica()).unwrap();
    runs.iter().for_each(|run| drop(receive(&mut hub, run.clone())));
    drop(hub);
    let at = find(&path, &runs[0].body[runs[0].body.len() - 64..]);
    flip(&path, at, 5);

    let mut hub = Store::open(&path, &replica()).unwrap();
    assert_eq!(hub.verify(|_| ()).unwrap().found, 1);
    let damaged = hub.load(&journal(NORMAL), all(), usize::MAX);
    assert!(matches!(damaged, Err(ReadError::Damaged { range, .. }) if range == plant::range(1, 1_024)));
    assert_eq!(hub.query(&Query::default()).unwrap().damages, 1);
    let gone = hub.quarantine(&journal(NORMAL), range(5, 5)).unwrap();
    assert_eq!((gone.ranges, gone.evicted), (range(1, 1_024).into(), 0));
    assert_eq!(hub.journal(&journal(NORMAL)).unwrap().present, range(1_025, 2_048).into());
    match receive(&mut hub, runs[0].clone()) {
        Outcome::Received { stored, .. } => assert_eq!(stored, range(1, 1_024).into()),
        other => panic!("{other:?}"),
    }
    assert_eq!(hub.load(&journal(NORMAL), all(), usize::MAX).unwrap(), runs);
    let ledger = hub.journal(&journal(NORMAL)).unwrap().ledger;
    assert_eq!((ledger.ingested, ledger.acked), (2_048, 2_048));
    assert_eq!(hub.quarantined().unwrap(), 1);
}

#[test]
fn a_body_on_a_page_of_noise_is_given_up_without_poisoning_the_store() {
    let mut source = Store::in_memory(&author()).unwrap();
    append(&mut source, NORMAL, readings(1, 8 * 1_024));
    let runs = source.load(&journal(NORMAL), all(), usize::MAX).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mut hub = Store::open(&path, &replica()).unwrap();
    runs.iter().for_each(|run| drop(receive(&mut hub, run.clone())));
    drop(hub);
    let page = find(&path, &runs[3].body[..32]) / 4_096 * 4_096;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[page..page + 4_096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();

    let mut hub = Store::open(&path, &replica()).unwrap();
    let mut lost = RangeSet::new();
    while let Err(error) = hub.load(&journal(NORMAL), all(), usize::MAX) {
        let ReadError::Damaged { range, .. } = error else { panic!("{error}") };
        let gone = hub.quarantine(&journal(NORMAL), range).unwrap();
        assert_eq!(gone.ranges, range.into());
        lost.insert(range);
    }
    assert!(lost.covers(range(3_073, 4_096)), "{lost}");
    let left: RangeSet = hub.journal(&journal(NORMAL)).unwrap().present;
    assert_eq!((left.count() + lost.count(), left.intersection(&lost).count()), (8 * 1_024, 0));
    commit(&mut hub, Change::Remember { name: "after", value: vec![1] });
    drop(hub);
    assert_eq!(Store::open(&path, &replica()).unwrap().opened().missing, []);
}

#[test]
fn valid_bodies_in_each_others_place_are_noticed() {
    let (_dir, path) = closed();
    tamper(&path, "UPDATE body SET id = -id; UPDATE body SET id = 3 + id");
    let store = Store::open(&path, &author()).unwrap();
    assert_eq!(store.verify(|_| ()).unwrap().found, 2);
    assert!(matches!(store.load(&journal(NORMAL), all(), 1), Err(ReadError::Damaged { .. })));
}

#[test]
fn valid_tail_rows_in_each_others_place_are_noticed() {
    let (_dir, path) = closed();
    tamper(
        &path,
        "UPDATE tail SET seq = 9000 WHERE seq = 2050; UPDATE tail SET seq = 2050 WHERE seq = 2060;          UPDATE tail SET seq = 2060 WHERE seq = 9000",
    );
    let store = Store::open(&path, &author()).unwrap();
    assert_eq!(store.verify(|_| ()).unwrap().found, 2);
}

#[test]
fn rows_that_vanished_are_counted_at_the_next_start() {
    let (_dir, path) = closed();
    tamper(
        &path,
        "DELETE FROM tail WHERE seq BETWEEN 2060 AND 2069; DELETE FROM segment WHERE first_seq = 1",
    );
    let store = Store::open(&path, &author()).unwrap();
    let missing: RangeSet = [range(1, 1_024), range(2_060, 2_069)].into_iter().collect();
    assert_eq!(store.opened().missing, [(journal(NORMAL), missing)]);
    let ledger = store.journal(&journal(NORMAL)).unwrap().ledger;
    assert_eq!((ledger.pending, ledger.evicted), (2_148 - 1_034, 1_034));
    assert!(ledger.balances() && store.has_open_gaps().unwrap());
}

#[test]
fn however_many_gaps_are_open_none_names_a_record_that_still_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mut store = Store::open(&path, &author()).unwrap();
    append(&mut store, NORMAL, readings(1, 200));
    // What a hub has may lie inside a gap: from 151 on every loss is merged once there are enough.
    let acked = Change::Acknowledge { journal: journal(NORMAL), ranges: range(151, 200).into() };
    commit(&mut store, acked);
    drop(store);
    tamper(&path, "DELETE FROM tail WHERE seq % 2 = 0");
    let mut store = Store::open(&path, &author()).unwrap();
    commit(&mut store, Change::DeclareGaps { wall: Wall(1), mono: 1 });
    let gaps: Vec<Gap> =
        contents(&store, &journal(Lane::Urgent)).iter().filter_map(|(_, r)| Gap::from_record(r)).collect();
    let state = store.journal(&journal(NORMAL)).unwrap();
    let waiting = state.present.difference(&state.acked);
    assert_eq!(waiting.count(), 75);
    let named: RangeSet = gaps.iter().filter_map(|gap| gap.range).map(|(a, b)| range(a, b)).collect();
    assert!(named.intersection(&waiting).is_empty(), "{named} names what waits");
    assert_eq!((gaps.len(), gaps.iter().map(|gap| gap.count).sum::<u64>()), (75, 75));
}

#[test]
fn a_ledger_that_does_not_balance_stops_the_start() {
    let (_dir, path) = closed();
    tamper(&path, "UPDATE journal SET acked = acked + 1 WHERE lane = 1");
    let error = Store::open(&path, &author()).map(drop).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { what } if what.contains("checksum")), "{error}");
}

#[test]
fn a_flipped_bit_in_the_log_is_told_and_the_log_is_kept() {
    let live = tempfile::tempdir().unwrap();
    let after = tempfile::tempdir().unwrap();
    let mut store = Store::open(&live.path().join("journal.db"), &author()).unwrap();
    for n in 0..20 {
        append(&mut store, NORMAL, readings(1 + n * 5, 5));
    }
    let log = std::fs::read(live.path().join("journal.db-wal")).unwrap();
    for at in (40..log.len()).step_by(7_001) {
        for suffix in ["", "-wal"] {
            let name = format!("journal.db{suffix}");
            std::fs::copy(live.path().join(&name), after.path().join(&name)).unwrap();
        }
        flip(&after.path().join("journal.db-wal"), at, 4);
        let path = after.path().join("journal.db");
        // The commits that made the tables may be among those that are lost; then the store is new.
        let found = Store::open(&path, &author()).unwrap();
        let head = found.journal(&journal(NORMAL)).unwrap().head;
        assert_eq!(
            contents(&found, &journal(NORMAL)),
            (1..=head).map(|n| (n, reading(n))).collect::<Vec<_>>()
        );
        if head < 95 {
            assert!(found.opened().lost_commits > 0, "head {head} after a flip at {at}");
            assert!(after.path().join("journal.db-wal.damaged").exists());
        }
        drop(found);
        for suffix in ["", "-wal", "-wal.damaged"] {
            let _ = std::fs::remove_file(after.path().join(format!("journal.db{suffix}")));
        }
    }
}

#[test]
fn records_that_were_lost_with_the_log_are_declared_though_nobody_can_count_them() {
    let live = tempfile::tempdir().unwrap();
    let after = tempfile::tempdir().unwrap();
    let mut store = Store::open(&live.path().join("journal.db"), &author()).unwrap();
    for n in 0..20 {
        append(&mut store, NORMAL, readings(1 + n * 5, 5));
    }
    for suffix in ["", "-wal"] {
        let name = format!("journal.db{suffix}");
        std::fs::copy(live.path().join(&name), after.path().join(&name)).unwrap();
    }
    let log = after.path().join("journal.db-wal");
    let middle = std::fs::metadata(&log).unwrap().len() / 2;
    flip(&log, usize::try_from(middle).unwrap(), 4);
    let path = after.path().join("journal.db");
    let found = Store::open(&path, &author()).unwrap();
    let head = found.journal(&journal(NORMAL)).unwrap().head;
    assert!((5..95).contains(&head) && found.opened().lost_commits > 1, "head {head}");
    drop(found);

    let mut store = Store::open(&path, &author()).unwrap();
    assert_eq!(store.opened().lost_commits, 1, "until a new incarnation begins, each start says it");
    let open = Box::new(reading(1));
    let incarnation = millrace_model::Incarnation::new(0x2222);
    let declare = Change::DeclareGaps { wall: Wall(500_000_000), mono: 1 };
    store.commit(1, &[Change::Reincarnate { incarnation, open }, declare]).unwrap();
    let urgent = millrace_model::JournalId { incarnation, ..journal(Lane::Urgent) };
    let gaps: Vec<Gap> = contents(&store, &urgent).iter().filter_map(|(_, r)| Gap::from_record(r)).collect();
    let said = |gap: &Gap| (gap.incarnation, gap.lane, gap.range, gap.after, gap.count, gap.reason);
    let unknown = |lane, last| (plant::INCARNATION, lane, None, Some(last), 0, GapReason::Damaged);
    let expected = [unknown(Lane::Urgent, 0), unknown(NORMAL, head), unknown(Lane::Bulk, 0)];
    assert_eq!(gaps.iter().map(said).collect::<Vec<_>>(), expected);
    assert_eq!((gaps[1].from, gaps[1].to), (reading(head).wall, Wall(500_000_000)));
    drop(store);
    assert_eq!(Store::open(&path, &author()).unwrap().opened().lost_commits, 0);
}

#[test]
fn a_flipped_bit_anywhere_in_the_file_never_gives_wrong_records() {
    let (_dir, path) = closed();
    let good = std::fs::read(&path).unwrap();
    let (mut served, mut noticed) = (0, 0);
    for at in (0..good.len()).step_by(379) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        std::fs::write(&path, &bytes).unwrap();
        let Ok(mut store) = Store::open(&path, &author()) else {
            noticed += 1;
            continue;
        };
        let state = store.journal(&journal(NORMAL)).unwrap();
        assert!(state.ledger.balances());
        for first in [1, 700, 1_025, 2_049, 2_100] {
            match store.load(&journal(NORMAL), range(first, 2_148), usize::MAX) {
                Ok(runs) => {
                    let records: Vec<_> = runs.iter().flat_map(records_of).collect();
                    assert!(records.iter().all(|(seq, record)| *record == reading(*seq)), "byte {at}");
                    let expected = state.present.within(range(first, 2_148)).count();
                    assert_eq!(records.len() as u64, expected, "byte {at}");
                    served += 1;
                }
                Err(_) => noticed += 1,
            }
        }
        // After quarantine everything that is claimed can be read, or the store says that it cannot go on.
        if let Ok(gone) = store.quarantine(&journal(NORMAL), all()) {
            let state = store.journal(&journal(NORMAL)).unwrap();
            assert!(state.ledger.balances());
            assert_eq!(store.rebuild_digest(&journal(NORMAL)), Ok(false), "byte {at}");
            if let Ok(runs) = store.load(&journal(NORMAL), all(), usize::MAX) {
                let records: Vec<_> = runs.iter().flat_map(records_of).collect();
                assert!(records.iter().all(|(seq, record)| *record == reading(*seq)), "byte {at}");
                assert_eq!(records.len() as u64, state.present.count());
            } else {
                panic!("byte {at}: unreadable after {} went into quarantine", gone.ranges);
            }
        }
    }
    assert!(served > 100 && noticed > 20, "{served} served, {noticed} noticed");
}
