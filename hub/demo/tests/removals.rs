//! Hub processes that are removed from their cluster, that lose their store while nobody decides, and that only vote: what they say of
//! themselves, and what they no longer do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::time::Duration;

use millrace_demo::patience::{Look, until};
use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{Agent, AgentOptions, Cluster, ClusterOptions, Hub, HubOptions, Plant};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

async fn hubs(plant: &Plant, count: usize) -> Vec<Hub> {
    let options = ClusterOptions { hubs: count, ..ClusterOptions::default() };
    Cluster::start(plant, &options).await.unwrap().hubs
}

/// Waits until `hub` says that it was removed, and has no session any more.
async fn lost(hub: &Hub) {
    until("a hub to notice that it was removed", LIMIT, || async {
        let status = hub.status().await?;
        let problem = status["problem"].as_str().unwrap_or_default();
        let noticed = problem.contains("removed from its cluster") && status["sessions"] == 0;
        assert!(!noticed || status["ready"] == false, "{status}");
        Ok(if noticed { Look::Found(()) } else { Look::NotYet(status.to_string()) })
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_was_removed_acks_nothing_more_whether_it_ran_meanwhile_or_not() {
    let plant = Plant::build().unwrap();
    let mut hubs = hubs(&plant, 3).await;
    // All that this agent knows is the hub that goes.
    let options = AgentOptions::among("press-line", &[hubs[2].quic()], "", "hub");
    let mut agent = Agent::start(&plant, &hubs[2], options).await.unwrap();
    agent.online(LIMIT).await.unwrap();
    let publisher = agent.publisher("presses");
    let mut line = Line::new("press-line", LineKind::Presses, false, 1);
    publisher.publish_from(&mut line, 20).await.unwrap();
    agent.settled(LIMIT).await.unwrap();

    hubs[0].command(&["members", "remove", "hub-3"]).await.unwrap();
    lost(&hubs[2]).await;
    let acked = agent.status().await.unwrap().ledger.acked;
    publisher.publish_from(&mut line, 20).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    assert_eq!(agent.status().await.unwrap().ledger.acked, acked, "the agent keeps them");

    hubs[2].process.kill().await.unwrap();
    hubs[2].restart().await.unwrap();
    lost(&hubs[2]).await;
    let status = agent.status().await.unwrap();
    assert!(status.ledger.acked == acked && status.ledger.pending > 0, "{status:?}");
    let metrics = hubs[2].metrics().await.unwrap();
    assert!(metrics.contains("millrace_hub_cluster_lost 1"), "{metrics}");
    assert!(hubs[2].command(&["status", "--wait", "1s"]).await.is_err());
    let log = std::fs::read_to_string(hubs[2].process.log()).unwrap();
    let said = log.lines().filter(|line| line.contains("ERROR") && line.contains("removed from its cluster"));
    assert_eq!(said.count(), 2, "once for each process: {log}");
    assert_eq!(hubs[0].status().await.unwrap()["ready"], true, "the others go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_lost_its_store_while_nobody_decides_does_not_say_that_it_has_everything() {
    let plant = Plant::build().unwrap();
    let mut hubs = hubs(&plant, 3).await;
    for hub in &mut hubs {
        hub.process.kill().await.unwrap();
    }
    let first = &mut hubs[0];
    for name in ["journal.db", "journal.db-wal", "journal.db-shm", "journal.db-reserve"] {
        // Not all of them have to be there.
        let _ = std::fs::remove_file(first.data().join(name));
    }
    first.restart().await.unwrap();
    let answer: Value = serde_json::from_str(&first.command(&["query", "--json"]).await.unwrap()).unwrap();
    assert_eq!(
        (&answer["records"], &answer["complete"]),
        (&Value::from([(); 0].as_slice()), &Value::from(false))
    );
    assert_eq!(first.status().await.unwrap()["filled"], "empty");
    let members = first.members().await.unwrap();
    let shown: Vec<&Value> =
        members["members"].as_array().unwrap().iter().filter(|row| row["me"] == true).collect();
    assert_eq!((shown.len(), &shown[0]["filled"]), (1, &Value::from("empty")), "{members}");
    assert_eq!((&shown[0]["connected"], &shown[0]["draining"]), (&Value::from(true), &Value::from(false)));
    let text = first.command(&["members"]).await.unwrap();
    assert!(text.contains("hub-1 (this)"), "{text}");
    for hub in &mut hubs[1..] {
        hub.restart().await.unwrap();
    }
    hubs[0].complete(3, LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_votes_is_well_and_ready_for_no_agents() {
    let plant = Plant::build().unwrap();
    let first = Hub::start(&plant, HubOptions::default()).await.unwrap();
    let options = HubOptions { name: "witness".into(), witness: true, ..HubOptions::default() };
    let witness = Hub::join(&plant, &first, options).await.unwrap();
    let shown = witness.command(&["status", "--wait", "60s"]).await.unwrap();
    assert!(shown.contains("votes, as a witness"), "{shown}");
    let status = witness.status().await.unwrap();
    assert_eq!((&status["ready"], &status["working"]), (&Value::from(false), &Value::from(true)), "{status}");
    let log = std::fs::read_to_string(witness.process.log()).unwrap();
    assert!(!log.contains("not well"), "{log}");
}
