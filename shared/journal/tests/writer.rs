//! The writer's thread: in order, bounded, and every job answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use std::sync::mpsc::sync_channel;

use millrace_journal::{Busy, Store, Writer};
use millrace_model::Lane;
use millrace_model::store::Change;
use plant::{all, author, journal, readings, records_of};

fn change(first: u64) -> Vec<Change> {
    vec![Change::Append { lane: Lane::Normal, records: readings(first, 10) }]
}

#[test]
fn commits_are_answered_in_order_and_the_store_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let store = Store::open(&path, &author()).unwrap();
    let reader = store.reader().unwrap();
    let writer = Writer::start(store, 64).unwrap();
    let (replies, answers) = sync_channel(64);
    for n in 0..20 {
        let replies = replies.clone();
        let reply = Box::new(move |result: Result<(millrace_model::Durable, _), _>| {
            replies.send(result.unwrap().0.commit()).unwrap();
        });
        writer.handle().commit(n, change(n * 10 + 1), reply).unwrap();
    }
    assert_eq!(answers.iter().take(20).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    // What was answered is on disk and can be read from another thread.
    let read = std::thread::spawn(move || reader.load(&journal(Lane::Normal), all(), usize::MAX).unwrap());
    assert_eq!(read.join().unwrap().iter().flat_map(records_of).count(), 200);
    let (told, heads) = sync_channel(1);
    writer.handle().visit(move |store| told.send(store.journals().len()).unwrap()).unwrap();
    assert_eq!(heads.recv().unwrap(), 3);
    let handle = writer.handle();
    let store = writer.stop().unwrap();
    assert_eq!(store.journal(&journal(Lane::Normal)).unwrap().head, 200);
    assert_eq!(handle.visit(|_| ()), Err(Busy::Stopped));
}

#[test]
fn a_full_queue_says_so_instead_of_growing() {
    let writer = Writer::start(Store::in_memory(&author()).unwrap(), 2).unwrap();
    let (release, held) = sync_channel::<()>(0);
    let (began, begun) = sync_channel::<()>(0);
    let handle = writer.handle();
    handle
        .visit(move |_| {
            began.send(()).unwrap();
            held.recv().unwrap();
        })
        .unwrap();
    begun.recv().unwrap();
    handle.commit(1, change(1), Box::new(|_| ())).unwrap();
    handle.commit(2, change(11), Box::new(|_| ())).unwrap();
    assert_eq!(handle.commit(3, change(21), Box::new(|_| ())), Err(Busy::Full));
    release.send(()).unwrap();
    assert_eq!(writer.stop().unwrap().journal(&journal(Lane::Normal)).unwrap().head, 20);
}
