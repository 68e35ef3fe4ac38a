//! Three hub processes: one is lost with its disk, two are lost, all are restarted one after the other, all are lost but a
//! backup. What was acknowledged by a majority is there, once, on every hub.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_demo::patience::{Look, until};
use millrace_demo::proof::Exhibit;
use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{
    Agent, AgentOptions, AgentStatus, Cluster, ClusterOptions, Hub, HubOptions, Plant, Proof, Publisher,
};
use serde_json::Value;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(60);

async fn three_hubs(plant: &Plant) -> Vec<Hub> {
    Cluster::start(plant, &ClusterOptions::default()).await.unwrap().hubs
}

/// Waits until decisions are taken again: after the loss of a leader that takes an election.
async fn decides(hub: &Hub) {
    until("a decision", LIMIT, || async {
        match hub.command(&["kv", "put", "test/decides", "yes"]).await {
            Ok(_) => Ok(Look::Found(())),
            Err(error) => Ok(Look::NotYet(error.to_string())),
        }
    })
    .await
    .unwrap();
}

async fn device(plant: &Plant, hubs: &[Hub], ack: &str) -> Agent {
    let roads: Vec<_> = hubs.iter().map(Hub::quic).collect();
    let options = AgentOptions::among("press-line", &roads, "", ack);
    let mut agent = Agent::start(plant, &hubs[0], options).await.unwrap();
    agent.online(LIMIT).await.unwrap();
    for hub in hubs {
        known(hub, "press-line").await;
    }
    agent
}

/// Waits until `hub` has heard that the device was enrolled: until then it would not admit it.
async fn known(hub: &Hub, name: &str) {
    until("a hub to know the device", LIMIT, || async {
        let seen = hub.command(&["devices", "--json"]).await?;
        Ok(if seen.contains(name) { Look::Found(()) } else { Look::NotYet(seen) })
    })
    .await
    .unwrap();
}

/// Waits until `hub` has on its own disk exactly what was published.
async fn proved(hub: &Hub, publisher: &Publisher, status: &AgentStatus) -> Proof {
    let what = format!("{} to have every reading", hub.name());
    until(&what, LIMIT, || async {
        let exhibit = Exhibit {
            name: "press-line".into(),
            tally: publisher.tally(),
            outstanding: publisher.outstanding(),
            status: status.clone(),
            inventory: hub.kept_of(&status.device).await?,
        };
        let proof = Proof::of(&[exhibit]);
        let objections = proof.objections();
        Ok(if objections.is_empty() { Look::Found(proof) } else { Look::NotYet(objections.join("; ")) })
    })
    .await
    .unwrap()
}

/// Waits until all that was published is acknowledged, and until each of `hubs` has it.
async fn settled_on(hubs: impl IntoIterator<Item = &Hub>, publisher: &Publisher, agent: &mut Agent) {
    publisher.drained(LIMIT).await.unwrap();
    let status = agent.settled(LIMIT).await.unwrap();
    for hub in hubs {
        proved(hub, publisher, &status).await;
    }
}

/// Readings that are published until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    publishing: JoinHandle<()>,
}

impl Load {
    fn start(publisher: &Arc<Publisher>) -> Self {
        let (publisher, stop) = (Arc::clone(publisher), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let publishing = tokio::spawn(async move {
            let mut line = Line::new("press-line", LineKind::Presses, false, 1);
            while !stopped.load(Ordering::Relaxed) {
                publisher.publish_from(&mut line, 10).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, publishing }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.publishing.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_disk_is_lost_under_load_fills_itself_and_no_reading_is_missing() {
    let plant = Plant::build().unwrap();
    let mut hubs = three_hubs(&plant).await;
    let mut agent = device(&plant, &hubs, "quorum").await;
    let publisher = Arc::new(agent.publisher("presses"));
    let load = Load::start(&publisher);
    agent.until("acks of a quorum", LIMIT, |status| status.ledger.acked > 200).await.unwrap();
    // The hub that takes the readings, or any other: its disk is gone with everything on it.
    let lost = agent.status().await.unwrap().hub;
    let at = hubs.iter().position(|hub| hub.name() == lost).unwrap();
    hubs[at].process.kill().await.unwrap();
    let mut gone = hubs.remove(at);
    decides(&hubs[0]).await;
    gone.replace(&hubs[0]).await.unwrap();
    hubs[0].complete(3, LIMIT).await.unwrap();
    let acked = agent.status().await.unwrap().ledger.acked;
    agent.until("acks after the loss", LIMIT, |status| status.ledger.acked > acked + 100).await.unwrap();
    load.stop().await;
    settled_on(hubs.iter().chain([&gone]), &publisher, &mut agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_of_three_hubs_down_readings_go_on_and_decisions_are_refused_at_once() {
    let plant = Plant::build().unwrap();
    let mut hubs = three_hubs(&plant).await;
    hubs[0].command(&["kv", "put", "plant/recipe", "12"]).await.unwrap();
    let mut agent = device(&plant, &hubs, "hub").await;
    let publisher = agent.publisher("presses");
    let mut line = Line::new("press-line", LineKind::Presses, false, 1);
    for hub in &mut hubs[..2] {
        hub.process.kill().await.unwrap();
    }
    let last = &hubs[2];
    publisher.publish_from(&mut line, 200).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    let status = agent.settled(LIMIT).await.unwrap();
    assert_eq!(status.hub, last.name(), "acknowledged at level `hub` by the one that is left");
    proved(last, &publisher, &status).await;
    let refused = until("a refusal for want of a quorum", LIMIT, || async {
        match last.command(&["kv", "put", "plant/recipe", "13"]).await {
            Err(error) if error.to_string().contains("no quorum") => Ok(Look::Found(error.to_string())),
            other => Ok(Look::NotYet(format!("{other:?}"))),
        }
    });
    refused.await.unwrap();
    let read = last.command(&["kv", "get", "--local", "plant/recipe", "--json"]).await.unwrap();
    let read: Value = serde_json::from_str(&read).unwrap();
    assert_eq!((&read["kvs"][0]["value"], &read["level"]), (&Value::from("12"), &Value::from("local")));
    assert!(read["age_ms"].as_u64().unwrap() > 0, "{read}");
    for hub in &mut hubs[..2] {
        hub.restart().await.unwrap();
    }
    for hub in &hubs {
        decides(hub).await;
    }
    for hub in &hubs {
        proved(hub, &publisher, &status).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarting_hubs_one_after_the_other_under_load_loses_and_doubles_nothing() {
    let plant = Plant::build().unwrap();
    let mut hubs = three_hubs(&plant).await;
    let mut agent = device(&plant, &hubs, "quorum").await;
    let publisher = Arc::new(agent.publisher("presses"));
    let load = Load::start(&publisher);
    for hub in &mut hubs {
        let acked = agent.status().await.unwrap().ledger.acked;
        agent.until("acks between restarts", LIMIT, |status| status.ledger.acked > acked + 50).await.unwrap();
        hub.command(&["drain", "--wait", "20s"]).await.unwrap();
        assert!(hub.process.terminate().await.unwrap().success());
        hub.restart().await.unwrap();
        hub.complete(3, LIMIT).await.unwrap();
    }
    load.stop().await;
    settled_on(&hubs, &publisher, &mut agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_is_the_third_vote_of_two_hubs_and_keeps_no_readings() {
    let plant = Plant::build().unwrap();
    let options = ClusterOptions { hubs: 2, ..ClusterOptions::default() };
    let mut hubs = Cluster::start(&plant, &options).await.unwrap().hubs;
    let options = HubOptions { name: "witness".into(), witness: true, ..HubOptions::default() };
    let mut witness = Hub::join(&plant, &hubs[0], options).await.unwrap();
    votes(&hubs[0], "witness").await;
    let mut agent = device(&plant, &hubs, "hub").await;
    let publisher = agent.publisher("presses");
    let mut line = Line::new("press-line", LineKind::Presses, false, 1);
    for lost in 0..2 {
        hubs[lost].process.kill().await.unwrap();
        decides(&hubs[1 - lost]).await;
        // The witness ends and comes back, and its vote with it.
        witness.process.kill().await.unwrap();
        witness.restart().await.unwrap();
        decides(&hubs[1 - lost]).await;
        publisher.publish_from(&mut line, 50).await.unwrap();
        publisher.drained(LIMIT).await.unwrap();
        agent.settled(LIMIT).await.unwrap();
        hubs[lost].restart().await.unwrap();
        votes(&hubs[1 - lost], hubs[lost].name()).await;
    }
    settled_on(&hubs, &publisher, &mut agent).await;
    let status = witness.status().await.unwrap();
    assert_eq!(status["records"], 0, "{status}");
    assert!(!witness.data().join("ca/ca.key").exists(), "a witness signs nothing");
}

/// Waits until a hub has a vote and is heard, in the eyes of `hub`.
async fn votes(hub: &Hub, name: &str) {
    until("a vote", LIMIT, || async {
        let seen = hub.members().await?;
        let members = seen["members"].as_array().cloned().unwrap_or_default();
        let found = members.iter().any(|one| {
            let voter = one["role"] == "voter" || one["role"] == "leader";
            one["name"] == name && one["state"] == "member" && one["liveness"] == "alive" && voter
        });
        Ok(if found { Look::Found(()) } else { Look::NotYet(seen.to_string()) })
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_majority_is_left_behind_and_the_last_hub_goes_on_with_everything() {
    let plant = Plant::build().unwrap();
    let mut hubs = three_hubs(&plant).await;
    hubs[1].command(&["kv", "put", "plant/recipe", "12"]).await.unwrap();
    let mut agent = device(&plant, &hubs, "quorum").await;
    let publisher = agent.publisher("presses");
    let mut line = Line::new("press-line", LineKind::Presses, false, 1);
    publisher.publish_from(&mut line, 300).await.unwrap();
    settled_on(&hubs, &publisher, &mut agent).await;
    for hub in &mut hubs {
        hub.process.kill().await.unwrap();
    }
    let last = &mut hubs[2];
    assert!(last.command(&["force-new-cluster"]).await.is_err(), "it wants to be sure");
    last.command(&["force-new-cluster", "--yes"]).await.unwrap();
    last.restart().await.unwrap();
    assert_eq!(last.command(&["kv", "get", "plant/recipe"]).await.unwrap().trim(), "12");
    last.complete(1, LIMIT).await.unwrap();
    publisher.publish_from(&mut line, 100).await.unwrap();
    settled_on([&*last], &publisher, &mut agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_becomes_a_new_cluster_and_devices_send_again_what_it_lacks() {
    let plant = Plant::build().unwrap();
    let mut hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
    hub.command(&["kv", "put", "plant/recipe", "12"]).await.unwrap();
    let road = plant.road(&hub).await.unwrap();
    // An agent keeps what was acknowledged for an hour unless it is told otherwise.
    let options = AgentOptions::new("press-line", road.addr());
    let mut agent = Agent::start(&plant, &hub, options).await.unwrap();
    let publisher = agent.publisher("presses");
    let mut line = Line::new("press-line", LineKind::Presses, false, 1);
    publisher.publish_from(&mut line, 200).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    agent.settled(LIMIT).await.unwrap();
    let backup = plant.directory().join("backup");
    let backup = backup.to_str().unwrap();
    hub.command(&["backup", backup]).await.unwrap();
    hub.command(&["backup", "--check", backup]).await.unwrap();
    // What comes now is in no backup.
    publisher.publish_from(&mut line, 200).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    agent.settled(LIMIT).await.unwrap();
    hub.process.kill().await.unwrap();
    std::fs::remove_dir_all(hub.data()).unwrap();
    hub.command(&["restore", "--from", backup]).await.unwrap();
    hub.restart().await.unwrap();
    assert_eq!(hub.command(&["kv", "get", "plant/recipe"]).await.unwrap().trim(), "12");
    let status = hub.status().await.unwrap();
    let epoch = status.pointer("/epoch").and_then(Value::as_u64).unwrap();
    assert!(epoch > 1_700_000_000, "the second in which it began: {status}");
    publisher.publish_from(&mut line, 100).await.unwrap();
    let exhibit = Exhibit::gather(&hub, &mut agent, &[&publisher], LIMIT).await.unwrap();
    let proof = Proof::of(&[exhibit]);
    proof.must_hold();
    assert_eq!(proof.devices[0].published, 500);
}
