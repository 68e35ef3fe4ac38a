//! A device with a new disk gets back what a hub kept of its older life: beside what it writes now, and counted as what hubs have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use millrace_journal::{Author, Kept, Options, Portion, Reader, Store};
use millrace_model::notice::{Gap, GapReason};
use millrace_model::store::{Change, Outcome};
use millrace_model::{Incarnation, JournalId, Lane, Ledger, RangeSet, Run, Wall};
use plant::{
    DEVICE, all, append, author, commit, contents, journal, loose, range, readings, receive, replica, summary,
};

const NORMAL: Lane = Lane::Normal;
const NEW: Incarnation = Incarnation::new(0x2222);

/// What a hub has of a device's older life: two whole segments, one that was cut short, and a tail.
fn hub(at: &std::path::Path) -> Store {
    let mut device = Store::in_memory(&author()).unwrap();
    append(&mut device, NORMAL, readings(1, 2_400));
    append(&mut device, NORMAL, readings(2_401, 90));
    let mut hub = Store::open(at, &replica()).unwrap();
    for run in device.load(&journal(NORMAL), all(), usize::MAX).unwrap() {
        receive(&mut hub, run);
    }
    hub
}

/// The device's new directory.
fn device() -> Options {
    Options { author: Some(Author { device: DEVICE, incarnation_if_new: NEW }), ..author() }
}

fn restored(store: &mut Store, run: Run) -> Outcome {
    commit(store, Change::Restore(run)).remove(0)
}

fn parts(outcome: &Outcome) -> (u64, u64, u64, Option<&str>) {
    let Outcome::Restored { stored, duplicate, conflict, refused, .. } = outcome else {
        panic!("{outcome:?}")
    };
    (stored.count(), duplicate.count(), conflict.count(), refused.as_deref())
}

/// The newest runs first, as a hub reads them.
fn newest(hub: &Store, wanted: &RangeSet, bytes_max: usize) -> Vec<Run> {
    let reader = Reader::open(&hub.path().unwrap(), &replica()).unwrap();
    reader.newest(&journal(NORMAL), wanted, Portion { bytes_max, runs_max: 32 }).unwrap()
}

#[test]
fn what_a_hub_kept_comes_back_newest_first_byte_for_byte_and_counts_as_acked_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(&dir.path().join("hub.db"));
    let mut store = Store::in_memory(&device()).unwrap();
    append(&mut store, NORMAL, readings(9_000, 5));
    let runs = newest(&hub, &all().into(), usize::MAX);
    assert_eq!(runs[0].range(), Some(range(2_401, 2_490)), "the tail is the newest");
    assert!(runs[1..].iter().all(Run::is_whole_segment));
    assert!(runs.windows(2).all(|pair| pair[0].first > pair[1].first));
    for run in &runs {
        assert_eq!(parts(&restored(&mut store, run.clone())), (run.count.into(), 0, 0, None));
        let state = store.journal(&journal(NORMAL)).unwrap();
        assert!(state.restored && state.retired && state.ledger.balances());
        assert!(store.verify(|_| ()).unwrap().is_clean());
    }
    assert_eq!(contents(&store, &journal(NORMAL)), contents(&hub, &journal(NORMAL)));
    assert_eq!(
        store.load(&journal(NORMAL), all(), usize::MAX).unwrap(),
        hub.load(&journal(NORMAL), all(), usize::MAX).unwrap(),
        "whole segments stand as they stood there"
    );
    assert_eq!(summary(&store, &journal(NORMAL)), summary(&hub, &journal(NORMAL)), "so does the digest");
    let ledger = store.journal(&journal(NORMAL)).unwrap().ledger;
    assert_eq!(ledger, Ledger { ingested: 2_490, acked: 2_490, ..Ledger::default() });
    // Again it is a duplicate, and counts nothing.
    assert_eq!(parts(&restored(&mut store, runs[1].clone())), (0, runs[1].count.into(), 0, None));
    assert_eq!(store.journal(&journal(NORMAL)).unwrap().ledger, ledger);
    assert_eq!(append(&mut store, NORMAL, readings(9_005, 1)), range(6, 6), "what it writes goes on");
}

#[test]
fn only_an_older_life_of_the_same_device_comes_back_and_only_whole() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(&dir.path().join("hub.db"));
    let mut store = Store::in_memory(&device()).unwrap();
    append(&mut store, NORMAL, readings(1, 4));
    let before = store.journals();
    let refused = |store: &mut Store, run: Run| parts(&restored(store, run)).3.map(str::to_owned).unwrap();
    let here = JournalId { incarnation: NEW, ..journal(NORMAL) };
    assert!(refused(&mut store, loose(here, 1, &readings(1, 5))).contains("nothing was written here"));
    let other = JournalId { device: millrace_model::DeviceId::from_bytes([8; 16]), ..journal(NORMAL) };
    assert!(refused(&mut store, loose(other, 1, &readings(1, 4))).contains("another device"));
    let mut damaged = newest(&hub, &range(1, 1_024).into(), usize::MAX).remove(0);
    damaged.segment =
        damaged.segment.map(|name| millrace_model::SegmentName { ordinal: name.ordinal + 1, ..name });
    assert!(refused(&mut store, damaged).contains("do not hash"));
    assert_eq!(store.journals(), before, "nothing was changed by any of them");

    // A journal that this very store wrote before it was rolled back is not one that came from a lost disk.
    let open = Box::new(readings(1, 1).remove(0));
    commit(&mut store, Change::Reincarnate { incarnation: Incarnation::new(0x3333), open });
    assert!(refused(&mut store, loose(here, 5, &readings(5, 1))).contains("was written here"));

    let mut replica = Store::in_memory(&replica()).unwrap();
    assert!(refused(&mut replica, loose(journal(NORMAL), 1, &readings(1, 1))).contains("without an author"));
}

#[test]
fn other_content_under_the_same_number_is_a_conflict_and_changes_nothing() {
    let mut store = Store::in_memory(&device()).unwrap();
    restored(&mut store, loose(journal(NORMAL), 5, &readings(5, 3)));
    let before = store.journals();
    let outcome = restored(&mut store, loose(journal(NORMAL), 6, &readings(60, 3)));
    assert_eq!(parts(&outcome), (0, 0, 2, None));
    assert_eq!(store.journals(), before);
}

#[test]
fn what_goes_of_it_again_is_no_loss_and_does_not_come_back_below_the_floor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device.db");
    let hub = hub(&dir.path().join("hub.db"));
    let mut store = Store::open(&path, &device()).unwrap();
    let runs = newest(&hub, &all().into(), usize::MAX);
    for run in &runs {
        restored(&mut store, run.clone());
    }
    let dropped = commit(
        &mut store,
        Change::Drop { journal: journal(NORMAL), through: 1_024, evict: Some(GapReason::DropOldest) },
    );
    assert!(
        matches!(dropped[0], Outcome::Dropped { floor: 1_025, trimmed: 1_024, evicted: 0, .. }),
        "{dropped:?}"
    );
    assert_eq!(parts(&restored(&mut store, runs.last().unwrap().clone())), (0, 1_024, 0, None));
    // Damage: a segment and a tail row.
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.execute("UPDATE body SET bytes = zeroblob(length(bytes)) WHERE id = (SELECT body FROM segment WHERE first_seq = 1025)", []).unwrap();
    sql.execute("UPDATE tail SET checksum = checksum + 1 WHERE seq = 2450", []).unwrap();
    let aside = store.quarantine(&journal(NORMAL), range(1_025, 2_490)).unwrap();
    assert_eq!((aside.ranges.count(), aside.evicted), (1_024 + 1, 0));
    assert!(!store.has_open_gaps().unwrap(), "the hubs have what went");
    let ledger = store.journal(&journal(NORMAL)).unwrap().ledger;
    assert_eq!((ledger.ingested, ledger.acked, ledger.evicted), (2_490, 2_490, 0));
    // What damage took may come once more, and counts nothing.
    let again = runs.iter().find(|run| run.first == 1_025).unwrap();
    assert_eq!(parts(&restored(&mut store, again.clone())), (1_024, 0, 0, None));
    assert_eq!(store.journal(&journal(NORMAL)).unwrap().ledger, ledger);
    assert!(store.verify(|_| ()).unwrap().is_clean());
    let before = store.journals();
    drop(store);
    let store = Store::open(&path, &device()).unwrap();
    assert_eq!(store.journals(), before, "a start finds it as it was");
    assert_eq!(store.opened().missing, []);
}

#[test]
fn gap_records_that_come_back_declare_nothing_again() {
    let gap = Gap {
        incarnation: Incarnation::new(0x1111),
        lane: Lane::Bulk,
        range: None,
        after: None,
        count: 40,
        reason: GapReason::Oversize,
        from: Wall(1),
        to: Wall(2),
    };
    let mut store = Store::in_memory(&device()).unwrap();
    let known = store.journals().len();
    let run = loose(journal(Lane::Urgent), 1, &[gap.to_record(Wall(3), 3).unwrap()]);
    assert_eq!(parts(&restored(&mut store, run)), (1, 0, 0, None));
    assert_eq!(store.journals().len(), known + 1);
    let ledger = store.journal(&journal(Lane::Urgent)).unwrap().ledger;
    assert_eq!(ledger, Ledger { ingested: 1, acked: 1, ..Ledger::default() });
}

#[test]
fn a_hub_hands_out_the_newest_within_the_portion_and_whole_segments_for_parts_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(&dir.path().join("hub.db"));
    let firsts = |runs: &[Run]| runs.iter().map(|run| run.first).collect::<Vec<_>>();
    assert_eq!(firsts(&newest(&hub, &all().into(), 1)), [2_490], "one run in any case: the last record");
    let some = newest(&hub, &all().into(), 4_000);
    let [some] = &some[..] else { panic!("{some:?}") };
    assert!(some.range().unwrap().last() == 2_490 && (10..90).contains(&some.count), "{some:?}");
    // A part of a segment brings all of it, once.
    let wanted: RangeSet = [range(1_000, 1_030), range(1_900, 1_901)].into_iter().collect();
    assert_eq!(firsts(&newest(&hub, &wanted, usize::MAX)), [1_025, 1]);
    assert_eq!(newest(&hub, &range(5_000, 6_000).into(), usize::MAX), []);
    let reader = Reader::open(&hub.path().unwrap(), &replica()).unwrap();
    let portion = Portion { bytes_max: usize::MAX, runs_max: 2 };
    assert_eq!(reader.newest(&journal(NORMAL), &all().into(), portion).unwrap().len(), 2);
    let kept = reader.kept(&DEVICE).unwrap();
    let [Kept { journal: which, present, newest, bytes }] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((*which, present.count(), *newest), (journal(NORMAL), 2_490, Wall(2_490_000_000)));
    assert!(*bytes > 0);
}
