//! A device gets back what damage took of the journals that it writes, from a hub that has it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use millrace_journal::{Query, Store};
use millrace_model::store::{Change, Outcome};
use millrace_model::{
    Incarnation, JournalId, Lane, Ledger, RangeSet, Record, Run, SegmentHash, SegmentName, Seq, block,
};
use plant::{
    all, append, author, check_of, commit, contents, journal, loose, names, range, reading, readings,
    receive, replica, summary,
};

const NORMAL: Lane = Lane::Normal;

/// A device with two whole segments and a tail, 1,500 records of it acked, whose second segment is put aside; and a hub that has all.
struct Scene {
    _dir: tempfile::TempDir,
    device: Store,
    hub: Store,
    whole: Vec<Run>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.db");
        let mut device = Store::open(&path, &author()).unwrap();
        append(&mut device, NORMAL, readings(1, 2_048));
        append(&mut device, NORMAL, readings(2_049, 60));
        let whole = device.load(&journal(NORMAL), all(), usize::MAX).unwrap();
        let mut hub = Store::in_memory(&replica()).unwrap();
        whole.iter().for_each(|run| drop(receive(&mut hub, run.clone())));
        commit(&mut device, Change::Acknowledge { journal: journal(NORMAL), ranges: range(1, 1_500).into() });
        let mut scene = Self { _dir: dir, device, hub, whole };
        scene.damage(1_025, 548);
        scene
    }

    /// The segment that begins there goes; so many of it were not acked.
    fn damage(&mut self, first: Seq, unacked: u64) {
        let sql = rusqlite::Connection::open(self.device.path().unwrap()).unwrap();
        let name = "SELECT body FROM segment WHERE first_seq = ?";
        sql.execute(
            &format!("UPDATE body SET bytes = zeroblob(length(bytes)) WHERE id = ({name})"),
            [first.cast_signed()],
        )
        .unwrap();
        let aside = self.device.quarantine(&journal(NORMAL), range(first, first)).unwrap();
        assert_eq!((aside.ranges.count(), aside.evicted), (1_024, unacked));
    }

    fn back(&mut self, run: Run) -> Outcome {
        commit(&mut self.device, Change::Restore(run)).remove(0)
    }

    fn ledger(&self) -> Ledger {
        self.device.journal(&journal(NORMAL)).unwrap().ledger
    }
}

fn outcome(stored: RangeSet, recovered: u64, duplicate: RangeSet) -> Outcome {
    let (conflict, refused) = (RangeSet::new(), None);
    Outcome::Restored {
        journal: journal(NORMAL),
        stored,
        counted: 0,
        recovered,
        duplicate,
        conflict,
        refused,
    }
}

#[test]
fn a_segment_that_damage_took_comes_back_and_everything_is_as_it_was() {
    let mut scene = Scene::new();
    let before = scene.device.journal(&journal(NORMAL)).unwrap();
    let lost = Ledger { ingested: 2_108, acked: 1_500, pending: 60, evicted: 548, rejected: 0 };
    assert_eq!(scene.ledger(), lost);
    assert_ne!(summary(&scene.device, &journal(NORMAL)), summary(&scene.hub, &journal(NORMAL)));

    let run = scene.whole[1].clone();
    assert_eq!(scene.back(run.clone()), outcome(range(1_025, 2_048).into(), 548, RangeSet::new()));
    assert_eq!(scene.ledger(), Ledger { acked: 2_048, evicted: 0, ..lost }, "lost it is not after all");
    assert!(!scene.device.has_open_gaps().unwrap(), "and is not declared as such");
    assert_eq!(summary(&scene.device, &journal(NORMAL)), summary(&scene.hub, &journal(NORMAL)));
    assert_eq!(contents(&scene.device, &journal(NORMAL)), contents(&scene.hub, &journal(NORMAL)));
    assert!(scene.device.verify(|_| ()).unwrap().is_clean());
    let after = scene.device.journal(&journal(NORMAL)).unwrap();
    assert_eq!((after.head, after.next_ordinal, after.retired), (before.head, before.next_ordinal, false));

    assert_eq!(scene.back(run), outcome(RangeSet::new(), 0, range(1_025, 2_048).into()), "once");
    assert_eq!(append(&mut scene.device, NORMAL, readings(2_109, 1)), range(2_109, 2_109));
    let path = scene.device.path().unwrap();
    drop(scene.device);
    let device = Store::open(&path, &author()).unwrap();
    assert_eq!(device.opened().missing, []);
    assert!(device.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn what_the_hub_has_as_rows_comes_back_as_rows_and_new_segments_are_as_long_as_ever() {
    let mut scene = Scene::new();
    scene.damage(1, 0);
    for first in [1, 701, 1_401] {
        let count = 700.min(2_049 - first);
        let stored: RangeSet = range(first, first + count - 1).into();
        let recovered = stored.difference(&range(1, 1_500).into()).count();
        let run = loose(journal(NORMAL), first, &readings(first, count));
        assert_eq!(scene.back(run), outcome(stored, recovered, RangeSet::new()));
    }
    assert!(scene.device.verify(|_| ()).unwrap().is_clean());
    // One that another hub has sealed can be sealed here; what was never sealed has no name yet.
    let seal = |store: &mut Store, segment| {
        let sealed = commit(store, Change::Seal { journal: journal(NORMAL), segment }).remove(0);
        sealed == Outcome::Sealed { journal: journal(NORMAL), sealed: true }
    };
    let forged = millrace_model::SegmentName {
        first: 2_060,
        count: 10,
        ordinal: 9,
        ..scene.whole[1].segment.unwrap()
    };
    assert!(!seal(&mut scene.device, forged));
    let name = scene.whole[1].segment.unwrap();
    assert!(seal(&mut scene.device, name) && seal(&mut scene.device, name));
    for seq in 2_109..=3_200 {
        append(&mut scene.device, NORMAL, vec![reading(seq)]);
    }
    let sealed = names(&scene.device, &journal(NORMAL));
    let lengths: Vec<_> = sealed.values().map(|name| (name.ordinal, name.first, name.count)).collect();
    assert_eq!(lengths, [(1, 1_025, 1_024), (2, 2_049, 1_024)], "not one for each record");
    assert_eq!(contents(&scene.device, &journal(NORMAL)), (1..).zip(readings(1, 3_200)).collect::<Vec<_>>());
    let oldest = scene.device.query(&Query { to: Some(reading(21).wall), ..Query::default() }).unwrap();
    assert_eq!(oldest.rows.len(), 20, "a query by time finds them");
    // A burst takes the tail with it, and leaves no row behind the last segment.
    append(&mut scene.device, NORMAL, readings(3_201, 1_500));
    let state = scene.device.journal(&journal(NORMAL)).unwrap();
    let last = check_of(&journal(NORMAL), 4_700, &reading(4_700));
    assert_eq!((state.head, state.head_check), (4_700, Some(last)));
    assert!(state.ledger.balances() && scene.device.verify(|_| ()).unwrap().is_clean());
    // Trimming takes them like any other.
    commit(&mut scene.device, Change::Drop { journal: journal(NORMAL), through: 1_024, evict: None });
    let state = scene.device.journal(&journal(NORMAL)).unwrap();
    assert_eq!((state.floor, state.present.first()), (1_025, Some(1_025)));
    assert!(scene.device.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn of_a_loss_that_is_not_declared_yet_what_came_back_is_taken_out() {
    let mut scene = Scene::new();
    let lost = |scene: &Scene| {
        let gap = "SELECT first_seq, last_seq, count FROM gap ORDER BY first_seq";
        let sql = rusqlite::Connection::open(scene.device.path().unwrap()).unwrap();
        let mut statement = sql.prepare(gap).unwrap();
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        found.map(Result::unwrap).collect::<Vec<(i64, i64, i64)>>()
    };
    assert_eq!(lost(&scene), [(1_501, 2_048, 548)]);
    scene.back(loose(journal(NORMAL), 1_400, &readings(1_400, 201)));
    assert_eq!(lost(&scene), [(1_601, 2_048, 448)]);
    scene.back(loose(journal(NORMAL), 1_801, &readings(1_801, 100)));
    assert_eq!(lost(&scene), [(1_601, 1_800, 200), (1_901, 2_048, 148)]);
    assert_eq!(scene.ledger().evicted, 348);
}

#[test]
fn rows_that_came_back_and_that_the_hubs_lost_again_move_with_the_rest_to_a_new_life() {
    let mut scene = Scene::new();
    scene.back(loose(journal(NORMAL), 1_025, &readings(1_025, 1_024)));
    let lost: RangeSet = range(1_100, 1_199).into();
    commit(&mut scene.device, Change::Reclaim { journal: journal(NORMAL), ranges: lost.clone() });
    let open = Box::new(readings(1, 1).remove(0));
    commit(&mut scene.device, Change::Reincarnate { incarnation: Incarnation::new(0x3333), open });
    let moved = Change::Reauthor {
        journal: journal(NORMAL),
        range: range(1_050, 1_250),
        equal: range(1_100, 1_149).into(),
    };
    let [Outcome::Reauthored { appended, equal }] = &commit(&mut scene.device, moved)[..] else { panic!() };
    assert_eq!((appended.map(|(_, range)| range.count()), *equal), (Some(50), 50));
    assert!(scene.device.verify(|_| ()).unwrap().is_clean());
    let state = scene.device.journal(&journal(NORMAL)).unwrap();
    assert!(state.ledger.balances() && state.present.within(range(1_050, 1_250)).is_empty());
}

#[test]
fn a_segment_that_goes_from_the_middle_of_a_retired_journal_leaves_its_digest() {
    let mut device = Store::in_memory(&author()).unwrap();
    append(&mut device, NORMAL, readings(1, 3_072));
    for ranges in [range(1, 10), range(1_025, 1_500), range(1_600, 2_048)] {
        commit(&mut device, Change::Acknowledge { journal: journal(NORMAL), ranges: ranges.into() });
    }
    let open = Box::new(readings(1, 1).remove(0));
    commit(&mut device, Change::Reincarnate { incarnation: Incarnation::new(0x3333), open });
    // The second segment turns out to be at the hubs as a whole; the first and the third wait still.
    let range = range(1_501, 1_599);
    commit(&mut device, Change::Reauthor { journal: journal(NORMAL), range, equal: range.into() });
    let state = device.journal(&journal(NORMAL)).unwrap();
    assert_eq!(state.present, [plant::range(1, 1_024), plant::range(2_049, 3_072)].into_iter().collect());
    assert_eq!(device.verify(|_| ()).unwrap().findings, []);
    // So does the first, and the floor passes it and the hole behind it.
    let range = plant::range(1, 1_024);
    commit(&mut device, Change::Reauthor { journal: journal(NORMAL), range, equal: range.into() });
    assert_eq!(device.journal(&journal(NORMAL)).unwrap().floor, 2_049);
    assert_eq!(device.verify(|_| ()).unwrap().findings, []);
}

#[test]
fn only_what_was_written_here_and_fits_comes_back() {
    let mut scene = Scene::new();
    let before = scene.device.journals();
    let mut refused = |run: Run| match scene.back(run) {
        Outcome::Restored { stored, refused, conflict, .. } => {
            assert!(stored.is_empty());
            (conflict.count(), refused.unwrap_or_default())
        }
        other => panic!("{other:?}"),
    };
    assert!(
        refused(loose(journal(NORMAL), 2_100, &readings(2_100, 20))).1.contains("nothing was written here")
    );
    assert_eq!(refused(loose(journal(NORMAL), 1_000, &readings(7_000, 50))), (25, String::new()));
    let mut run = loose(journal(NORMAL), 1_025, &readings(1_025, 1_024));
    let name = SegmentName { ordinal: 0, ..scene.whole[1].segment.unwrap() };
    run.segment = Some(name);
    let mut refused = |run: Run| match scene.back(run) {
        Outcome::Restored { refused, .. } => refused.unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    assert!(refused(run).contains("do not hash"));
    assert_eq!(scene.device.journals(), before, "nothing was changed by any of them");
}

/// A run that says it is a whole segment of this ordinal, and hashes to its name.
fn named(first: Seq, records: &[Record], ordinal: u64) -> Run {
    let run = loose(journal(NORMAL), first, records);
    let hash = SegmentHash::of(&journal(NORMAL), ordinal, first, &block::encode(records));
    Run { segment: Some(SegmentName { ordinal, first, count: run.count, hash }), ..run }
}

/// A device with 60 rows, of which one is put aside.
fn of_rows(lost: Seq) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device.db");
    let mut device = Store::open(&path, &author()).unwrap();
    for seq in 1..=60 {
        append(&mut device, NORMAL, vec![reading(seq)]);
    }
    commit(&mut device, Change::Acknowledge { journal: journal(NORMAL), ranges: range(1, 60).into() });
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.execute("UPDATE tail SET bytes = zeroblob(length(bytes)) WHERE seq = ?", [lost.cast_signed()])
        .unwrap();
    assert_eq!(device.quarantine(&journal(NORMAL), range(lost, lost)).unwrap().ranges.count(), 1);
    (dir, device)
}

#[test]
fn a_hash_that_damage_took_before_the_floor_passed_it_is_told_by_the_hub_and_no_other_is_believed() {
    let mut scene = Scene::new();
    scene.damage(1, 0);
    append(&mut scene.device, NORMAL, readings(2_109, 1_200));
    for run in scene.device.load(&journal(NORMAL), range(2_049, 3_308), usize::MAX).unwrap() {
        receive(&mut scene.hub, run);
    }
    let hashes: Vec<_> = names(&scene.hub, &journal(NORMAL)).into_iter().collect();
    let leaf = |at: usize| millrace_model::NodeHash::of_segment(&hashes[at].1.hash);
    let drop = |store: &mut Store| {
        let ranges = range(1, 3_308).into();
        commit(store, Change::Acknowledge { journal: journal(NORMAL), ranges });
        commit(store, Change::Drop { journal: journal(NORMAL), through: 2_048, evict: None });
        summary(store, &journal(NORMAL))
    };
    let mut adopt = |nodes| {
        let change = Change::Adopt { journal: journal(NORMAL), nodes, replaces: true };
        commit(&mut scene.device, change);
        let state = scene.device.journal(&journal(NORMAL)).unwrap();
        (state.next_ordinal, state.first_ordinal, state.summary.root)
    };
    let before = adopt(Vec::new());
    let lie = millrace_model::NodeHash([1; 16]);
    assert_eq!(adopt(vec![(0, 9, lie), (0, 1 << 50, lie), (3, 0, lie), (0, 2, lie)]), before);
    let dropped = drop(&mut scene.device);
    assert_ne!(dropped.root, summary(&scene.hub, &journal(NORMAL)).root, "the floor passed what damage took");
    let mut adopt = |nodes| {
        let change = Change::Adopt { journal: journal(NORMAL), nodes, replaces: true };
        commit(&mut scene.device, change);
    };
    adopt(vec![(0, 9, lie), (0, 1 << 50, lie)]);
    adopt(vec![(0, 0, leaf(0)), (0, 1, leaf(1))]);
    assert_eq!(summary(&scene.device, &journal(NORMAL)), summary(&scene.hub, &journal(NORMAL)));
    assert!(scene.device.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn a_name_that_was_never_given_here_seals_nothing_and_moves_no_ordinal() {
    let refused = |device: &mut Store, run: Run| match commit(device, Change::Restore(run)).remove(0) {
        Outcome::Restored { refused, .. } => refused.unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    for ordinal in [0, 1, 1 << 50, i64::MAX as u64 - 1] {
        for lost in [1, 30] {
            let (_dir, mut device) = of_rows(lost);
            let before = device.journals();
            let why = refused(&mut device, named(lost, &[reading(lost)], ordinal));
            assert!(why.contains("was ever sealed here"), "{ordinal} {why}");
            // As a part, so that the last missing one seals all of the live tail.
            let whole = named(1, &readings(1, 60), ordinal).segment;
            let part = Run { segment: whole, ..loose(journal(NORMAL), lost, &[reading(lost)]) };
            assert!(refused(&mut device, part).contains("was ever sealed here"));
            assert_eq!(device.journals(), before);
            // Under no name it comes back, and nobody else names what is not sealed yet.
            assert_eq!(refused(&mut device, loose(journal(NORMAL), lost, &[reading(lost)])), "");
            let sealed =
                commit(&mut device, Change::Seal { journal: journal(NORMAL), segment: whole.unwrap() });
            assert_eq!(sealed, [Outcome::Sealed { journal: journal(NORMAL), sealed: false }]);
            append(&mut device, NORMAL, readings(61, 2_100));
            assert_eq!(names(&device, &journal(NORMAL)).keys().copied().collect::<Vec<_>>(), [0, 1]);
            assert!(device.verify(|_| ()).unwrap().is_clean());
        }
    }
}

#[test]
fn another_record_in_the_place_of_the_last_one_is_a_conflict() {
    let (_dir, mut device) = of_rows(60);
    let mut back =
        |number| match commit(&mut device, Change::Restore(loose(journal(NORMAL), 60, &[reading(number)])))
            .remove(0)
        {
            Outcome::Restored { stored, conflict, .. } => (stored.count(), conflict.count()),
            other => panic!("{other:?}"),
        };
    assert_eq!((back(9_999), back(60)), ((0, 1), (1, 0)));
}

#[test]
fn what_was_moved_aside_goes_when_the_records_are_back_or_were_let_go_and_never_takes_more_than_its_room() {
    let mut scene = Scene::new();
    let path = scene.device.path().unwrap();
    let aside = |path: &std::path::Path| {
        let sql = rusqlite::Connection::open(path).unwrap();
        let mut statement =
            sql.prepare("SELECT first_seq, length(bytes) > 0 FROM quarantine ORDER BY id").unwrap();
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        found.map(Result::unwrap).collect::<Vec<(i64, bool)>>()
    };
    assert_eq!(aside(&path), [(1_025, true)]);
    scene.back(loose(journal(NORMAL), 1_025, &readings(1_025, 1_000)));
    assert_eq!(aside(&path), [(1_025, true)], "not all of it is here");
    scene.back(loose(journal(NORMAL), 2_025, &readings(2_025, 24)));
    assert_eq!(aside(&path), [(1_025, false)], "the note stays");
    scene.damage(1, 0);
    assert_eq!(aside(&path), [(1_025, false), (1, true)]);
    commit(&mut scene.device, Change::Drop { journal: journal(NORMAL), through: 2_048, evict: None });
    assert_eq!(aside(&path), []);

    let mut scene = Scene::new();
    let path = scene.device.path().unwrap();
    let size = scene.whole[0].body.len() as u64;
    let options = millrace_journal::Options { quarantine_bytes: size, ..author() };
    let Scene { device, .. } = scene;
    drop(device);
    scene.device = Store::open(&path, &options).unwrap();
    scene.damage(1, 0);
    assert_eq!(aside(&path), [(1_025, false), (1, true)], "the oldest bytes go first");
}

#[test]
fn a_hub_does_not_count_as_lost_what_it_has() {
    let mut hub = Store::in_memory(&replica()).unwrap();
    receive(&mut hub, loose(journal(NORMAL), 1, &readings(1, 10)));
    let gap = millrace_model::notice::Gap {
        incarnation: plant::INCARNATION,
        lane: NORMAL,
        range: Some((8, 14)),
        after: None,
        count: 7,
        reason: millrace_model::notice::GapReason::Damaged,
        from: millrace_model::Wall(1),
        to: millrace_model::Wall(2),
    };
    let record = gap.to_record(millrace_model::Wall(3), 3).unwrap();
    let urgent = JournalId { lane: Lane::Urgent, ..journal(NORMAL) };
    receive(&mut hub, loose(urgent, 1, &[record]));
    assert_eq!(hub.journal(&journal(NORMAL)).unwrap().declared, range(11, 14).into());
}
