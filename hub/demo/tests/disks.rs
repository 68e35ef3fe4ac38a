//! Disks: full, damaged, failing. What was acknowledged is at the hub, or declared; never wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod disks_support;

use std::time::Duration;

use disks_support::{FailingFlush, flip, in_own_mounts, place_of, places, resize, small_disk, table};
use millrace_demo::patience::{Look, until};
use millrace_demo::proof::Exhibit;
use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{
    Agent, AgentOptions, AgentStatus, Body, DeviceProof, Hub, HubOptions, Plant, PlantError, Proof,
    Publication, Publisher, Road, Stamp,
};
use rumqttc::QoS;

const LIMIT: Duration = Duration::from_secs(60);

/// Blocks of 8 KiB: twice what a small disk holds, three times the small budget.
const PUBLISHED: u64 = 4_000;

async fn plant() -> (Plant, Hub, Road) {
    let plant = Plant::build().unwrap();
    let hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
    let road = plant.road(&hub).await.unwrap();
    (plant, hub, road)
}

/// Publishes blocks of noise, which no compression makes small, until aborted or `count` are answered.
async fn noise(publisher: &Publisher, count: u64) -> Result<(), PlantError> {
    let mut chance = fastrand::Rng::with_seed(12);
    for number in 1..=count {
        let mut block = vec![0; 8_192];
        chance.fill(&mut block);
        let stamp = Stamp { source: "camera".into(), number, attempt: 1 };
        let topic = "plant/hall/camera/frame".to_owned();
        publisher
            .publish(Publication { topic, qos: QoS::AtLeastOnce, stamp, body: Body::Binary(block) })
            .await?;
    }
    Ok(())
}

/// What is to be filled.
struct Store {
    /// The test, when it needs a small disk: that takes mounts of its own.
    disk_of: Option<&'static str>,
    policy: &'static str,
    budget: &'static str,
}

/// When a disk counts as full: the journal says so once, whatever the policy makes of it.
fn disk_is_full(_: &AgentStatus, log: &str) -> bool {
    log.contains("the disk is full")
}

/// Fills an agent's store while the hub is dead until `full`, then makes room and starts the hub again. Nothing when the
/// work was done by another process.
async fn fill(store: &Store, full: fn(&AgentStatus, &str) -> bool) -> Option<(AgentStatus, DeviceProof)> {
    if store.disk_of.is_some_and(|test| !in_own_mounts(test)) {
        return None;
    }
    let (plant, mut hub, road) = plant().await;
    let data = plant.data("hall");
    if store.disk_of.is_some() {
        small_disk(&data, 16);
    }
    let table = table(store.policy, store.budget);
    let options = AgentOptions::new("hall", road.addr()).with("store", table);
    let mut agent = Agent::start(&plant, &hub, options).await.unwrap();
    agent.online(LIMIT).await.unwrap();
    hub.process.kill().await.unwrap();
    let publisher = agent.publisher("camera");
    // Twice what there is room for. A lane that blocks answers the rest when there is room again.
    let publishing = noise(&publisher, PUBLISHED);
    let watching = async {
        let filled = until("a full store", LIMIT, || async {
            let status = agent.status().await?;
            let log = std::fs::read_to_string(plant.log("hall")).unwrap_or_default();
            Ok(if full(&status, &log) { Look::Found(status) } else { Look::NotYet(format!("{status:?}")) })
        })
        .await
        .unwrap();
        assert!(filled.adds_up(), "{filled:?}");
        assert_eq!(agent.probe("/healthz").await.unwrap(), 200, "a full store is an ordinary event");
        if store.disk_of.is_some() {
            resize(&data, 128);
        }
        hub.restart().await.unwrap();
        filled
    };
    let (published, filled) = tokio::join!(publishing, watching);
    published.unwrap();
    let exhibit = Exhibit::gather(&hub, &mut agent, &[&publisher], LIMIT).await.unwrap();
    let proof = DeviceProof::of(&exhibit);
    println!("{}: {:?}, {} missing", store.policy, proof.ledger, proof.missing.len());
    assert!(proof.balanced && proof.published == PUBLISHED && publisher.breaks() == 0);
    assert_eq!((&proof.duplicated, &proof.damaged, proof.foreign), (&Vec::new(), &Vec::new(), 0));
    assert_eq!(proof.faults, Vec::<String>::new(), "holes only where declared");
    let lost = proof.ledger.evicted + proof.ledger.rejected;
    assert_eq!(proof.declared, lost, "the gaps at the hub say what the ledger says");
    // A record that was on its way when it was given up may arrive all the same: a gap says never too little.
    assert!(proof.missing.len() as u64 <= lost, "{} missing, {lost} declared", proof.missing.len());
    Some((filled, proof))
}

/// Fills a disk that is smaller than the budget.
async fn full_disk(test: &'static str, policy: &'static str) -> Option<DeviceProof> {
    let store = Store { disk_of: Some(test), policy, budget: "256MiB" };
    fill(&store, disk_is_full).await.map(|(_, proof)| proof)
}

/// Uses up a budget on a disk with room.
async fn used_up(policy: &'static str, full: fn(&AgentStatus, &str) -> bool) -> (AgentStatus, DeviceProof) {
    fill(&Store { disk_of: None, policy, budget: "12MiB" }, full).await.unwrap()
}

fn camera(number: u64) -> Stamp {
    Stamp { source: "camera".into(), number, attempt: 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_with_block_loses_nothing() {
    if let Some(proof) = full_disk("a_full_disk_with_block_loses_nothing", "block").await {
        assert_eq!((proof.missing.len(), proof.declared), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_with_drop_oldest_declares_the_oldest_lost() {
    let test = "a_full_disk_with_drop_oldest_declares_the_oldest_lost";
    if let Some(proof) = full_disk(test, "drop-oldest").await {
        assert!(
            proof.ledger.evicted > 0 && !proof.missing.contains(&camera(PUBLISHED)),
            "the newest is kept"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_with_drop_newest_keeps_the_oldest() {
    if let Some(proof) = full_disk("a_full_disk_with_drop_newest_keeps_the_oldest", "drop-newest").await {
        assert_eq!((proof.ledger.evicted, proof.missing.len() as u64), (0, proof.ledger.rejected));
        assert!(!proof.missing.contains(&camera(1)), "what is stored stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_with_thin_keeps_one_in_ten() {
    if let Some(proof) = full_disk("a_full_disk_with_thin_keeps_one_in_ten", "thin:10").await {
        assert!(proof.stored >= PUBLISHED / 10, "{} of {PUBLISHED} stored", proof.stored);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_budget_with_block_holds_the_sensors_back() {
    let (filled, proof) = used_up("block", |status, _| status.blocked).await;
    assert!(filled.ledger.pending < PUBLISHED);
    assert_eq!((proof.missing.len(), proof.declared), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_budget_with_drop_oldest_keeps_the_newest() {
    let (_, proof) = used_up("drop-oldest", |status, _| status.ledger.evicted > 0).await;
    assert!(!proof.missing.contains(&camera(PUBLISHED)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_budget_with_drop_newest_keeps_the_oldest() {
    let (_, proof) = used_up("drop-newest", |status, _| status.ledger.rejected > 0).await;
    assert_eq!((proof.ledger.evicted, proof.missing.len() as u64), (0, proof.ledger.rejected));
    assert!(!proof.missing.contains(&camera(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_runs_low_with_thin_keeps_one_in_ten() {
    let (_, proof) = used_up("thin:10", |status, _| status.ledger.rejected > 0).await;
    assert!(proof.stored >= PUBLISHED / 10, "{} of {PUBLISHED} stored", proof.stored);
}

/// Starts an agent after damage. systemd starts it again when it ends, and so does this, a few times.
async fn survive(agent: &mut Agent) {
    for _ in 0..3 {
        if agent.restart().await.is_ok() {
            return;
        }
    }
    panic!("the agent does not start any more:\n{}", agent.process.log_tail());
}

struct Damaged {
    plant: Plant,
    hub: Hub,
    _road: Road,
    agent: Agent,
    publisher: Publisher,
}

impl Damaged {
    /// An agent with two sealed segments and a tail, all of it pending, ended by SIGKILL or in good order.
    async fn prepared(killed: bool) -> Self {
        let (plant, mut hub, road) = plant().await;
        let mut agent =
            Agent::start(&plant, &hub, AgentOptions::new("press-line", road.addr())).await.unwrap();
        agent.online(LIMIT).await.unwrap();
        hub.process.kill().await.unwrap();
        let publisher = agent.publisher("presses");
        let mut line = Line::new("press-line", LineKind::Presses, false, 13);
        // Bursts are sealed at once; what trickles in afterwards lies in the tail.
        for count in [2_300, 25, 25, 25, 25] {
            publisher.publish_from(&mut line, count).await.unwrap();
            publisher.drained(LIMIT).await.unwrap();
        }
        if killed {
            agent.process.kill().await.unwrap();
        } else {
            assert!(agent.process.terminate().await.unwrap().success());
        }
        Self { plant, hub, _road: road, agent, publisher }
    }

    /// What is at the hub after the agent came back, and whether the agent noticed that its log was damaged.
    async fn weighed(mut self) -> (DeviceProof, bool) {
        survive(&mut self.agent).await;
        self.hub.restart().await.unwrap();
        let exhibit = Exhibit::gather(&self.hub, &mut self.agent, &[&self.publisher], LIMIT).await.unwrap();
        let proof = DeviceProof::of(&exhibit);
        let log = std::fs::read_to_string(self.plant.log("press-line")).unwrap();
        println!("{:?}: declared {}, missing {}", proof.ledger, proof.declared, proof.missing.len());
        assert!(proof.balanced, "{:?}", proof.ledger);
        assert_eq!((&proof.damaged, &proof.duplicated, proof.foreign), (&Vec::new(), &Vec::new(), 0));
        assert_eq!(proof.faults, Vec::<String>::new(), "holes only where declared");
        assert_eq!(self.agent.probe("/healthz").await.unwrap(), 200);
        let aside = self.agent.data().join("journal.db-wal.damaged");
        (proof, aside.exists() && log.contains("write-ahead log was damaged"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_tail_row_costs_that_row_and_says_so() {
    let damaged = Damaged::prepared(false).await;
    let file = damaged.agent.data().join("journal.db");
    // The youngest row that lies in plain bytes; old copies of it in free pages are hit too, and harm nobody.
    let ids = (580..600).rev().map(|number| format!("\"id\":\"press-line.press-1/{number}\""));
    let hit = ids.map(|id| places(&file, id.as_bytes())).find(|places| !places.is_empty()).unwrap();
    hit.iter().for_each(|place| flip(&file, *place));
    let (proof, _) = damaged.weighed().await;
    assert_eq!((proof.missing.len(), proof.declared), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_segment_costs_that_segment_and_says_so() {
    let damaged = Damaged::prepared(false).await;
    let file = damaged.agent.data().join("journal.db");
    // The magic number of zstd, in the order in which it is written.
    flip(&file, place_of(&file, &[0x28, 0xb5, 0x2f, 0xfd]) + 200);
    let (proof, _) = damaged.weighed().await;
    assert!((1..=1_024).contains(&proof.missing.len()), "{} missing", proof.missing.len());
    assert_eq!(proof.declared, proof.missing.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_write_ahead_log_is_noticed_and_nothing_wrong_arrives() {
    let damaged = Damaged::prepared(true).await;
    let file = damaged.agent.data().join("journal.db-wal");
    // In the page of the first frame: the log is always written from its beginning, so this is what was written since it
    // was last carried over. SQLite drops that frame and everything behind it without a word.
    flip(&file, 32 + 24 + 100);
    let (proof, noticed) = damaged.weighed().await;
    println!("{} missing, noticed: {noticed}", proof.missing.len());
    assert!(noticed, "a break in the log that nobody noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_flush_ends_the_process_and_loses_nothing_that_was_acknowledged() {
    let (plant, hub, road) = plant().await;
    let shim = FailingFlush::compile(plant.directory());
    let mut agent = Agent::enrol(&plant, &hub, AgentOptions::new("energy", road.addr())).await.unwrap();
    for (name, value) in shim.environment() {
        agent.process.set_env(name, value);
    }
    agent.restart().await.unwrap();
    let publisher = agent.publisher("meters");
    let mut line = Line::new("energy", LineKind::Meters, false, 14);
    // The first flush that is seen fails, then one in the middle of a stream of commits.
    for nth in [1, 4] {
        publisher.publish_from(&mut line, 200).await.unwrap();
        publisher.drained(LIMIT).await.unwrap();
        shim.arm(nth);
        let loading = async {
            loop {
                publisher.publish_from(&mut line, 10).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let status = tokio::select! {
            ended = agent.process.ended(LIMIT) => ended.unwrap(),
            () = loading => unreachable!("it publishes until the agent has ended"),
        };
        assert!(!status.success(), "a process that cannot flush must say so: {status}");
        shim.disarm();
        survive(&mut agent).await;
    }
    let exhibit = Exhibit::gather(&hub, &mut agent, &[&publisher], LIMIT).await.unwrap();
    let proof = Proof::of(&[exhibit]);
    println!("{proof}; resent (first tries stored): {:?}", proof.devices[0].resent);
    proof.must_hold();
    assert!(publisher.breaks() >= 2);
}
