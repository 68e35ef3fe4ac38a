//! SIGKILL: what was acknowledged is there, once, however often agent and hub die.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_demo::patience::{Look, until};
use millrace_demo::proof::Exhibit;
use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{Agent, AgentOptions, Hub, HubOptions, Plant, Proof, Publisher};

const LIMIT: Duration = Duration::from_secs(30);
const ROUNDS: usize = 30;

/// Publications that must be answered between two kills: enough to be in the middle of commits and sessions.
const PER_ROUND: usize = 60;

/// Publishes until told to stop, a handful at a time so that rounds stay short.
async fn load(publisher: Arc<Publisher>, stop: Arc<AtomicBool>, mut line: Line) {
    while !stop.load(Ordering::Relaxed) {
        publisher.publish_from(&mut line, 10).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn answered(publisher: &Publisher, more: usize) {
    let target = publisher.settled() + more;
    until("answers under load", LIMIT, || async {
        let settled = publisher.settled();
        Ok(if settled >= target { Look::Found(()) } else { Look::NotYet(format!("{settled} of {target}")) })
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_kills_of_agent_and_hub_lose_and_double_nothing() {
    let plant = Plant::build().unwrap();
    let mut hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
    let road = plant.road(&hub).await.unwrap();
    let mut agent = Agent::start(&plant, &hub, AgentOptions::new("press-line", road.addr())).await.unwrap();
    let publisher = Arc::new(agent.publisher("presses"));
    let stop = Arc::new(AtomicBool::new(false));
    let line = Line::new("press-line", LineKind::Presses, false, 1);
    let loading = tokio::spawn(load(Arc::clone(&publisher), Arc::clone(&stop), line));
    for round in 0..ROUNDS {
        answered(&publisher, PER_ROUND).await;
        if round % 3 == 2 {
            // The hub dies while it receives: the agent has a session, and something is on its way.
            agent.until("an ack under load", LIMIT, |status| status.ledger.acked > 0).await.unwrap();
            hub.process.kill().await.unwrap();
            hub.restart().await.unwrap();
        } else {
            agent.process.kill().await.unwrap();
            agent.restart().await.unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    loading.await.unwrap();
    let exhibit = Exhibit::gather(&hub, &mut agent, &[&publisher], LIMIT).await.unwrap();
    let proof = Proof::of(&[exhibit]);
    println!("{proof}; resent (first tries stored): {:?}", proof.devices[0].resent);
    proof.must_hold();
    assert!(proof.devices[0].published >= (ROUNDS * PER_ROUND) as u64);
    assert!(publisher.breaks() >= 20, "the agent's clients noticed its deaths");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_hub_delays_and_loses_nothing() {
    let plant = Plant::build().unwrap();
    let hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
    let road = plant.road(&hub).await.unwrap();
    let mut agent = Agent::start(&plant, &hub, AgentOptions::new("energy", road.addr())).await.unwrap();
    let publisher = agent.publisher("meters");
    let mut line = Line::new("energy", LineKind::Meters, true, 2);
    agent.online(LIMIT).await.unwrap();
    hub.process.halt().unwrap();
    publisher.publish_from(&mut line, 1_000).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    let status = agent.status().await.unwrap();
    assert!(status.ledger.pending >= 1_000, "stored here, not there: {status:?}");
    hub.process.go_on().unwrap();
    let exhibit = Exhibit::gather(&hub, &mut agent, &[&publisher], LIMIT).await.unwrap();
    let proof = Proof::of(&[exhibit]);
    proof.must_hold();
    assert_eq!(proof.devices[0].published, 1_000);
    assert!(proof.devices[0].by_qos[0] > 0, "QoS 0 is counted too while nobody is killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_programs_end_in_good_order_when_asked_to() {
    let plant = Plant::build().unwrap();
    let mut hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
    let road = plant.road(&hub).await.unwrap();
    let mut agent = Agent::start(&plant, &hub, AgentOptions::new("energy", road.addr())).await.unwrap();
    let publisher = agent.publisher("meters");
    publisher.publish_from(&mut Line::new("energy", LineKind::Meters, false, 3), 300).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    assert!(agent.process.terminate().await.unwrap().success());
    assert!(!agent.data().join("runtime.json").exists(), "it says that it no longer runs");
    agent.restart().await.unwrap();
    let exhibit = Exhibit::gather(&hub, &mut agent, &[&publisher], LIMIT).await.unwrap();
    Proof::of(&[exhibit]).must_hold();
    assert!(hub.process.terminate().await.unwrap().success());
    assert!(!hub.data().join("runtime.json").exists());
}
