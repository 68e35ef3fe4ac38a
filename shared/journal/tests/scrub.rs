//! Scrubbing: whatever is damaged is found, put aside, and fetched again; what is read meanwhile is right or an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use std::path::{Path, PathBuf};

use millrace_journal::{Query, ScrubCursor, Scrubbed, Store};
use millrace_model::store::Change;
use millrace_model::{Lane, Run};
use plant::{
    all, append, check_of, hasty, journal, reading, readings, receive, records_of, replica, summary,
};

const NORMAL: Lane = Lane::Normal;

/// A replica on disk: 40 segments of four records and 20 tail rows in one lane, a segment in another. Beside it, what its peer has.
fn plant() -> (tempfile::TempDir, PathBuf, Vec<Run>) {
    let mut author = Store::in_memory(&hasty()).unwrap();
    let changes: Vec<Change> =
        (0..40).map(|n| Change::Append { lane: NORMAL, records: readings(n * 4 + 1, 4) }).collect();
    author.commit(1, &changes).unwrap();
    append(&mut author, Lane::Bulk, readings(1, 9));
    let mut runs = author.load(&journal(NORMAL), all(), usize::MAX).unwrap();
    runs.push(plant::loose(journal(NORMAL), 161, &readings(161, 20)));
    runs.extend(author.load(&journal(Lane::Bulk), all(), usize::MAX).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mut hub = Store::open(&path, &replica()).unwrap();
    runs.iter().for_each(|run| drop(receive(&mut hub, run.clone())));
    (dir, path, runs)
}

/// Changes a database behind the back of the store that has it open.
fn tamper(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// A whole pass in small steps, each from the text of the cursor before.
fn pass(store: &Store, bytes_max: u64) -> Scrubbed {
    let (mut sum, mut from) = (Scrubbed::default(), ScrubCursor::default());
    loop {
        let found = store.scrub(from, bytes_max).unwrap();
        sum.segments += found.segments;
        sum.records += found.records;
        sum.stored_bytes += found.stored_bytes;
        sum.raw_bytes += found.raw_bytes;
        sum.damaged.extend(found.damaged);
        sum.digests.extend(found.digests);
        sum.unreadable.extend(found.unreadable);
        match found.next {
            None => return sum,
            Some(next) => from = next.to_string().parse().unwrap(),
        }
    }
}

fn is_clean(found: &Scrubbed) -> bool {
    found.damaged.is_empty() && found.digests.is_empty() && found.unreadable.is_empty()
}

/// What can be read is right.
fn reads_right(store: &Store) {
    for seq in (1..=180).step_by(3) {
        if let Ok(runs) = store.load(&journal(NORMAL), plant::range(seq, seq + 2), usize::MAX) {
            assert!(runs.iter().flat_map(records_of).all(|(seq, record)| record == reading(seq)));
        }
    }
    let page = store.query(&Query { limit: 1_000, ..Query::default() }).unwrap();
    assert!(page.rows.iter().all(|row| row.record == reading(row.seq)));
}

#[test]
fn a_pass_reads_everything_once_however_small_its_steps() {
    let (_dir, path, _) = plant();
    let store = Store::open(&path, &replica()).unwrap();
    let whole = store.scrub(ScrubCursor::default(), u64::MAX).unwrap();
    assert!(is_clean(&whole), "{whole:?}");
    assert_eq!((whole.next, whole.segments, whole.records), (None, 41, 160 + 20 + 9));
    assert!(whole.raw_bytes > 0 && whole.stored_bytes > 0);
    for bytes_max in [1, 700, 5_000] {
        assert_eq!(pass(&store, bytes_max), whole);
    }
    let reader = store.reader().unwrap();
    assert_eq!(reader.scrub(ScrubCursor::default(), u64::MAX).unwrap(), whole);
    let first = reader.scrub(ScrubCursor::default(), 1).unwrap();
    assert!(first.next.is_some() && first.segments <= 1, "{first:?}");
}

#[test]
fn whatever_is_damaged_is_found_put_aside_and_fetched_again_to_the_very_same_digest() {
    let body = |n: u64| format!("(SELECT body FROM segment WHERE journal = 1 AND ordinal = {n})");
    let (one, other) = (body(5), body(17));
    let alien = check_of(&journal(NORMAL), 9_000, &reading(9_000)).0.cast_signed();
    let bytes: String =
        millrace_model::canon::encode(&reading(9_000)).iter().map(|b| format!("{b:02x}")).collect();
    let cases = [
        ("a flipped bit in a body", format!("UPDATE body SET bytes = CAST(substr(bytes, 1, 20) || x'ff' || substr(bytes, 22) AS BLOB) WHERE id = {one}")),
        ("a body that is gone", format!("DELETE FROM body WHERE id = {one}")),
        ("swapped bodies", format!("UPDATE body SET id = -1 WHERE id = {one}; UPDATE body SET id = {one} WHERE id = {other}; UPDATE body SET id = {other} WHERE id = -1")),
        ("another valid body", format!("UPDATE body SET bytes = (SELECT bytes FROM body WHERE id = {other}) WHERE id = {one}")),
        ("a row of a segment under another hash", "UPDATE segment SET hash = (SELECT hash FROM segment WHERE journal = 1 AND ordinal = 6) WHERE journal = 1 AND ordinal = 5".into()),
        ("rows of segments that are gone", "DELETE FROM segment WHERE journal = 1 AND ordinal IN (0, 7, 8, 39)".into()),
        ("all segments gone", "DELETE FROM segment".into()),
        ("a node under a wrong checksum", "UPDATE digest SET checksum = checksum - 1 WHERE level = 1 AND last = 15".into()),
        ("other children of a node", "UPDATE digest SET children = zeroblob(2) WHERE level = 2".into()),
        ("nodes that are gone", "DELETE FROM digest WHERE level = 1".into()),
        ("a node too many", "INSERT INTO digest SELECT journal, 9999, 1, children, checksum FROM digest WHERE level = 1 AND last = 15".into()),
        ("a flipped bit in a tail row", "UPDATE tail SET bytes = CAST(substr(bytes, 1, 20) || x'ff' || substr(bytes, 22) AS BLOB) WHERE seq = 170".into()),
        ("a flipped bit in a check", "UPDATE tail SET checksum = checksum + 1 WHERE seq = 170".into()),
        ("tail rows that are gone", "DELETE FROM tail WHERE seq BETWEEN 164 AND 168".into()),
        ("a tail row that nobody claims", format!("INSERT INTO tail VALUES (1, 9000, {alien}, x'{bytes}')")),
        ("a tail row of what a segment has", "INSERT INTO tail SELECT journal, 30, checksum, bytes FROM tail WHERE seq = 170".into()),
        ("a segment that nobody claims", "INSERT INTO segment SELECT journal, 9000, count, 900, class, min_wall, max_wall, encoding, size, -5, hash, checksum FROM segment WHERE journal = 1 AND ordinal = 9".into()),
        ("a flipped bit in a journal's row", "UPDATE journal SET sealed_bytes = sealed_bytes + 1 WHERE id = 1".into()),
        ("another root", "UPDATE journal SET root = zeroblob(16) WHERE id = 1".into()),
    ];
    for (what, sql) in cases {
        let (_dir, path, runs) = plant();
        let mut hub = Store::open(&path, &replica()).unwrap();
        let (before, state) = (summary(&hub, &journal(NORMAL)), hub.journal(&journal(NORMAL)).unwrap());
        tamper(&path, &sql);
        reads_right(&hub);
        let found = pass(&hub, 3_000);
        assert!(!is_clean(&found), "{what}");
        assert_eq!(found.unreadable, [] as [String; 0], "{what}");
        assert!(!hub.verify(|_| ()).unwrap().is_clean(), "{what}");
        for damage in &found.damaged {
            hub.quarantine(&damage.journal, damage.range).unwrap();
        }
        for journal in &found.digests {
            hub.rebuild_digest(journal).unwrap();
        }
        let again = pass(&hub, 3_000);
        assert!(is_clean(&again), "{what}: {again:?}");
        assert!(hub.verify(|_| ()).unwrap().is_clean(), "{what}");
        for run in runs {
            receive(&mut hub, run);
        }
        assert_eq!(summary(&hub, &journal(NORMAL)), before, "{what}");
        assert_eq!(hub.journal(&journal(NORMAL)).unwrap().present, state.present, "{what}");
        assert!(is_clean(&pass(&hub, u64::MAX)), "{what}");
        reads_right(&hub);
    }
}

#[test]
fn a_commit_that_meets_a_damaged_node_reckons_the_digest_anew() {
    let (_dir, path, runs) = plant();
    let expected = {
        let mut hub = Store::in_memory(&replica()).unwrap();
        runs.iter().for_each(|run| drop(receive(&mut hub, run.clone())));
        summary(&hub, &journal(NORMAL))
    };
    let mut hub = Store::open(&path, &replica()).unwrap();
    // The last node of the first level, which the next segment would change.
    hub.quarantine(&journal(NORMAL), plant::range(1, 1)).unwrap();
    tamper(&path, "DELETE FROM segment WHERE journal = 1 AND ordinal = 39");
    hub.quarantine(&journal(NORMAL), plant::range(157, 160)).unwrap();
    tamper(&path, "UPDATE digest SET checksum = checksum + 1 WHERE journal = 1 AND level = 1");
    receive(&mut hub, runs[39].clone());
    assert_eq!(summary(&hub, &journal(NORMAL)), expected);
    assert!(is_clean(&pass(&hub, u64::MAX)));
}

#[test]
fn a_digest_without_its_top_is_reckoned_anew_at_the_start() {
    let (_dir, path, _) = plant();
    tamper(&path, "DELETE FROM digest WHERE journal = 1");
    let hub = Store::open(&path, &replica()).unwrap();
    assert_eq!(hub.opened().digests, [journal(NORMAL)]);
    assert!(is_clean(&pass(&hub, u64::MAX)));
}

#[test]
fn a_journal_that_does_not_say_whose_it_is_stops_nothing() {
    let (_dir, path, _) = plant();
    let hub = Store::open(&path, &replica()).unwrap();
    tamper(&path, "UPDATE journal SET lane = 9 WHERE id = 1");
    let found = pass(&hub, 1_000);
    assert_eq!((found.unreadable.len(), found.segments, found.damaged.len()), (1, 1, 0), "{found:?}");
}

#[test]
fn a_store_full_of_damage_is_told_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mut hub = Store::open(&path, &replica()).unwrap();
    for part in 0..3 {
        receive(
            &mut hub,
            plant::loose(journal(NORMAL), part * 1_000 + 1, &readings(part * 1_000 + 1, 1_000)),
        );
    }
    tamper(&path, "UPDATE tail SET checksum = checksum + 1");
    let first = hub.scrub(ScrubCursor::default(), u64::MAX).unwrap();
    assert_eq!(first.damaged.len(), millrace_journal::SCRUB_DAMAGES_MAX);
    assert_eq!(pass(&hub, u64::MAX).damaged.len(), 3_000);
}
