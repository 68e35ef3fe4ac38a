//! An agent process: enrolled, configured, started, asked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::hub::text;
use crate::patience::{Look, until};
use crate::process::{Said, run, tried};
use crate::{AgentStatus, Hub, Plant, PlantError, Process, Publisher, PublisherOptions, address, http};

/// How an agent is made.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// Its name, and the name of its directory.
    pub name: String,
    /// Its config, table by table.
    config: Map<String, Value>,
}

impl AgentOptions {
    /// An agent with an embedded broker that reaches its hub by this road. Alarms are urgent and vibrations are bulk.
    #[must_use]
    pub fn new(name: &str, road: SocketAddr) -> Self {
        Self::among(name, &[road], "", "hub")
    }

    /// The same, with a road to each of several hubs and no other. Hubs of `region` are preferred, when it is named, and readings
    /// are acknowledged at the level `ack`.
    #[must_use]
    pub fn among(name: &str, roads: &[SocketAddr], region: &str, ack: &str) -> Self {
        let mut config = Map::new();
        let addresses: Vec<String> = roads.iter().map(SocketAddr::to_string).collect();
        let mut hub = json!({ "addresses": addresses, "follow": false, "ack": ack });
        if let (Value::Object(hub), false) = (&mut hub, region.is_empty()) {
            hub.insert("region".into(), json!(region));
        }
        config.insert("hub".into(), hub);
        config.insert("http".into(), json!({ "listen": "127.0.0.1:0" }));
        config.insert(
            "subscription".into(),
            json!([
                { "filter": "plant/+/+/alarm", "qos": 2, "lane": "urgent" },
                { "filter": "plant/+/+/vibration", "qos": 1, "lane": "bulk" },
                { "filter": "#", "qos": 2, "lane": "normal" },
            ]),
        );
        Self { name: name.to_owned(), config }
    }

    /// Sets one table of the config.
    #[must_use]
    pub fn with(mut self, table: &str, value: Value) -> Self {
        self.config.insert(table.to_owned(), value);
        self
    }
}

/// An agent.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    options: AgentOptions,
    program: PathBuf,
    data: PathBuf,
    mqtt: SocketAddr,
    http: String,
}

impl Agent {
    /// Enrols an agent at `hub` and starts it.
    ///
    /// # Errors
    /// When a command fails, or the process is not ready in time.
    pub async fn start(plant: &Plant, hub: &Hub, options: AgentOptions) -> Result<Self, PlantError> {
        let mut agent = Self::enrol(plant, hub, options).await?;
        agent.restart().await?;
        Ok(agent)
    }

    /// Enrols an agent at `hub` without starting it.
    ///
    /// # Errors
    /// When a command fails.
    pub async fn enrol(plant: &Plant, hub: &Hub, options: AgentOptions) -> Result<Self, PlantError> {
        let agent = Self::at(plant, plant.data(&options.name), options)?;
        let token = hub.token(&agent.options.name).await?;
        let arguments = ["enroll", "--token", &token, "--data", text(&agent.data)?];
        run(&agent.program, &arguments, "millrace-agent enroll").await?;
        Ok(agent)
    }

    /// An agent whose data directory is already there: a clone, a restored one, or one on another disk.
    ///
    /// # Errors
    /// When its config cannot be written.
    pub fn at(plant: &Plant, data: PathBuf, options: AgentOptions) -> Result<Self, PlantError> {
        let mqtt = address::free()?;
        let mut config = options.config.clone();
        config.insert("data_dir".into(), json!(data));
        let of_mqtt = config.entry("mqtt").or_insert_with(|| json!({}));
        if let Value::Object(of_mqtt) = of_mqtt {
            of_mqtt.insert("listen".into(), json!(mqtt.to_string()));
        }
        let config = plant.configure(&options.name, &Value::Object(config))?;
        let (program, log) = (plant.programs().agent.clone(), plant.log(&options.name));
        let arguments = ["run", "--config", text(&config)?];
        let process = Process::new(&options.name, &program, &arguments, &data, &log);
        Ok(Self { process, options, program, data, mqtt, http: String::new() })
    }

    /// Starts the process, which must not run, again.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn restart(&mut self) -> Result<(), PlantError> {
        self.http = self.process.start().await?.http;
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where its embedded broker listens.
    #[must_use]
    pub const fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where it answers HTTP.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<AgentStatus, PlantError> {
        http::json(&self.http, "/status").await
    }

    /// The status code of `/readyz` or `/healthz`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn probe(&self, path: &str) -> Result<u16, PlantError> {
        http::get(&self.http, path).await.map(|(status, _)| status)
    }

    /// What `verify` says of the store.
    ///
    /// # Errors
    /// When the command fails, which it does when it finds damage.
    pub async fn verify(&self) -> Result<String, PlantError> {
        let arguments = ["verify", "--data", text(&self.data)?, "--json"];
        run(&self.program, &arguments, "millrace-agent verify").await
    }

    /// Runs a command over its directory, however that ends.
    ///
    /// # Errors
    /// When the command cannot be started, or does not end.
    pub async fn tried(&self, words: &[&str]) -> Result<Said, PlantError> {
        let arguments = [words, &["--data", text(&self.data)?]].concat();
        tried(&self.program, &arguments, &format!("millrace-agent {}", words.first().unwrap_or(&""))).await
    }

    /// A client of its embedded broker.
    #[must_use]
    pub fn publisher(&self, client_id: &str) -> Publisher {
        Publisher::start(PublisherOptions { broker: self.mqtt, client_id: client_id.to_owned() })
    }

    /// Waits until its status is as `wanted`.
    ///
    /// # Errors
    /// When it is not within `limit`, or the process ends.
    pub async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&AgentStatus) -> bool,
    ) -> Result<AgentStatus, PlantError> {
        let what = format!("{what} at {}", self.options.name);
        let (http, wanted) = (self.http.clone(), &wanted);
        let found = until(&what, limit, || {
            let http = http.clone();
            async move {
                let status: AgentStatus = http::json(&http, "/status").await?;
                Ok(if wanted(&status) { Look::Found(status) } else { Look::NotYet(format!("{status:?}")) })
            }
        })
        .await;
        if found.is_err() {
            self.process.must_run()?;
        }
        found
    }

    /// Waits until it is online and owes the hub nothing.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub async fn settled(&mut self, limit: Duration) -> Result<AgentStatus, PlantError> {
        self.until("a settled ledger", limit, AgentStatus::is_settled).await
    }

    /// Waits until it has an open session.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub async fn online(&mut self, limit: Duration) -> Result<AgentStatus, PlantError> {
        self.until("an open session", limit, AgentStatus::is_online).await
    }
}
