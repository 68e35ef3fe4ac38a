//! A new disk: a device gets back its identity and its history, and the machine with the old disk is refused; a hub fills itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use millrace_demo::patience::{Look, until};
use millrace_demo::plant::copy;
use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{Agent, AgentOptions, Cluster, ClusterOptions, Hub, HubOptions, Plant, PlantError};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const NAME: &str = "press-line";

/// Records by journal and number, as `query --json` shows them: topic and payload.
type Contents = BTreeMap<(String, String, u64), (String, String)>;

struct Scene {
    plant: Plant,
    hub: Hub,
    agent: Agent,
    line: Line,
    options: AgentOptions,
}

fn program(plant: &Plant, arguments: &[&str]) -> (bool, String) {
    let out = Command::new(&plant.programs().agent).args(arguments).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.success(), said)
}

impl Scene {
    /// An agent that has published, and whose hub has all of it.
    async fn start(options: AgentOptions, published: usize) -> Self {
        let plant = Plant::build().unwrap();
        let hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
        let options = options.with("hub", json!({ "addresses": [hub.quic().to_string()], "follow": false }));
        let agent = Agent::start(&plant, &hub, options.clone()).await.unwrap();
        let line = Line::new(NAME, LineKind::Presses, false, 9);
        let mut scene = Self { plant, hub, agent, line, options };
        scene.publish(published).await;
        scene
    }

    async fn publish(&mut self, count: usize) {
        let publisher = self.agent.publisher("presses");
        publisher.publish_from(&mut self.line, count).await.unwrap();
        publisher.drained(LIMIT).await.unwrap();
        self.agent.settled(LIMIT).await.unwrap();
    }

    fn data(&self) -> &str {
        self.agent.data().to_str().unwrap()
    }

    /// Everything on the agent's disk.
    fn contents(&self) -> Contents {
        let (mut rows, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
        loop {
            let mut arguments = vec!["query", "--data", self.data(), "--limit", "10000", "--json"];
            arguments.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor.as_str()]));
            let (ok, said) = program(&self.plant, &arguments);
            assert!(ok, "{said}");
            let page: Value = serde_json::from_str(&said).unwrap();
            rows.extend(page["records"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let of = |row: &Value| {
            let seq = row["seq"].as_u64().unwrap();
            let payload = ["payload", "text", "base64"].map(|key| row[key].to_string()).join(" ");
            ((text(row, "incarnation"), text(row, "lane"), seq), (text(row, "topic"), payload))
        };
        rows.iter().map(of).collect()
    }

    async fn token(&self) -> String {
        self.hub.command(&["token", "create", "--replace", NAME]).await.unwrap()
    }

    /// The disk is lost, and a new one takes its place; where a copy of the old one is.
    async fn new_disk(&mut self) -> PathBuf {
        assert!(self.agent.process.terminate().await.unwrap().success());
        let aside = self.plant.directory().join("old-disk");
        copy(self.agent.data(), &aside).unwrap();
        std::fs::remove_dir_all(self.agent.data()).unwrap();
        let token = self.token().await;
        let (ok, said) =
            program(&self.plant, &["enroll", "--replace", NAME, "--token", &token, "--data", self.data()]);
        assert!(ok && said.contains("took the place"), "{said}");
        aside
    }

    /// `restore --json --wait`.
    fn restored(&self) -> Value {
        let (ok, said) = program(&self.plant, &["restore", "--data", self.data(), "--wait", "60s", "--json"]);
        assert!(ok, "{said}");
        serde_json::from_str(&said).unwrap()
    }

    async fn alarms(&self) -> String {
        self.hub.status().await.unwrap()["alarms"].to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_a_new_disk_has_its_history_again_and_the_old_disk_is_refused() {
    let mut scene = Scene::start(AgentOptions::new(NAME, "127.0.0.1:1".parse().unwrap()), 2_500).await;
    let (before, known) = (scene.contents(), scene.agent.status().await.unwrap());
    let aside = scene.new_disk().await;
    scene.agent.restart().await.unwrap();
    let restored = scene.restored();
    assert_eq!(restored["state"], "done", "{restored}");
    let after = scene.contents();
    for (key, record) in &before {
        assert_eq!(after.get(key), Some(record), "{key:?} is back as it was");
    }
    // New readings go on under a new incarnation of the same device.
    scene.publish(300).await;
    let now = scene.agent.status().await.unwrap();
    assert_eq!((&now.device, &now.name), (&known.device, &known.name));
    assert_ne!(now.incarnation, known.incarnation);
    assert!(now.balanced && now.ledger.evicted == 0);
    scene.agent.verify().await.unwrap();
    let inventory = scene.hub.inventory_of(&known.device).await.unwrap();
    assert_eq!(inventory.data().count(), 2_800, "nothing is doubled at the hub");

    // The old disk comes back to life in another machine.
    let mut former = Agent::at(&scene.plant, aside, scene.options.clone()).unwrap();
    former.restart().await.unwrap();
    former
        .until("to be refused", LIMIT, |status| status.session == "offline" && status.trouble.is_some())
        .await
        .unwrap();
    let trouble = former.status().await.unwrap().trouble.unwrap();
    assert!(trouble.contains("evoked"), "{trouble}");
    former.process.kill().await.unwrap();
    let alarms = scene.alarms().await;
    assert!(alarms.contains("replaced"), "{alarms}");
    assert!(!alarms.contains("cloned") && !alarms.contains("forked"), "{alarms}");
    scene.agent.online(LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_while_its_history_comes_back_goes_on_where_it_was() {
    // A road on which it takes a while.
    let options =
        AgentOptions::new(NAME, "127.0.0.1:1".parse().unwrap()).with("uplink", json!({ "rate": "64KiB/s" }));
    let mut scene = Scene::start(options, 6_000).await;
    let before = scene.contents();
    let _aside = scene.new_disk().await;
    let mut kills = 0;
    for _ in 0..4 {
        scene.agent.restart().await.unwrap();
        let came = scene.agent.status().await.unwrap().restoring.records;
        scene
            .agent
            .until("more of the history", LIMIT, |status| {
                status.restoring.records > came || status.restoring.state == "done"
            })
            .await
            .unwrap();
        if scene.agent.status().await.unwrap().restoring.state == "done" {
            break;
        }
        scene.agent.process.kill().await.unwrap();
        kills += 1;
    }
    if !scene.agent.process.is_running() {
        scene.agent.restart().await.unwrap();
    }
    let restored = scene.restored();
    println!("{kills} kills; {restored}");
    assert!(kills > 0, "it was over before it could be killed");
    let after = scene.contents();
    assert!(before.iter().all(|(key, record)| after.get(key) == Some(record)));
    let status = scene.agent.settled(LIMIT).await.unwrap();
    assert!(status.balanced && status.ledger.evicted == 0, "{status:?}");
    scene.agent.verify().await.unwrap();
    let inventory = scene.hub.inventory_of(&status.device).await.unwrap();
    assert_eq!(inventory.data().count(), 6_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_and_an_agent_that_do_not_mean_the_same_are_told_what_fits() {
    let scene = Scene::start(AgentOptions::new(NAME, "127.0.0.1:1".parse().unwrap()), 10).await;
    let directory = scene.plant.directory().join("another");
    let at = directory.to_str().unwrap();
    let fresh = scene.hub.token("press-8").await.unwrap();
    let (ok, said) = program(&scene.plant, &["enroll", "--replace", NAME, "--token", &fresh, "--data", at]);
    assert!(!ok && said.contains("--replace press-line"), "{said}");
    let token = scene.token().await;
    let (ok, said) =
        program(&scene.plant, &["enroll", "--replace", "press-8", "--token", &token, "--data", at]);
    assert!(!ok && said.contains("`press-line`"), "{said}");
    let nobody = scene.hub.command(&["token", "create", "--replace", "press-9"]).await;
    let error = nobody.map_err(|error: PlantError| error.to_string()).unwrap_err();
    assert!(error.contains("press-9"), "{error}");
    // Without --replace the token works, and says what it did.
    let (ok, said) = program(&scene.plant, &["enroll", "--token", &token, "--data", at, "--json"]);
    assert!(ok, "{said}");
    let enrolled: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&enrolled["replaced"], &enrolled["name"]), (&json!(true), &json!(NAME)));
    assert_eq!(enrolled["device"], json!(scene.agent.status().await.unwrap().device));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_killed_while_it_fills_a_new_disk_goes_on_and_has_everything() {
    let plant = Plant::build().unwrap();
    let mut hubs = Cluster::start(&plant, &ClusterOptions::default()).await.unwrap().hubs;
    let roads: Vec<_> = hubs.iter().map(Hub::quic).collect();
    let options = AgentOptions::among(NAME, &roads, "", "quorum");
    let mut agent = Agent::start(&plant, &hubs[0], options).await.unwrap();
    agent.online(LIMIT).await.unwrap();
    let publisher = agent.publisher("presses");
    let mut line = Line::new(NAME, LineKind::Presses, false, 9);
    publisher.publish_from(&mut line, 5_000).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    let device = agent.settled(LIMIT).await.unwrap().device;
    let mut gone = hubs.pop().unwrap();
    gone.process.kill().await.unwrap();
    let other = &hubs[0];
    until("a majority without it", LIMIT, || async {
        match other.command(&["kv", "put", "test/decides", "yes"]).await {
            Ok(_) => Ok(Look::Found(())),
            Err(error) => Ok(Look::NotYet(error.to_string())),
        }
    })
    .await
    .unwrap();
    gone.replace(other).await.unwrap();
    let mut in_the_middle = 0;
    for _ in 0..3 {
        // It may be full for as long as it is to keep nothing.
        let seen = other.members().await.unwrap();
        let has_all = |member: &Value| {
            member["name"] == gone.name()
                && (&member["state"], &member["filled"]) == (&json!("member"), &json!("full"))
                && member["partitions"] == 256
        };
        in_the_middle += u32::from(!seen["members"].as_array().unwrap().iter().any(has_all));
        gone.process.kill().await.unwrap();
        gone.restart().await.unwrap();
    }
    assert!(in_the_middle > 0, "it had everything before it could be killed");
    gone.complete(3, LIMIT).await.unwrap();
    let all = other.inventory_of(&device).await.unwrap().data().count();
    assert_eq!(gone.kept_of(&device).await.unwrap().data().count(), all);
    assert_eq!(all, 5_000);
    assert!(gone.process.terminate().await.unwrap().success());
    gone.verify().await.unwrap();
}
