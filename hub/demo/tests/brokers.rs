//! Brokers and publishers that are not ours: Debian's mosquitto beside the agent, mosquitto_pub at both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use millrace_demo::patience::{Look, until};
use millrace_demo::proof::Exhibit;
use millrace_demo::publication::fingerprint;
use millrace_demo::tally::Entry;
use millrace_demo::{
    Agent, AgentOptions, Body, Fate, Hub, HubOptions, Plant, Proof, Publication, Stamp, Tally, address, http,
};
use rumqttc::QoS;
use serde_json::{Map, Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const LEVELS: [(QoS, &str); 3] = [(QoS::AtMostOnce, "0"), (QoS::AtLeastOnce, "1"), (QoS::ExactlyOnce, "2")];

/// The path of a program that Debian's packages mosquitto and mosquitto-clients bring.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = places.map(|place| place.join(name)).find(|place| place.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: apt-get install mosquitto mosquitto-clients"))
}

/// A mosquitto with persistent sessions, ended with its test.
struct Mosquitto {
    child: Child,
    address: SocketAddr,
}

impl Mosquitto {
    async fn start(directory: &Path) -> Self {
        let (address, config) = (address::free().unwrap(), directory.join("mosquitto.conf"));
        let text = format!(
            "listener {} {}\nallow_anonymous true\npersistence true\npersistence_location {}/\nuser {}\n\
             max_queued_messages 0\n",
            address.port(),
            address.ip(),
            directory.display(),
            user(),
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(directory.join("mosquitto.log")).unwrap();
        let mut command = Command::new(program("mosquitto"));
        let child =
            command.arg("-c").arg(&config).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        until("mosquitto's socket", LIMIT, || async {
            Ok(match tokio::net::TcpStream::connect(address).await {
                Ok(_) => Look::Found(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await
        .unwrap();
        Self { child, address }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// mosquitto gives up root for another user unless told otherwise, who may not write to the plant's directory.
fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Publishes `count` readings with `mosquitto_pub` and counts them: it exits only after the last answer.
fn publish(broker: SocketAddr, version: &str, (qos, level): (QoS, &str), source: &str, count: u64) -> Tally {
    let topic = format!("plant/hall/{source}/telemetry");
    let mut tally = Tally::default();
    let mut lines = String::new();
    for number in 1..=count {
        let values: Map<String, Value> = [("kw".to_owned(), json!(number))].into_iter().collect();
        let stamp = Stamp { source: source.into(), number, attempt: 1 };
        let reading = Publication { topic: topic.clone(), qos, stamp, body: Body::Json(values) };
        let payload = reading.payload();
        let entry = Entry { qos, fate: Fate::Acknowledged, fingerprint: fingerprint(&topic, &payload) };
        tally.entries.insert(reading.stamp, entry);
        lines.push_str(&String::from_utf8(payload).unwrap());
        lines.push('\n');
    }
    let (host, port) = (broker.ip().to_string(), broker.port().to_string());
    let mut child = Command::new(program("mosquitto_pub"))
        .args(["-h", &host, "-p", &port, "-V", version, "-q", level, "-t", &topic, "-l"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "mosquitto_pub at QoS {level}");
    tally
}

async fn subscribed(agent: &Agent) {
    until("the agent's session at the broker", LIMIT, || async {
        let page: Value = http::json(agent.http(), "/status").await?;
        let connected = page["mqtt"]["connected"] == true;
        Ok(if connected { Look::Found(()) } else { Look::NotYet(page["mqtt"].to_string()) })
    })
    .await
    .unwrap();
}

async fn arrived(hub: &Hub, agent: &Agent, tally: &Tally) {
    let device = agent.status().await.unwrap().device;
    until("every publication at the hub", LIMIT, || async {
        let inventory = hub.inventory_of(&device).await?;
        let (found, wanted) = (inventory.data().count(), tally.entries.len());
        Ok(if found >= wanted { Look::Found(()) } else { Look::NotYet(format!("{found} of {wanted}")) })
    })
    .await
    .unwrap();
}

async fn prove(hub: &Hub, agent: &mut Agent, tally: Tally) {
    arrived(hub, agent, &tally).await;
    let exhibit = Exhibit::gather(hub, agent, &[], LIMIT).await.unwrap();
    for record in exhibit.inventory.data() {
        let entry = record.stamp.as_ref().and_then(|stamp| tally.entries.get(stamp)).unwrap();
        assert_eq!(record.qos, millrace_demo::book::level(entry.qos), "{record:?}");
    }
    Proof::of(&[Exhibit { tally, ..exhibit }]).must_hold();
}

async fn through_mosquitto(version: &str) {
    let plant = Plant::build().unwrap();
    let mosquitto = Mosquitto::start(plant.directory()).await;
    let hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
    let road = plant.road(&hub).await.unwrap();
    let url = format!("mqtt://{}", mosquitto.address);
    let options =
        AgentOptions::new("hall", road.addr()).with("mqtt", json!({ "broker": url, "version": version }));
    let mut agent = Agent::start(&plant, &hub, options).await.unwrap();
    subscribed(&agent).await;
    let mut tally = Tally::default();
    for level in LEVELS {
        let source = format!("live-q{}", level.1);
        tally = tally.with(publish(mosquitto.address, "mqttv311", level, &source, 200));
    }
    arrived(&hub, &agent, &tally).await;
    // The session at the broker outlives the agent: what is published meanwhile waits there.
    agent.process.kill().await.unwrap();
    for level in &LEVELS[1..] {
        let source = format!("meanwhile-q{}", level.1);
        tally = tally.with(publish(mosquitto.address, "mqttv5", *level, &source, 200));
    }
    agent.restart().await.unwrap();
    prove(&hub, &mut agent, tally).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_hands_every_qos_to_the_agent_over_mqtt_3() {
    through_mosquitto("3.1.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_hands_every_qos_to_the_agent_over_mqtt_5() {
    through_mosquitto("5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_serves_mosquitto_pub_at_every_qos_and_version() {
    let plant = Plant::build().unwrap();
    let hub = Hub::start(&plant, HubOptions::default()).await.unwrap();
    let road = plant.road(&hub).await.unwrap();
    let mut agent = Agent::start(&plant, &hub, AgentOptions::new("hall", road.addr())).await.unwrap();
    let mut tally = Tally::default();
    for version in ["mqttv311", "mqttv5"] {
        for level in LEVELS {
            let source = format!("{version}-q{}", level.1);
            tally = tally.with(publish(agent.mqtt(), version, level, &source, 200));
        }
    }
    prove(&hub, &mut agent, tally).await;
}
