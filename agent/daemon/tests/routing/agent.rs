//! An agent in this process.

use std::path::Path;

use millrace_agent::config::{Config, HubSettings};
use millrace_agent::daemon;
use millrace_agent::places::Places;
use millrace_host::Shutdown;
use millrace_link::Role;
use millrace_model::DeviceId;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::hub::{Cluster, Hub, PATIENCE, introduce};

pub(crate) struct Agent {
    pub(crate) dir: tempfile::TempDir,
    shutdown: Shutdown,
    running: JoinHandle<anyhow::Result<()>>,
}

/// What the configuration says when it names these hubs.
pub(crate) fn naming(hubs: &[&Hub]) -> HubSettings {
    let addresses = hubs.iter().map(|hub| hub.road.addr().to_string()).collect();
    HubSettings { addresses, ..HubSettings::default() }
}

/// Two hubs that know each other, and an agent that has a session with the first and was told of the second.
pub(crate) async fn at_the_first_of_two() -> (Hub, Hub, Agent) {
    let cluster = Cluster::new();
    let (mut one, two) = (cluster.hub(1).await, cluster.hub(2).await);
    introduce(&[&one, &two]);
    let agent = Agent::start(&cluster, naming(&[&one])).await;
    one.until(|seen| seen.records == 1).await;
    (one, two, agent)
}

impl Agent {
    pub(crate) async fn start(cluster: &Cluster, hub: HubSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let role = Role::Device(DeviceId::from_bytes([7; 16]));
        cluster.identity(role, "press-7").save(&dir.path().join("identity")).unwrap();
        Self::on(dir, hub).await
    }

    pub(crate) async fn on(dir: tempfile::TempDir, hub: HubSettings) -> Self {
        let mut config = Config::defaults(dir.path()).unwrap();
        let loopback = "127.0.0.1:0".parse().unwrap();
        config.hub = hub;
        config.http = loopback;
        if let millrace_agent::config::MqttSettings::Embedded { listen, .. } = &mut config.mqtt {
            *listen = loopback;
        }
        let shutdown = Shutdown::manual();
        let running = tokio::spawn(daemon::run(config, shutdown.clone()));
        let places = Places::new(dir.path());
        for _ in 0..6_000 {
            if places.running().is_ok() {
                return Self { dir, shutdown, running };
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the agent does not start");
    }

    /// Stops it in good order.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.shutdown.trigger();
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap();
        self.dir
    }

    pub(crate) fn places(&self) -> Places {
        Places::new(self.dir.path())
    }

    /// What it shows at `path`.
    pub(crate) async fn shows(&self, path: &str) -> Value {
        let address = self.places().running().unwrap().http;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Publishes one reading, and waits until it is stored.
    pub(crate) async fn publish(&self) {
        publish(self.dir.path()).await;
    }
}

async fn publish(directory: &Path) {
    let mqtt = Places::new(directory).running().unwrap().mqtt.unwrap();
    let (client, mut connection) = AsyncClient::new(MqttOptions::new("sensor", "127.0.0.1", mqtt.port()), 8);
    client.publish("plant/press-7/temperature", QoS::AtLeastOnce, false, "21.5").await.unwrap();
    while !matches!(connection.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
}
