//! A store of each schema version, kept as bytes: every later program opens it and finds in it what was put there.
//!
//! With MILLRACE_WRITE_FIXTURE set, the file of the newest version is written anew; only ever do that for a version that was never
//! released.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use std::path::PathBuf;

use millrace_journal::{OpenError, Options, Query, Reader, SCHEMA_VERSION, Store};
use millrace_merkle::question::WIDE;
use millrace_merkle::{About, Told};
use millrace_model::notice::GapReason;
use millrace_model::store::Change;
use millrace_model::{Incarnation, JournalId, Lane, Ledger, NodeHash, Wall};
use plant::{append, author, commit, contents, journal, range, reading, readings};

fn fixture(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}.db.zst"))
}

/// The journal that most of it is in.
fn lately() -> JournalId {
    JournalId { incarnation: Incarnation::new(0x2222), ..journal(Lane::Normal) }
}

fn write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mut store = Store::open(&path, &author()).unwrap();
    append(&mut store, Lane::Bulk, readings(1, 30));
    commit(
        &mut store,
        Change::Reincarnate { incarnation: Incarnation::new(0x2222), open: Box::new(reading(0)) },
    );
    append(&mut store, Lane::Normal, readings(1, 1_100));
    append(&mut store, Lane::Normal, readings(1_101, 300));
    append(&mut store, Lane::Normal, readings(1_401, 7));
    let id = lately();
    commit(&mut store, Change::Acknowledge { journal: id, ranges: range(1, 1_200).into() });
    commit(&mut store, Change::Drop { journal: id, through: 1_024, evict: None });
    let (from, to) = (Wall(1), Wall(2));
    commit(&mut store, Change::Reject { lane: Lane::Bulk, count: 3, reason: GapReason::Oversize, from, to });
    commit(&mut store, Change::Remember { name: "hubs", value: b"[]".to_vec() });
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::create_dir_all(fixture(SCHEMA_VERSION).parent().unwrap()).unwrap();
    std::fs::write(fixture(SCHEMA_VERSION), zstd::bulk::compress(&bytes, 19).unwrap()).unwrap();
}

/// The store of a version, as it was left.
fn unpack(version: u32) -> (tempfile::TempDir, PathBuf) {
    if version == SCHEMA_VERSION && std::env::var_os("MILLRACE_WRITE_FIXTURE").is_some() {
        write();
    }
    let bytes = zstd::bulk::decompress(&std::fs::read(fixture(version)).unwrap(), 4 << 20).unwrap();
    assert_eq!(&bytes[60..64], version.to_be_bytes(), "the version in the file's header");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

#[test]
fn version_1_opens_verifies_and_reads() {
    opens_verifies_and_reads(1);
}

#[test]
fn version_2_opens_verifies_and_reads() {
    opens_verifies_and_reads(2);
}

#[test]
fn who_only_reads_an_older_version_says_who_migrates_it_and_leaves_it_as_it_was() {
    let (_dir, path) = unpack(1);
    let before = std::fs::read(&path).unwrap();
    let refused = Reader::open(&path, &Options::hub()).err();
    assert!(matches!(refused, Some(OpenError::TooOld { found: 1 })), "{refused:?}");
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn a_store_of_version_1_gets_the_digest_of_its_rows_and_learns_from_others_what_it_had_let_go() {
    let ((_one, old), (_two, new)) = (unpack(1), unpack(2));
    let (mut old, new) = (Store::open(&old, &author()).unwrap(), Store::open(&new, &author()).unwrap());
    for state in old.journals() {
        assert!(!old.rebuild_digest(&state.journal).unwrap(), "{}", state.journal);
    }
    let id = lately();
    let (mine, theirs) = (plant::summary(&old, &id), plant::summary(&new, &id));
    assert_eq!(mine.tail, theirs.tail);
    assert_eq!(mine.root.hash, plant::root_over(plant::names(&old, &id).values()));
    assert_ne!(mine.root.hash, theirs.root.hash, "the first segment went before anybody noted its hash");
    let about = About::Nodes { level: 1, indexes: vec![0], depth: 1, width: WIDE };
    let Told::Nodes(slots) = new.tell(&id, &about).unwrap() else { panic!("no nodes") };
    let first = NodeHash(*slots[0].hashes.first_chunk().unwrap());
    commit(&mut old, Change::Adopt { journal: id, nodes: vec![(0, 0, first)], replaces: false });
    assert_eq!(plant::summary(&old, &id), theirs);
    assert!(old.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn a_journal_of_version_1_that_does_not_verify_stops_the_migration() {
    let (_dir, path) = unpack(1);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("UPDATE journal SET acked = acked + 1 WHERE lane = 1").unwrap();
    drop(conn);
    let error = Store::open(&path, &author()).map(drop).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { what } if what.contains("checksum")), "{error}");
    let conn = rusqlite::Connection::open(&path).unwrap();
    let version: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1, "nothing was changed");
}

fn opens_verifies_and_reads(version: u32) {
    let (_dir, path) = unpack(version);
    let mut store = Store::open(&path, &author()).unwrap();
    assert_eq!((store.opened().migrated_from, store.opened().created), (version, false));
    assert_eq!(store.opened().digests, []);
    assert_eq!(store.incarnation(), Some(Incarnation::new(0x2222)));
    assert!(store.verify(|_| ()).unwrap().is_clean());
    assert_eq!(store.recall("hubs").unwrap(), Some(b"[]".to_vec()));
    assert!(store.has_open_gaps().unwrap());
    assert_eq!(store.journals().len(), 6);

    let id = lately();
    let state = store.journal(&id).unwrap();
    assert_eq!((state.floor, state.head, state.tail_first, state.next_ordinal), (1_025, 1_407, 1_401, 2));
    assert_eq!(state.ledger, Ledger { ingested: 1_407, acked: 1_200, pending: 207, evicted: 0, rejected: 0 });
    assert_eq!(contents(&store, &id), (1_025..=1_407).map(|n| (n, reading(n))).collect::<Vec<_>>());
    let names: Vec<String> = store
        .survey(9)
        .unwrap()
        .iter()
        .filter(|s| s.journal == id)
        .map(|s| s.name.hash.to_string())
        .collect();
    assert_eq!(names, ["a6f7ef8eb8e7d787c854b6c5f886d1b27e0c74ee1d84998e2e2a0eddd76aed3b"]);
    assert_eq!(state.head_check.unwrap().0, 9_037_492_673_878_382_574);
    let retired = store.journal(&journal(Lane::Bulk)).unwrap();
    assert!(retired.retired);
    assert_eq!(retired.present, range(1, 30).into());
    assert_eq!(store.query(&Query { limit: 500, ..Query::default() }).unwrap().rows.len(), 383 + 30 + 1);

    // And it goes on from there.
    assert_eq!(append(&mut store, Lane::Normal, readings(1_408, 5)), range(1_408, 1_412));
    drop(store);
    let store = Store::open(&path, &Options { compression_level: 1, ..author() }).unwrap();
    assert_eq!(store.opened().migrated_from, SCHEMA_VERSION);
}
