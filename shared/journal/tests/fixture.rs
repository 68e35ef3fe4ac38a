//! A store of schema version 1, kept as bytes: every later program opens it and finds in it what was put there.
//!
//! With MILLRACE_WRITE_FIXTURE set, the file is written anew; only ever do that for a version that was never released.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use std::path::PathBuf;

use millrace_journal::{Options, Query, SCHEMA_VERSION, Store};
use millrace_model::notice::GapReason;
use millrace_model::store::Change;
use millrace_model::{Incarnation, JournalId, Lane, Ledger, Wall};
use plant::{append, author, commit, contents, journal, range, reading, readings};

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1.db.zst")
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
    let id = JournalId { incarnation: Incarnation::new(0x2222), ..journal(Lane::Normal) };
    commit(&mut store, Change::Acknowledge { journal: id, ranges: range(1, 1_200).into() });
    commit(&mut store, Change::Drop { journal: id, through: 1_024, evict: None });
    let (from, to) = (Wall(1), Wall(2));
    commit(&mut store, Change::Reject { lane: Lane::Bulk, count: 3, reason: GapReason::Oversize, from, to });
    commit(&mut store, Change::Remember { name: "hubs", value: b"[]".to_vec() });
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::create_dir_all(fixture().parent().unwrap()).unwrap();
    std::fs::write(fixture(), zstd::bulk::compress(&bytes, 19).unwrap()).unwrap();
}

#[test]
fn version_1_opens_verifies_and_reads() {
    if std::env::var_os("MILLRACE_WRITE_FIXTURE").is_some() {
        write();
    }
    let bytes = zstd::bulk::decompress(&std::fs::read(fixture()).unwrap(), 4 << 20).unwrap();
    assert_eq!(&bytes[60..64], 1_u32.to_be_bytes(), "the version in the file's header");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    std::fs::write(&path, bytes).unwrap();

    let mut store = Store::open(&path, &author()).unwrap();
    assert_eq!((store.opened().migrated_from, store.opened().created), (1, false));
    assert_eq!(store.incarnation(), Some(Incarnation::new(0x2222)));
    assert!(store.verify(|_| ()).unwrap().is_clean());
    assert_eq!(store.recall("hubs").unwrap(), Some(b"[]".to_vec()));
    assert!(store.has_open_gaps().unwrap());
    assert_eq!(store.journals().len(), 6);

    let id = JournalId { incarnation: Incarnation::new(0x2222), ..journal(Lane::Normal) };
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
