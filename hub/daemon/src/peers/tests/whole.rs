//! Two whole engines with stores of their own: what one has reaches the other's disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_hub_engine::placement::{Placement, Site, target};
use millrace_hub_engine::{Config, Engine, Event, HubStanding, Placed};
use millrace_journal::{Options, Reader, Store, Writer};
use millrace_model::store::Change;
use millrace_model::{
    DeviceId, Encoding, Incarnation, JournalId, Lane, Partition, Record, Run, SeqRange, Topic, Wall, block,
};

use super::super::*;
use super::world::{Hub, LOOPBACK, World, hub_id, soon};
use crate::driver::ToCluster;
use crate::driver::input::Input;
use crate::driver::{Driver, Ended};
use crate::reading::Reading;

const RECORDS: u64 = 2_000;

fn journal() -> JournalId {
    JournalId { device: DeviceId::from_bytes([7; 16]), incarnation: Incarnation::new(5), lane: Lane::Normal }
}

fn store_of(number: u8) -> Incarnation {
    Incarnation::new(u64::from(number) * 100)
}

fn run(seq: u64) -> Run {
    let record = Record::data(Topic::new("a/b").unwrap(), Bytes::from(vec![b'x'; 400]), Wall(0), seq);
    let body = Bytes::from(block::encode(&[record]));
    Run { journal: journal(), first: seq, count: 1, encoding: Encoding::Plain, body, segment: None }
}

struct Whole {
    dir: tempfile::TempDir,
    hub: Hub,
    driver: DriverHandle,
    running: tokio::task::JoinHandle<Ended>,
    writer: Writer,
    synced: mpsc::Receiver<millrace_hub_engine::Synced>,
}

impl Whole {
    async fn start(world: &World, number: u8, records: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let mut store = Store::open(&path, &Options::hub()).unwrap();
        let changes: Vec<Change> = (1..=records).map(|seq| Change::Receive(run(seq))).collect();
        store.commit(1, &changes).unwrap();
        let (journals, usage) = (store.journals(), store.usage());
        let writer = Writer::start(store, 16).unwrap();
        let reader = Reader::open(&path, &Options::hub()).unwrap();
        let mut parts = crate::driver::tests::driver(dir.path(), &writer).await.parts;
        let config = Config::new(hub_id(number), "hub", "north");
        parts.clock = world.clock.clone();
        parts.engine = Engine::new(config, &journals, usage, parts.clock.moment());
        parts.loading = Reading::new(vec![reader], writer.handle(), parts.answers.damages());
        let (send, synced) = mpsc::channel(8);
        parts.cluster = ToCluster { synced: send, ..ToCluster::nobody() };
        let (driver, handle) = Driver::new(parts);
        world.seat(number);
        let hub = world.hub_with(handle.clone(), world.identity(number), number, LOOPBACK);
        let running = tokio::spawn(driver.run(hub.shutdown.clone()));
        Self { dir, hub, driver: handle, running, writer, synced }
    }

    async fn placed(&self, placement: &Placement, full: &[u8]) {
        let standing = |number: u8| HubStanding {
            hub: hub_id(number),
            region: "north".to_owned(),
            store: store_of(number),
            full: full.contains(&number),
        };
        let hubs: BTreeMap<NodeId, HubStanding> =
            [1, 2].map(|number| (NodeId(u64::from(number)), standing(number))).into();
        let (me, store) = (self.hub.node, store_of(self.hub.number()));
        let placed = Placed { me, store, epoch: 1, placement: placement.clone(), hubs };
        self.driver.tell(Input::Event(Event::Placed(Box::new(placed)))).await;
    }

    fn held(&self) -> u64 {
        let reader = Reader::open(&self.dir.path().join("journal.db"), &Options::hub()).unwrap();
        let mut count = 0;
        reader
            .each(&journal(), SeqRange::new(1, u64::MAX).unwrap(), |_, _| {
                count += 1;
                true
            })
            .unwrap();
        count
    }

    async fn end(self) {
        self.hub.end().await;
        assert_eq!(soon(self.running).await.unwrap(), Ended::Asked);
        drop(self.writer.stop());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_hub_fills_itself_from_the_other_and_says_so() {
    let world = World::new();
    let one = Whole::start(&world, 1, RECORDS).await;
    let mut two = Whole::start(&world, 2, 0).await;
    one.hub.expects(&[&two.hub]);
    two.hub.expects(&[&one.hub]);
    let sites = [1, 2].map(|number| Site { node: NodeId(number), region: "north".to_owned() });
    let mut placement = Placement::default();
    placement.begin(&target(&sites[..1], 3));
    placement.begin(&target(&sites, 3));
    one.placed(&placement, &[1]).await;
    two.placed(&placement, &[1]).await;
    let mine = Partition::of(&journal().device);
    soon(async { while !two.synced.recv().await.unwrap().partitions.contains_key(&mine) {} }).await;
    assert_eq!(two.held(), RECORDS);
    // What is told twice is stored once: the streams break and begin again.
    two.hub.peers.0.guests.close(CloseCode::Shutdown, "once more");
    one.hub.connected(&two.hub).await;
    assert_eq!((one.held(), two.held()), (RECORDS, RECORDS));
    one.end().await;
    two.end().await;
}
