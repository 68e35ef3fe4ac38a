//! Receipts: real daemons compare what they have over mutual TLS, both sign, and anybody with the CA's certificate can check it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_demo::patience::{Look, until};
use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{Agent, AgentOptions, Cluster, ClusterOptions, Hub, HubOptions, Plant, Publisher};
use serde_json::{Value, json};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);

/// How a command ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// What it printed, when it ended as it should.
    fn with(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self.out
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

async fn ended(program: &Path, words: &[&str]) -> Ended {
    let output = Command::new(program).args(words).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The receipt with this part of it changed.
fn changed(receipt: &Path, pointer: &str, to: Value) -> PathBuf {
    let mut whole: Value = serde_json::from_slice(&std::fs::read(receipt).unwrap()).unwrap();
    let part = whole.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not in {receipt:?}"));
    assert_ne!(*part, to);
    *part = to;
    let path = receipt.with_extension("changed.json");
    std::fs::write(&path, whole.to_string()).unwrap();
    path
}

struct Site {
    plant: Plant,
    hub: Hub,
    agent: Agent,
    publisher: Publisher,
    line: Line,
}

impl Site {
    async fn start(options: impl FnOnce(AgentOptions) -> AgentOptions) -> Self {
        let plant = Plant::build().unwrap();
        let hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
        let options = options(AgentOptions::new("press-line", hub.quic()));
        let mut agent = Agent::start(&plant, &hub, options).await.unwrap();
        agent.online(LIMIT).await.unwrap();
        let publisher = agent.publisher("presses");
        let line = Line::new("press-line", LineKind::Presses, false, 11);
        Self { plant, hub, agent, publisher, line }
    }

    async fn publish(&mut self, count: usize) {
        self.publisher.publish_from(&mut self.line, count).await.unwrap();
        self.publisher.drained(LIMIT).await.unwrap();
    }

    async fn against_hub(&self, more: &[&str]) -> Ended {
        let words = ["verify", "--against-hub", "--data", text(self.agent.data()), "--json"];
        ended(&self.plant.programs().agent, &[&words, more].concat()).await
    }

    async fn checked(&self, receipt: &Path, more: &[&str]) -> Ended {
        let words = ["verify-receipt", text(receipt), "--data", text(self.agent.data())];
        ended(&self.plant.programs().agent, &[&words, more].concat()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_and_its_hub_sign_a_receipt_that_holds_until_anything_in_it_is_changed() {
    let mut site = Site::start(|options| options).await;
    site.publish(1_500).await;
    site.agent.settled(LIMIT).await.unwrap();
    let receipt = site.plant.directory().join("receipt.json");
    let found = site.against_hub(&["-o", text(&receipt)]).await;
    let answer = found.json();
    assert_eq!(
        (found.code, &answer["equal"], &answer["not_compared"]),
        (0, &json!(true), &json!(0)),
        "{answer:#}"
    );
    let records: u64 =
        answer["journals"].as_array().unwrap().iter().filter_map(|row| row["count"].as_u64()).sum();
    // The reading of each machine, and what the agent itself notes of its start.
    assert!(records >= 1_500, "{answer:#}");

    let page = site.checked(&receipt, &[]).await.with(0);
    assert!(
        page.contains("device press-line")
            && page.contains("hub hub (")
            && page.contains("the receipt holds")
    );
    let ca = site.hub.data().join("identity/ca.pem");
    site.checked(&receipt, &["--ca", text(&ca), "--json"]).await.with(0);
    let hub = &site.plant.programs().hub;
    let by_the_hub = ["verify-receipt", text(&receipt), "--data", text(site.hub.data())];
    assert!(ended(hub, &by_the_hub).await.with(0).contains("the receipt holds"));

    for (pointer, to) in [
        ("/statement/about/journals/0/count", json!(0)),
        ("/statement/about/journals/0/tail", json!("0000000000000000")),
        ("/statement/about/journals/0/journal/lane", json!("bulk")),
        ("/statement/holders/1/at_us", json!(1_900_000_000_000_000_u64)),
        ("/statement/left_out", json!(1)),
        ("/signatures/0/signature", json!("30060201010201ff")),
    ] {
        let broken = site.checked(&changed(&receipt, pointer, to), &["--json"]).await;
        assert_eq!((broken.code, &broken.json()["holds"]), (65, &json!(false)), "{pointer}: {}", broken.err);
    }
    std::fs::write(site.plant.directory().join("letter"), "Dear \u{1b}[2J all").unwrap();
    let letter = site.checked(&site.plant.directory().join("letter"), &[]).await;
    assert!(letter.code == 65 && letter.err.contains("not a receipt") && !letter.err.contains('\u{1b}'));

    // The CA of another cluster.
    let stranger = site.plant.directory().join("stranger");
    let init =
        ["init", "--data", text(&stranger), "--name", "x", "--region", "y", "--address", "127.0.0.1:9"];
    ended(hub, &init).await.with(0);
    let foreign = site.checked(&receipt, &["--ca", text(&stranger.join("identity/ca.pem"))]).await;
    assert!(foreign.code == 65 && foreign.err.contains("not issued by this CA"), "{}", foreign.err);
    let absent = site.checked(&receipt, &["--ca", "/nowhere/ca.pem"]).await;
    assert_eq!(absent.code, 78, "{}", absent.err);

    site.hub.process.kill().await.unwrap();
    site.agent.until("the end of the session", LIMIT, |status| !status.is_online()).await.unwrap();
    let alone = site.against_hub(&[]).await;
    assert!(alone.code == 69 && alone.err.contains("no session"), "{} {}", alone.code, alone.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_on_their_way_are_no_difference() {
    let mut site = Site::start(|options| options.with("uplink", json!({ "rate": "4KiB/s" }))).await;
    site.publish(3_000).await;
    let found = site.against_hub(&["--wait", "0s"]).await;
    let answer = found.json();
    assert_eq!(
        (found.code, &answer["on_the_way"], &answer["equal"]),
        (75, &json!(true), &json!(false)),
        "{answer:#}"
    );
    assert!(found.err.contains("on their way"), "{}", found.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_made_while_readings_go_on() {
    let mut site = Site::start(|options| options).await;
    site.publish(200).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = {
        let (stop, publisher) = (Arc::clone(&stop), site.agent.publisher("more"));
        tokio::spawn(async move {
            let mut line = Line::new("press-line", LineKind::Robots, true, 12);
            while !stop.load(Ordering::Relaxed) {
                publisher.publish_from(&mut line, 20).await.unwrap();
                publisher.drained(LIMIT).await.unwrap();
            }
        })
    };
    let found = site.against_hub(&["--wait", "30s"]).await;
    stop.store(true, Ordering::Relaxed);
    publishing.await.unwrap();
    assert_eq!(found.code, 0, "{:#}\n{}", found.json(), found.err);
    assert!(!found.json()["receipt"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_sign_a_receipt_over_all_that_both_keep() {
    let plant = Plant::build().unwrap();
    let mut hubs = Cluster::start(&plant, &ClusterOptions::default()).await.unwrap().hubs;
    let roads: Vec<_> = hubs.iter().map(Hub::quic).collect();
    let options = AgentOptions::among("press-line", &roads, "", "quorum");
    let mut agent = Agent::start(&plant, &hubs[0], options).await.unwrap();
    agent.online(LIMIT).await.unwrap();
    let publisher = agent.publisher("presses");
    publisher.publish_from(&mut Line::new("press-line", LineKind::Presses, false, 3), 1_200).await.unwrap();
    publisher.drained(LIMIT).await.unwrap();
    agent.settled(LIMIT).await.unwrap();
    let (receipt, program) = (plant.directory().join("receipt.json"), plant.programs().hub.clone());
    let peer = hubs[1].name().to_owned();
    let words = ["verify", "--peer", &peer, "--data", text(hubs[0].data()), "--json", "-o", text(&receipt)];
    // A cluster that has just begun may still be filling its stores.
    let answer = until("a receipt", LIMIT, || async {
        let found = ended(&program, &words).await;
        Ok(if found.code == 0 { Look::Found(found.json()) } else { Look::NotYet(found.out + &found.err) })
    })
    .await
    .unwrap();
    assert_eq!((&answer["all_equal"], &answer["differing"]), (&json!(true), &json!([])), "{answer:#}");
    let statement = &answer["receipt"]["statement"];
    let count = &statement["about"]["partitions"]["counts"][0]["records"];
    assert!(count.as_u64().unwrap() >= 1_200 && statement["left_out"] == 0, "{statement:#}");
    for hub in &hubs {
        let words = ["verify-receipt", text(&receipt), "--data", text(hub.data())];
        assert!(ended(&program, &words).await.with(0).contains("the receipt holds"));
    }
    let broken = changed(&receipt, "/statement/about/partitions/counts/1/records", json!(1));
    ended(&program, &["verify-receipt", text(&broken), "--data", text(hubs[0].data())]).await.with(65);

    let unknown = ended(&program, &["verify", "--peer", "nobody", "--data", text(hubs[0].data())]).await;
    assert!(unknown.code == 64 && unknown.err.contains("no other hub is called"), "{}", unknown.err);
    hubs[1].process.kill().await.unwrap();
    let alone = ended(&program, &["verify", "--peer", &peer, "--data", text(hubs[0].data())]).await;
    assert_eq!(alone.code, 69, "{}", alone.err);
}
