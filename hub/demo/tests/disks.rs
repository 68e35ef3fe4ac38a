//! Disks: full, damaged, failing. What was acknowledged is at the hub, or declared; never wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod disks_support;

use std::time::Duration;

use disks_support::{FailingFlush, flip, in_own_mounts, last_place, resize, small_disk, store};
use millrace_demo::proof::Exhibit;
use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{
    Agent, AgentOptions, AgentStatus, Body, DeviceProof, Hub, HubOptions, Plant, PlantError, Proof,
    Publication, Publisher, Road, Stamp,
};
use rumqttc::QoS;

const LIMIT: Duration = Duration::from_secs(60);

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

/// Fills a disk of 16 MiB behind a cut road until `full`, then makes room and heals the road.
async fn full_disk(
    test: &str,
    policy: &str,
    full: fn(&AgentStatus) -> bool,
) -> Option<(AgentStatus, DeviceProof)> {
    if !in_own_mounts(test) {
        return None;
    }
    let (plant, hub, road) = plant().await;
    let data = plant.data("hall");
    small_disk(&data, 16);
    let options = AgentOptions::new("hall", road.addr()).with("store", store(policy));
    let mut agent = Agent::start(&plant, &hub, options).await.unwrap();
    agent.online(LIMIT).await.unwrap();
    road.cut();
    let publisher = agent.publisher("camera");
    // Twice what the disk holds. A lane that blocks answers the rest when there is room again.
    let publishing = noise(&publisher, 4_000);
    let watching = async {
        let filled = agent.until("a full disk", LIMIT, full).await.unwrap();
        assert!(filled.adds_up(), "{filled:?}");
        assert_eq!(agent.probe("/healthz").await.unwrap(), 200, "a full disk is an ordinary event");
        resize(&data, 128);
        road.heal();
        filled
    };
    let (published, filled) = tokio::join!(publishing, watching);
    published.unwrap();
    let exhibit = Exhibit::gather(&hub, &mut agent, &[&publisher], LIMIT).await.unwrap();
    let proof = DeviceProof::of(&exhibit);
    println!("{policy}: {:?}, declared {}, missing {}", proof.ledger, proof.declared, proof.missing.len());
    assert!(proof.balanced && proof.published == 4_000 && publisher.breaks() == 0);
    assert_eq!((&proof.duplicated, &proof.damaged, proof.foreign), (&Vec::new(), &Vec::new(), 0));
    assert_eq!(proof.faults, Vec::<String>::new(), "holes only where declared");
    let lost = proof.ledger.evicted + proof.ledger.rejected;
    assert_eq!(proof.missing.len() as u64, lost, "what is missing is what the ledger says");
    assert_eq!(proof.declared, lost, "and what the gaps at the hub say");
    Some((filled, proof))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_with_block_loses_nothing() {
    let test = "a_full_disk_with_block_loses_nothing";
    let Some((filled, proof)) = full_disk(test, "block", |status| status.blocked).await else { return };
    assert!(filled.ledger.pending < 4_000, "the sensors were held back");
    assert_eq!(proof.missing.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_with_drop_oldest_declares_the_oldest_lost() {
    let test = "a_full_disk_with_drop_oldest_declares_the_oldest_lost";
    let Some((_, proof)) = full_disk(test, "drop-oldest", |status| status.ledger.evicted > 0).await else {
        return;
    };
    assert!(proof.ledger.evicted > 0);
    let newest = Stamp { source: "camera".into(), number: 4_000, attempt: 1 };
    assert!(!proof.missing.contains(&newest), "the newest is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_with_drop_newest_keeps_the_oldest() {
    let test = "a_full_disk_with_drop_newest_keeps_the_oldest";
    let Some((_, proof)) = full_disk(test, "drop-newest", |status| status.ledger.rejected > 0).await else {
        return;
    };
    assert_eq!(proof.ledger.evicted, 0, "what is stored stays");
    let oldest = Stamp { source: "camera".into(), number: 1, attempt: 1 };
    assert!(!proof.missing.contains(&oldest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_with_thin_keeps_one_in_ten() {
    let test = "a_full_disk_with_thin_keeps_one_in_ten";
    let Some((_, proof)) = full_disk(test, "thin:10", |status| status.ledger.rejected > 0).await else {
        return;
    };
    assert!(proof.ledger.rejected > 0 && proof.stored > 0);
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
    road: Road,
    agent: Agent,
    publisher: Publisher,
}

impl Damaged {
    /// An agent with two sealed segments and a tail, all of it pending, ended by SIGKILL or in good order.
    async fn prepared(killed: bool) -> Self {
        let (plant, hub, road) = plant().await;
        let mut agent =
            Agent::start(&plant, &hub, AgentOptions::new("press-line", road.addr())).await.unwrap();
        agent.online(LIMIT).await.unwrap();
        road.cut();
        let publisher = agent.publisher("presses");
        let mut line = Line::new("press-line", LineKind::Presses, false, 13);
        publisher.publish_from(&mut line, 2_400).await.unwrap();
        publisher.drained(LIMIT).await.unwrap();
        if killed {
            agent.process.kill().await.unwrap();
        } else {
            assert!(agent.process.terminate().await.unwrap().success());
        }
        Self { plant, hub, road, agent, publisher }
    }

    /// What is at the hub after the agent came back.
    async fn weighed(mut self) -> (DeviceProof, String) {
        survive(&mut self.agent).await;
        self.road.heal();
        let exhibit = Exhibit::gather(&self.hub, &mut self.agent, &[&self.publisher], LIMIT).await.unwrap();
        let proof = DeviceProof::of(&exhibit);
        let log = std::fs::read_to_string(self.plant.log("press-line")).unwrap();
        println!("{:?}: declared {}, missing {}", proof.ledger, proof.declared, proof.missing.len());
        assert!(proof.balanced, "{:?}", proof.ledger);
        assert_eq!((&proof.damaged, &proof.duplicated, proof.foreign), (&Vec::new(), &Vec::new(), 0));
        assert_eq!(proof.faults, Vec::<String>::new(), "holes only where declared");
        assert_eq!(self.agent.probe("/healthz").await.unwrap(), 200);
        (proof, log)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_tail_row_costs_that_row_and_says_so() {
    let damaged = Damaged::prepared(false).await;
    let file = damaged.agent.data().join("journal.db");
    flip(&file, last_place(&file, b"force_kn"));
    let (proof, _) = damaged.weighed().await;
    assert_eq!((proof.missing.len(), proof.declared), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_segment_costs_that_segment_and_says_so() {
    let damaged = Damaged::prepared(false).await;
    let file = damaged.agent.data().join("journal.db");
    // The magic number of zstd, in the order in which it is written.
    flip(&file, last_place(&file, &[0x28, 0xb5, 0x2f, 0xfd]) + 200);
    let (proof, _) = damaged.weighed().await;
    assert!((1..=1_024).contains(&proof.missing.len()), "{} missing", proof.missing.len());
    assert_eq!(proof.declared, proof.missing.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_write_ahead_log_is_noticed_and_nothing_wrong_arrives() {
    let damaged = Damaged::prepared(true).await;
    let directory = damaged.agent.data().to_owned();
    let file = directory.join("journal.db-wal");
    let length = usize::try_from(std::fs::metadata(&file).unwrap().len()).unwrap();
    flip(&file, length / 3);
    let (proof, log) = damaged.weighed().await;
    assert!(!proof.missing.is_empty(), "what stood behind the break is gone");
    let known = directory.join("journal.db-wal.damaged").exists() && log.contains("write-ahead log");
    assert!(known || proof.declared >= proof.missing.len() as u64, "a loss that nobody noticed");
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
