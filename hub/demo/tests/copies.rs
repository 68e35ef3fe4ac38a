//! Copies: a directory that was restored from an old backup, and two machines with one identity.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::path::Path;
use std::time::Duration;

use millrace_demo::plant::copy;
use millrace_demo::proof::Exhibit;
use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{Agent, AgentOptions, Hub, HubOptions, Plant, Proof, Publisher, Tally};

const LIMIT: Duration = Duration::from_secs(30);

fn restore(backup: &Path, data: &Path) {
    std::fs::remove_dir_all(data).unwrap();
    copy(backup, data).unwrap();
}

async fn alarms(hub: &Hub) -> String {
    hub.status().await.unwrap()["alarms"].to_string()
}

struct Scene {
    plant: Plant,
    hub: Hub,
    agent: Agent,
    publisher: Publisher,
    line: Line,
}

impl Scene {
    async fn start() -> Self {
        let plant = Plant::build().unwrap();
        let hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
        let agent = Agent::start(&plant, &hub, AgentOptions::new("press-line", hub.quic())).await.unwrap();
        let publisher = agent.publisher("presses");
        let line = Line::new("press-line", LineKind::Presses, false, 9);
        Self { plant, hub, agent, publisher, line }
    }

    async fn publish(&mut self, count: usize) {
        self.publisher.publish_from(&mut self.line, count).await.unwrap();
        self.publisher.drained(LIMIT).await.unwrap();
    }

    async fn proven(&mut self) -> Exhibit {
        let exhibit = Exhibit::gather(&self.hub, &mut self.agent, &[&self.publisher], LIMIT).await.unwrap();
        Proof::of(std::slice::from_ref(&exhibit)).must_hold();
        exhibit
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_copy_is_detected_and_nothing_is_lost_or_doubled() {
    let mut scene = Scene::start().await;
    scene.publish(1_500).await;
    scene.agent.settled(LIMIT).await.unwrap();
    assert!(scene.agent.process.terminate().await.unwrap().success());
    let backup = scene.plant.directory().join("backup");
    copy(scene.agent.data(), &backup).unwrap();
    scene.agent.restart().await.unwrap();
    scene.publish(500).await;
    let before = scene.agent.settled(LIMIT).await.unwrap();
    assert!(scene.agent.process.terminate().await.unwrap().success());
    restore(&backup, scene.agent.data());
    scene.agent.restart().await.unwrap();
    // What it writes now would have the numbers of the 500 that it forgot.
    scene.publish(800).await;
    let exhibit = scene.proven().await;
    assert_ne!(exhibit.status.incarnation, before.incarnation, "a new life began");
    assert_eq!(exhibit.inventory.data().count(), 2_800);
    let alarms = alarms(&scene.hub).await;
    assert!(alarms.contains("rolled-back") || alarms.contains("forked"), "{alarms}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_copy_wrote_while_offline_is_kept_beside_what_it_forgot() {
    let mut scene = Scene::start().await;
    scene.publish(200).await;
    assert!(scene.agent.process.terminate().await.unwrap().success());
    let backup = scene.plant.directory().join("backup");
    copy(scene.agent.data(), &backup).unwrap();
    scene.agent.restart().await.unwrap();
    scene.publish(300).await;
    scene.agent.settled(LIMIT).await.unwrap();
    assert!(scene.agent.process.terminate().await.unwrap().success());
    restore(&backup, scene.agent.data());
    // The hub is not there: the agent cannot know yet, and takes readings under numbers that are taken.
    scene.hub.process.kill().await.unwrap();
    scene.agent.restart().await.unwrap();
    scene.publish(900).await;
    scene.hub.restart().await.unwrap();
    let exhibit = scene.proven().await;
    assert_eq!(exhibit.inventory.data().count(), 1_400);
    assert!(exhibit.inventory.incarnations().len() >= 2, "{:?}", exhibit.inventory.incarnations());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clones_online_at_once_keep_both_branches_and_raise_an_alarm() {
    let mut scene = Scene::start().await;
    scene.publish(300).await;
    let identity = scene.agent.settled(LIMIT).await.unwrap().device;
    assert!(scene.agent.process.terminate().await.unwrap().success());
    let twin_data = scene.plant.data("twin");
    copy(scene.agent.data(), &twin_data).unwrap();
    let options = AgentOptions::new("twin", scene.hub.quic());
    let mut twin = Agent::at(&scene.plant, twin_data, options).unwrap();
    scene.agent.restart().await.unwrap();
    twin.restart().await.unwrap();
    let mut twin_line = Line::new("twin", LineKind::Robots, false, 10);
    let twin_publisher = twin.publisher("robots");
    for _ in 0..5 {
        scene.publish(200).await;
        twin_publisher.publish_from(&mut twin_line, 200).await.unwrap();
        twin_publisher.drained(LIMIT).await.unwrap();
    }
    let (mine, other) = (scene.agent.settled(LIMIT).await.unwrap(), twin.settled(LIMIT).await.unwrap());
    assert_eq!((&mine.device, &other.device), (&identity, &identity));
    assert_ne!(mine.incarnation, other.incarnation, "they write to different journals now");
    let exhibit = Exhibit {
        name: "both".into(),
        tally: Tally::default().with(scene.publisher.tally()).with(twin_publisher.tally()),
        outstanding: 0,
        status: mine,
        inventory: scene.hub.inventory_of(&identity).await.unwrap(),
    };
    Proof::of(&[exhibit]).must_hold();
    let alarms = alarms(&scene.hub).await;
    assert!(alarms.contains("forked") || alarms.contains("cloned"), "{alarms}");
}
