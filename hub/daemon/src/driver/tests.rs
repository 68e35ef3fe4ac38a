//! The driver against a journal's thread that is busy.

use std::sync::mpsc::sync_channel;

use millrace_host::systemd::Watchdog;
use millrace_hub_engine::{Config, Engine};
use millrace_journal::{Options, Store, Writer};
use millrace_model::store::Usage;
use millrace_model::{HubId, Wall};

use super::*;

pub(crate) async fn driver(dir: &std::path::Path, writer: &Writer) -> Driver {
    let (clock, _) = Clock::manual(Wall(0));
    let registry = crate::registry::tests::lone(dir).await;
    let numbers = Config::new(HubId::default(), "hub", "north");
    let answers = Answers::new();
    let parts = Parts {
        engine: Engine::new(numbers, &[], Usage::default(), clock.moment()),
        board: AlarmBoard::new(Arc::clone(&registry)),
        registry,
        repairs: Repairs::open(&dir.join("repairs.json")),
        meters: Meters::new(clock.clone()).unwrap(),
        writer: writer.handle(),
        checking: Reading::new(Vec::new(), writer.handle(), answers.damages()),
        loading: Reading::new(Vec::new(), writer.handle(), answers.damages()),
        consulting: Reading::new(Vec::new(), writer.handle(), answers.damages()),
        answers,
        cluster: ToCluster::nobody(),
        pulse: Arc::new(Pulse::new(Watchdog::new(clock.clone()))),
        looking: Looking::default(),
        comparing: Looking::default(),
        memory: dir.join("retention.json"),
        clock,
    };
    Driver::new(parts).0
}

#[tokio::test]
async fn a_commit_that_the_journals_queue_has_no_room_for_waits_and_is_no_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("journal.db"), &Options::hub()).unwrap();
    let writer = Writer::start(store, 1).unwrap();
    let mut driver = driver(dir.path(), &writer).await;
    // One job runs, one waits: the queue is full.
    let (begun, has_begun) = sync_channel::<()>(1);
    let (release, released) = sync_channel::<()>(1);
    let blocking = move |_: &mut Store| {
        begun.send(()).unwrap();
        released.recv().unwrap();
    };
    writer.handle().visit(blocking).unwrap();
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
    writer.handle().visit(|_| {}).unwrap();

    driver.commit(7, vec![Change::Remember { name: "test", value: vec![1] }]);
    driver.carry_out();
    assert!(driver.held.is_some(), "it waits");
    assert_eq!(driver.parts.board.latest(), [], "and nobody speaks of a disk");
    assert_eq!(driver.parts.meters.writer_busy.get(), 1, "told once");
    assert_eq!(driver.pause(None), HELD_RETRY);

    release.send(()).unwrap();
    while driver.held.is_some() {
        driver.carry_out();
        tokio::task::yield_now().await;
    }
    match driver.answers.recv().await {
        Some(Answer::Committed { event: Event::Committed { durable, .. }, .. }) => {
            assert_eq!(durable.commit(), 7);
        }
        other => panic!("{other:?}"),
    }
    drop(writer.stop());
}

#[tokio::test]
async fn a_save_that_breaks_does_not_end_all_saving() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("journal.db"), &Options::hub()).unwrap();
    let writer = Writer::start(store, 1).unwrap();
    let mut driver = driver(dir.path(), &writer).await;
    driver.save(|| panic!("a fault in the program"));
    assert!(driver.saving);
    let answer = driver.answers.recv().await.unwrap();
    driver.answered(answer);
    assert!(!driver.saving);
    drop(writer.stop());
}
