//! The decision log under damage, kills and many askers at once; the decision state and its snapshots.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::path::Path;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use millrace_journal::decisions::{
    DecisionLog, DecisionState, LogEntry, LogError, LogOpenError, LogOptions, LogReader, LogStep, LogWriter,
    SnapshotError, StateError, StateOptions, StateWrite, inspect_snapshot,
};

fn entry(index: u64) -> LogEntry {
    LogEntry {
        index,
        term: 1 + index / 100,
        payload: Bytes::from(format!("decision {index} {}", "x".repeat(300))),
    }
}

fn entries(first: u64, last: u64) -> Vec<LogEntry> {
    (first..=last).map(entry).collect()
}

fn open(path: &Path) -> Result<DecisionLog, LogOpenError> {
    DecisionLog::open(path, &LogOptions::default())
}

fn fill(log: &mut DecisionLog, first: u64, last: u64) {
    log.commit(&LogStep::Append(entries(first, last))).unwrap();
}

fn damage(path: &Path) -> String {
    match open(path) {
        Err(LogOpenError::Damaged { what }) => what,
        other => panic!("opened as {other:?}"),
    }
}

#[test]
fn what_was_flushed_is_there_after_a_kill_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let (live, after) = (dir.path().join("log.db"), dir.path().join("after.db"));
    let options = LogOptions { wal_limit_bytes: 64 << 10, ..LogOptions::default() };
    let mut log = DecisionLog::open(&live, &options).unwrap();
    assert!(log.is_new() && log.head().is_none());
    let mut next = 0;
    for round in 0..40_u64 {
        fill(&mut log, next, next + round % 7);
        next += round % 7 + 1;
        log.commit(&LogStep::Vote(Bytes::from(format!("vote {round}")))).unwrap();
        if round % 9 == 8 {
            log.commit(&LogStep::TruncateFrom(next - 3)).unwrap();
            next -= 3;
        }
        if round % 11 == 10 {
            let index = next / 2;
            log.commit(&LogStep::PurgeThrough { index, term: entry(index).term }).unwrap();
        }
        for suffix in ["", "-wal"] {
            let name = |path: &Path| format!("{}{suffix}", path.display());
            let _ = std::fs::copy(name(&live), name(&after));
        }
        let found = open(&after).unwrap();
        assert_eq!((found.head(), found.purged()), (log.head(), log.purged()), "round {round}");
        assert_eq!(found.stored_bytes(), log.stored_bytes());
        assert_eq!(found.vote().unwrap(), format!("vote {round}"));
        let first = log.purged().map_or(0, |purged| purged.index + 1);
        assert_eq!(found.read(first, u64::MAX, usize::MAX).unwrap(), entries(first, next - 1));
    }
}

#[test]
fn steps_that_make_no_sense_are_refused_and_leave_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir.path().join("log.db")).unwrap();
    let large = LogEntry { index: 3, term: 1, payload: vec![0; 1_600 << 10].into() };
    let old = LogEntry { index: 3, term: 0, ..entry(3) };
    let answers = log.commit_group(&[
        LogStep::Append(entries(0, 2)),
        LogStep::Append(entries(4, 4)),
        LogStep::Append(vec![large]),
        LogStep::Append(vec![old]),
        LogStep::Append(entries(3, 3)),
        LogStep::PurgeThrough { index: 1, term: 1 },
        LogStep::TruncateFrom(1),
    ]);
    let fine: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(fine, [true, false, false, false, true, true, false]);
    assert!(matches!(answers[1], Err(LogError::Invalid(_))));
    assert_eq!(log.read(0, 9, usize::MAX).unwrap(), entries(2, 3));
    assert_eq!(log.read(2, 9, 1).unwrap(), entries(2, 2));
}

#[test]
fn a_log_goes_on_behind_a_snapshot_that_it_never_held() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    let mut log = open(&path).unwrap();
    fill(&mut log, 0, 4);
    log.commit(&LogStep::PurgeThrough { index: 500, term: 6 }).unwrap();
    assert_eq!((log.head(), log.stored_bytes()), (log.purged(), 0));
    fill(&mut log, 501, 503);
    drop(log);
    let log = open(&path).unwrap();
    assert_eq!(log.head().unwrap().index, 503);
    assert_eq!(LogReader::open(&path).unwrap().read(0, 999, usize::MAX).unwrap(), entries(501, 503));
}

/// Changes bytes of the file where `find` stands.
fn tamper(path: &Path, find: &str, replace: &str) -> usize {
    assert_eq!(find.len(), replace.len());
    let mut bytes = std::fs::read(path).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - find.len()).filter(|at| &bytes[*at..at + find.len()] == find.as_bytes()).collect();
    for at in &places {
        bytes[*at..at + find.len()].copy_from_slice(replace.as_bytes());
    }
    std::fs::write(path, bytes).unwrap();
    places.len()
}

#[test]
fn a_changed_entry_is_named_when_the_log_opens_and_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    let mut log = open(&path).unwrap();
    fill(&mut log, 0, 50);
    drop(log);
    let log = open(&path).unwrap();
    assert_eq!(tamper(&path, "decision 17 ", "decision 71 "), 1);
    let reader = LogReader::open(&path).unwrap();
    assert!(matches!(reader.read(0, 50, usize::MAX), Err(LogError::Damaged { index: 17, .. })));
    assert_eq!(reader.read(0, 16, usize::MAX).unwrap(), entries(0, 16));
    drop((log, reader));
    assert!(damage(&path).contains("entry 17 is not the one"), "{}", damage(&path));
    assert!(open(&path).unwrap_err().to_string().contains("must not vote"));
}

#[test]
fn a_log_that_lost_its_end_or_a_piece_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    let mut log = open(&path).unwrap();
    fill(&mut log, 0, 50);
    log.commit(&LogStep::Vote("me".into())).unwrap();
    // Flushed commits stand in the write-ahead log: a flipped bit makes SQLite drop them without a word.
    for round in 51..=60 {
        fill(&mut log, round, round);
    }
    let (copy, wal) = (dir.path().join("copy.db"), dir.path().join("copy.db-wal"));
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(dir.path().join("log.db-wal"), &wal).unwrap();
    let mut bytes = std::fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&wal, bytes).unwrap();
    assert!(damage(&copy).contains("cannot be read"));
    drop(log);
    let whole = std::fs::read(&path).unwrap();
    let pieces = [
        ("DELETE FROM entry WHERE place = 60", "should end with entry 60"),
        ("DELETE FROM entry WHERE place = 20", "entry 20 is missing"),
        (
            "UPDATE entry SET payload = (SELECT payload FROM entry WHERE place = 8) WHERE place = 9",
            "entry 9 is not",
        ),
        ("UPDATE entry SET term = 9 WHERE place = 60", "entry 60 is not"),
        ("UPDATE note SET body = x'00' WHERE name = 'vote'", "its vote does not verify"),
        ("DELETE FROM note WHERE name = 'head'", "should end with nothing"),
    ];
    for (harm, expected) in pieces {
        std::fs::write(&path, &whole).unwrap();
        rusqlite::Connection::open(&path).unwrap().execute_batch(harm).unwrap();
        let found = damage(&path);
        assert!(found.contains(expected), "{harm}: {found}");
    }
}

#[test]
fn everything_that_waits_shares_a_flush_and_each_gets_its_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("log.db")).unwrap();
    let writer = LogWriter::start(log, 64).unwrap();
    let (answers, heard) = sync_channel(64);
    let (hold, held) = sync_channel::<()>(1);
    // The first answer holds the thread until everything else waits.
    let handle = writer.handle();
    let first = answers.clone();
    handle
        .queue(
            vec![LogStep::Append(entries(0, 0))],
            Box::new(move |answer| {
                first.send((0, answer)).unwrap();
                held.recv().unwrap();
            }),
        )
        .unwrap();
    for index in 1..=40 {
        let answers = answers.clone();
        // Every tenth leaves a hole.
        let step = LogStep::Append(entries(
            index + u64::from(index % 10 == 0) * 99,
            index + u64::from(index % 10 == 0) * 99,
        ));
        let step = if index % 10 == 0 {
            step
        } else {
            LogStep::Append(entries(index - index / 10, index - index / 10))
        };
        handle.queue(vec![step], Box::new(move |answer| answers.send((index, answer)).unwrap())).unwrap();
    }
    hold.send(()).unwrap();
    drop(answers);
    let mut log = writer.stop().unwrap();
    let heard: Vec<_> = heard.iter().collect();
    assert_eq!(heard.iter().map(|(index, _)| *index).collect::<Vec<_>>(), (0..=40).collect::<Vec<_>>());
    for (index, answer) in &heard[1..] {
        assert_eq!(answer.is_err(), index % 10 == 0, "{index}: {answer:?}");
        assert!(answer.as_ref().map_or(true, |proof| proof.commit() <= 2), "one flush for all that waited");
    }
    assert_eq!(log.head().unwrap().index, 36);
    fill(&mut log, 37, 37);
    assert!(matches!(handle.queue(vec![LogStep::TruncateFrom(1)], Box::new(|_| ())), Err(LogError::Busy(_))));
}

fn put(key: &str, value: &str) -> StateWrite {
    StateWrite { key: Bytes::from(key.to_owned()), value: Some(Bytes::from(value.to_owned())) }
}

fn delete(key: &str) -> StateWrite {
    StateWrite { key: Bytes::from(key.to_owned()), value: None }
}

#[test]
fn rows_and_position_change_together_and_the_budget_leaves_deletes_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let options = StateOptions { budget_bytes: 100, ..StateOptions::default() };
    let mut state = DecisionState::open(&path, &options).unwrap();
    assert_eq!(state.applied(), None);
    state.apply(&[put("a", "1"), put("b", "2"), put("a", "3"), delete("c")], b"at 1").unwrap();
    assert_eq!(state.stored_bytes(), 4);
    let refused = state.apply(&[delete("a"), put("d", &"x".repeat(200))], b"at 2");
    assert_eq!(refused, Err(StateError::Budget { would_bytes: 203, budget_bytes: 100 }));
    state.apply(&[put("e", &"x".repeat(95))], b"at 3").unwrap();
    assert!(state.apply(&[put("f", "")], b"at 4").is_err());
    state.apply(&[delete("b")], b"at 5").unwrap();
    assert!(matches!(
        state.apply(&[put("g", &"x".repeat(3 << 20))], b"at 6"),
        Err(StateError::TooLarge { .. })
    ));
    state.checkpoint().unwrap();
    let before = (state.checksum().unwrap(), state.range(None, 9, 9_999).unwrap());
    drop(state);
    let state = DecisionState::open(&path, &options).unwrap();
    assert_eq!((state.checksum().unwrap(), state.range(None, 9, 9_999).unwrap()), before);
    assert_eq!((state.applied().unwrap(), state.stored_bytes()), (Bytes::from("at 5"), 98));
    assert_eq!(state.range(Some(b"a"), 1, 9).unwrap()[0].0, "e");
}

#[test]
fn a_snapshot_is_taken_while_the_state_goes_on_and_replaces_another_state() {
    let dir = tempfile::tempdir().unwrap();
    let options = StateOptions::default();
    let mut state = DecisionState::open(&dir.path().join("state.db"), &options).unwrap();
    let rows: Vec<_> =
        (0..3_000).map(|n| put(&format!("key {n:05}"), &format!("{n} ").repeat(100))).collect();
    state.apply(&rows, b"at 7").unwrap();
    let (reader, checksum) = (state.reader().unwrap(), state.checksum().unwrap());
    let path = dir.path().join("snapshot");
    let summary = reader.export(std::fs::File::create(&path).unwrap()).unwrap().unwrap();
    state.apply(&[put("later", "")], b"at 8").unwrap();
    assert_eq!((summary.rows, summary.position.as_ref()), (3_000, &b"at 7"[..]));
    assert_eq!(inspect_snapshot(&path).unwrap(), summary);

    let mut other = DecisionState::open(&dir.path().join("other.db"), &options).unwrap();
    other.apply(&[put("old", "gone")], b"at 1").unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in [0, 4, 6, 12, 40, whole.len() / 2, whole.len() - 1] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        std::fs::write(dir.path().join("bad"), bad).unwrap();
        assert!(inspect_snapshot(&dir.path().join("bad")).is_err(), "byte {at}");
        assert!(other.replace_all(&dir.path().join("bad"), &summary, b"at 7").is_err(), "byte {at}");
    }
    std::fs::write(dir.path().join("bad"), &whole[..whole.len() - 1]).unwrap();
    let cut_off = other.replace_all(&dir.path().join("bad"), &summary, b"at 7");
    assert!(matches!(cut_off, Err(SnapshotError::Damaged(_))));
    let newer = std::fs::File::create(dir.path().join("newer")).unwrap();
    reader.export(newer).unwrap().unwrap();
    let exchanged = other.replace_all(&dir.path().join("newer"), &summary, b"at 7");
    assert!(matches!(exchanged, Err(SnapshotError::Damaged(_))), "whole, but another one");
    assert_eq!((other.applied().unwrap(), other.stored_bytes()), (Bytes::from("at 1"), 7));
    other.replace_all(&path, &summary, b"at 7").unwrap();
    assert_eq!(other.checksum().unwrap(), checksum);
    assert_eq!(other.stored_bytes(), summary.bytes);
}

#[test]
fn a_changed_row_is_never_returned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let mut state = DecisionState::open(&path, &StateOptions::default()).unwrap();
    state.apply(&[put("key", "the old value"), put("other", "x")], b"at 1").unwrap();
    drop(state);
    assert_eq!(tamper(&path, "the old value", "the new value"), 1);
    let state = DecisionState::open(&path, &StateOptions::default()).unwrap();
    assert!(matches!(state.range(None, 9, 9_999), Err(StateError::Damaged(_))));
    assert!(matches!(state.checksum(), Err(StateError::Damaged(_))));
    let reader = state.reader().unwrap();
    let file = std::fs::File::create(dir.path().join("snapshot")).unwrap();
    assert!(matches!(reader.export(file), Err(SnapshotError::State(StateError::Damaged(_)))));
}
