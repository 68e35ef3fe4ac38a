//! Power cuts, full disks, and failures that nobody can explain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use std::path::Path;

use millrace_journal::{CommitError, OpenError, Options, Store};
use millrace_model::notice::GapReason;
use millrace_model::store::{Change, Outcome, Refusal};
use millrace_model::{DeviceId, Incarnation, JournalId, Lane, RangeSet, Wall};
use plant::{append, author, commit, contents, journal, range, reading, readings, replica};

const NORMAL: Lane = Lane::Normal;

/// What a power cut leaves: the database and its log, as they lie there.
fn cut(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let name = format!("journal.db{suffix}");
        let _ = std::fs::remove_file(to.join(&name));
        if from.join(&name).exists() {
            std::fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

#[test]
fn a_power_cut_at_any_commit_leaves_exactly_what_was_committed() {
    let (live, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // A small log, so that carrying it over happens in between.
    let options = Options { wal_limit_bytes: 64 << 10, ..author() };
    let mut store = Store::open(&live.path().join("journal.db"), &options).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..40 {
        let head = store.journal(&journal(NORMAL)).unwrap().head;
        let count = if round % 7 == 0 { 700 } else { rng.u64(1..90) };
        append(&mut store, NORMAL, readings(head + 1, count));
        commit(
            &mut store,
            Change::Acknowledge { journal: journal(NORMAL), ranges: range(1, head / 2 + 1).into() },
        );
        if round % 5 == 4 {
            commit(&mut store, Change::Drop { journal: journal(NORMAL), through: head / 3, evict: None });
        }
        cut(live.path(), after.path());
        let found = Store::open(&after.path().join("journal.db"), &options).unwrap();
        assert_eq!(found.journals(), store.journals(), "round {round}");
        assert_eq!(contents(&found, &journal(NORMAL)), contents(&store, &journal(NORMAL)));
        assert_eq!((found.opened().lost_commits, &found.opened().missing), (0, &Vec::new()));
        assert_eq!(found.incarnation(), store.incarnation());
        assert!(found.verify(|_| ()).unwrap().is_clean(), "round {round}");
    }
}

#[test]
fn an_image_of_a_store_on_disk_opens_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&dir.path().join("journal.db"), &author()).unwrap();
    append(&mut store, NORMAL, readings(1, 400));
    append(&mut store, Lane::Bulk, readings(1, 4));
    let image = store.image().unwrap();
    let copy = Store::from_image(&image, &author()).unwrap();
    assert_eq!(copy.journals(), store.journals());
    assert_eq!(contents(&copy, &journal(NORMAL)), contents(&store, &journal(NORMAL)));
}

#[test]
fn a_torn_log_gives_the_last_commit_or_the_one_before() {
    let (live, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut store = Store::open(&live.path().join("journal.db"), &author()).unwrap();
    append(&mut store, NORMAL, readings(1, 20));
    let log = live.path().join("journal.db-wal");
    let before = std::fs::metadata(&log).unwrap().len();
    append(&mut store, NORMAL, readings(21, 300));
    let whole = std::fs::metadata(&log).unwrap().len();
    for length in (before..=whole).step_by(1_111) {
        cut(live.path(), after.path());
        let torn = std::fs::File::options().write(true).open(after.path().join("journal.db-wal")).unwrap();
        torn.set_len(length).unwrap();
        let found = Store::open(&after.path().join("journal.db"), &author()).unwrap();
        let head = found.journal(&journal(NORMAL)).unwrap().head;
        assert!(head == 20 || (head == 320 && length + 1_111 > whole), "{head} at {length}");
        assert_eq!(contents(&found, &journal(NORMAL)).len() as u64, head);
        assert_eq!(found.opened().lost_commits, 0);
        assert!(found.verify(|_| ()).unwrap().is_clean());
    }
}

#[test]
fn a_full_disk_refuses_and_the_store_goes_on() {
    let limited = Options { size_limit_bytes: Some(300 << 10), ..author() };
    let mut store = Store::in_memory(&limited).unwrap();
    let mut appended = 0;
    let refused = loop {
        let noise = |n: u64| {
            let mut rng = fastrand::Rng::with_seed(n);
            let payload: Vec<u8> = (0..400).map(|_| rng.u8(..)).collect();
            millrace_model::Record { payload: payload.into(), ..reading(n) }
        };
        let records = (appended + 1..=appended + 100).map(noise).collect();
        match store.commit(1, &[Change::Append { lane: NORMAL, records }]) {
            Ok(_) => appended += 100,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, CommitError::Refused(Refusal::Full));
    assert_eq!(store.journal(&journal(NORMAL)).unwrap().head, appended);
    assert!(store.verify(|_| ()).unwrap().is_clean());

    let evict = Some(GapReason::DropOldest);
    let through = appended / 2;
    let (_, outcomes) = store
        .commit(
            2,
            &[
                Change::Drop { journal: journal(NORMAL), through, evict },
                Change::DeclareGaps { wall: Wall(1), mono: 1 },
            ],
        )
        .unwrap();
    assert!(matches!(outcomes[0], Outcome::Dropped { evicted: 1.., .. }), "{outcomes:?}");
    append(&mut store, NORMAL, readings(appended + 1, 100));
    assert!(store.journal(&journal(NORMAL)).unwrap().ledger.balances());
}

#[test]
fn an_unexplained_failure_poisons_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mut store = Store::open(&path, &author()).unwrap();
    append(&mut store, NORMAL, readings(1, 2_000));
    drop(store);
    let mut store = Store::open(&path, &author()).unwrap();
    // The file is cut off under the store: what it needs next cannot be read.
    std::fs::File::options().write(true).open(&path).unwrap().set_len(4_096 * 3).unwrap();
    let next = [Change::Append { lane: NORMAL, records: readings(2_001, 600) }];
    let error = store.commit(1, &next).unwrap_err();
    assert!(matches!(error, CommitError::Poisoned(_)), "{error}");
    assert_eq!(store.commit(2, &[]), Err(error));
    assert!(store.poisoned().is_some());
    assert!(store.load(&journal(NORMAL), plant::all(), 1).is_err());
    assert!(store.query(&millrace_journal::Query::default()).is_err());
}

#[test]
fn a_store_belongs_to_one_device_one_role_and_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let store = Store::open(&path, &author()).unwrap();
    assert!(matches!(Store::open(&path, &author()), Err(OpenError::Locked { .. })));
    drop(store);
    assert!(matches!(Store::open(&path, &replica()), Err(OpenError::WrongRole { .. })));
    let mut other = author();
    other.author.as_mut().unwrap().device = DeviceId::from_bytes([8; 16]);
    assert!(matches!(Store::open(&path, &other), Err(OpenError::OtherDevice { .. })));
    // An incarnation is drawn once; later offers are ignored.
    let mut again = author();
    again.author.as_mut().unwrap().incarnation_if_new = Incarnation::new(9);
    assert_eq!(Store::open(&path, &again).unwrap().incarnation(), Some(plant::INCARNATION));
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    std::fs::write(&path, vec![b'x'; 9_000]).unwrap();
    assert!(matches!(Store::open(&path, &author()), Err(OpenError::Damaged { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 9_000]);
}

#[test]
fn a_new_incarnation_takes_over_what_never_reached_a_hub() {
    let mut store = Store::in_memory(&author()).unwrap();
    append(&mut store, NORMAL, readings(1, 1_500));
    append(&mut store, NORMAL, readings(1_501, 100));
    let old = journal(NORMAL);
    commit(&mut store, Change::Acknowledge { journal: old, ranges: range(1, 1_200).into() });
    let incarnation = Incarnation::new(0x2222);
    let open = Box::new(reading(0));
    commit(&mut store, Change::Reincarnate { incarnation, open: open.clone() });
    assert_eq!(store.incarnation(), Some(incarnation));
    assert!(matches!(
        store.commit(1, &[Change::Reincarnate { incarnation, open }]),
        Err(CommitError::Invalid(_))
    ));
    let new = JournalId { incarnation, ..old };
    let total = |store: &Store| {
        store.journals().iter().fold(millrace_model::Ledger::default(), |sum, state| sum + state.ledger)
    };
    let before = total(&store);

    // The hub has 1,201 to 1,250 under the old numbers, and other content from there on.
    let equal: RangeSet = range(1_201, 1_250).into();
    let mut moved = 0;
    for first in (1..=1_600).step_by(400) {
        let change =
            Change::Reauthor { journal: old, range: range(first, first + 399), equal: equal.clone() };
        if let Outcome::Reauthored { appended, equal } = commit(&mut store, change).remove(0) {
            moved += appended.map_or(0, |(to, range)| {
                assert_eq!(to, new);
                range.count()
            });
            assert_eq!(equal, if first == 1_201 { 50 } else { 0 });
        }
    }
    assert_eq!(moved, 350);
    let found: Vec<_> = contents(&store, &new).into_iter().map(|(_, record)| record).collect();
    assert_eq!(found, readings(1_251, 350));
    let after = total(&store);
    assert_eq!((after.ingested, after.acked), (before.ingested, before.acked + 50));
    assert!(after.balances());
    let state = store.journal(&old).unwrap();
    assert!(state.retired && state.present.is_empty());
    assert_eq!((state.floor, state.stored_bytes), (1_601, 0));
    assert!(store.verify(|_| ()).unwrap().is_clean());
    let image = store.image().unwrap();
    assert_eq!(Store::from_image(&image, &author()).unwrap().journals(), store.journals());
}

#[test]
fn a_move_that_stops_half_way_in_a_segment_survives_a_restart() {
    let mut store = Store::in_memory(&author()).unwrap();
    append(&mut store, NORMAL, readings(1, 1_024));
    commit(&mut store, Change::Reincarnate { incarnation: Incarnation::new(2), open: Box::new(reading(0)) });
    let change = Change::Reauthor { journal: journal(NORMAL), range: range(1, 500), equal: RangeSet::new() };
    commit(&mut store, change);
    let image = store.image().unwrap();
    let mut store = Store::from_image(&image, &author()).unwrap();
    assert_eq!(store.opened().missing, []);
    assert_eq!(store.journal(&journal(NORMAL)).unwrap().present, range(501, 1_024).into());
    assert_eq!(contents(&store, &journal(NORMAL)).len(), 524);
    assert!(store.verify(|_| ()).unwrap().is_clean());
    let change =
        Change::Reauthor { journal: journal(NORMAL), range: range(501, 1_024), equal: RangeSet::new() };
    commit(&mut store, change);
    let new = JournalId { incarnation: Incarnation::new(2), ..journal(NORMAL) };
    assert_eq!(contents(&store, &new).len(), 1_024);
}
