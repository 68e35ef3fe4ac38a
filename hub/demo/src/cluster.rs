//! Several hub processes that take part in one cluster: founded, joined, killed, halted, cut off, healed.
//!
//! Promise: on a network of namespaces each hub is on a machine of its own, and roads between them can be cut in each
//! direction; on loopback they cannot, and a cut is an error. Commands reach a hub through its admin socket, which no cut touches.
//! Absent: who leads and what is decided; the hubs know.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::hub::text;
use crate::kv::Kv;
use crate::network::{Machine, Network};
use crate::patience::{Look, until};
use crate::process::run;
use crate::{Plant, PlantError, Process, address};

/// Where hubs listen on machines of their own.
const PORT: u16 = 7_443;

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many hubs.
    pub hubs: usize,
    /// Whether each has a machine of its own, whose roads can be cut.
    pub machines: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { hubs: 3, machines: false }
    }
}

/// A hub of a cluster.
#[derive(Debug)]
pub struct Member {
    /// The process.
    pub process: Process,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Its data directory.
    pub data: PathBuf,
    /// Where agents and other hubs reach it.
    pub quic: String,
    /// Where it answers HTTP, on its own machine.
    pub http: String,
}

impl Member {
    /// Its admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.join("admin.sock")
    }

    /// A client of its keys.
    #[must_use]
    pub fn kv(&self) -> Kv {
        Kv::new(self.socket())
    }

    /// Starts the process, which must not run, again.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn restart(&mut self) -> Result<(), PlantError> {
        self.http = self.process.start().await?.http;
        Ok(())
    }
}

/// Hubs that decide together.
#[derive(Debug)]
pub struct Cluster {
    /// In the order in which they joined.
    pub hubs: Vec<Member>,
    program: PathBuf,
    network: Option<Network>,
}

impl Cluster {
    /// Founds a cluster with its first hub, and lets the others join. Returns when all of them vote.
    ///
    /// # Errors
    /// When a command fails, a process is not ready in time, or namespaces cannot be made.
    pub async fn start(plant: &Plant, options: &ClusterOptions) -> Result<Self, PlantError> {
        let network = options.machines.then(|| Network::build(options.hubs)).transpose()?;
        let mut cluster = Self { hubs: Vec::new(), program: plant.programs().hub.clone(), network };
        for number in 0..options.hubs {
            cluster.add(plant, number).await?;
        }
        Ok(cluster)
    }

    /// Makes one more hub and starts it.
    ///
    /// # Errors
    /// When a command fails, or the process is not ready in time.
    pub async fn add(&mut self, plant: &Plant, number: usize) -> Result<(), PlantError> {
        let (name, region) = (format!("hub-{}", number + 1), format!("region-{}", number % 3 + 1));
        let machine = self.network.as_ref().map(|network| network.machine(number));
        let (listen, quic) = match &machine {
            Some(machine) => (format!("0.0.0.0:{PORT}"), format!("{}:{PORT}", machine.address())),
            None => {
                let free = address::free()?.to_string();
                (free.clone(), free)
            }
        };
        let data = plant.data(&name);
        let config = json!({
            "data_dir": data,
            "quic": { "listen": listen },
            "http": { "listen": "127.0.0.1:0" },
        });
        let config = plant.configure(&name, &config)?;
        let about = ["--data", text(&data)?, "--name", &name, "--region", &region, "--address", &quic];
        if let Some(first) = self.hubs.first() {
            let token = self.command(first, &["token", "create", "--hub", "--name", &name]).await?;
            let join = [&["join", "--token", &token], &about[..]].concat();
            self.run_on(machine.as_ref(), &join, "millrace-hub join").await?;
        } else {
            self.run_on(machine.as_ref(), &[&["init"], &about[..]].concat(), "millrace-hub init").await?;
        }
        let line = command_line(machine.as_ref(), &self.program, &["run", "--config", text(&config)?])?;
        let arguments: Vec<&str> = line.iter().skip(1).map(String::as_str).collect();
        let program = line.first().map_or(Path::new("ip"), Path::new);
        let process = Process::new(&name, program, &arguments, &data, &plant.log(&name));
        let mut hub = Member { process, name, region, data, quic, http: String::new() };
        hub.restart().await?;
        self.hubs.push(hub);
        self.votes(number + 1).await
    }

    /// A command of the program about a running hub, and its answer.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn command(&self, hub: &Member, words: &[&str]) -> Result<String, PlantError> {
        let arguments = [words, &["--data", text(&hub.data)?]].concat();
        run(&self.program, &arguments, &format!("millrace-hub {}", words.first().unwrap_or(&""))).await
    }

    async fn run_on(
        &self,
        machine: Option<&Machine>,
        words: &[&str],
        shown: &str,
    ) -> Result<String, PlantError> {
        let line = command_line(machine, &self.program, words)?;
        let arguments: Vec<&str> = line.iter().skip(1).map(String::as_str).collect();
        run(line.first().map_or(Path::new("ip"), Path::new), &arguments, shown).await
    }

    /// `members --json` as a hub sees it.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn members(&self, hub: &Member) -> Result<Value, PlantError> {
        let said = self.command(hub, &["members", "--json"]).await?;
        serde_json::from_str(&said).map_err(|error| PlantError::answer("millrace-hub members", &error))
    }

    /// Waits until `count` hubs are members in the eyes of the first one.
    async fn votes(&self, count: usize) -> Result<(), PlantError> {
        let Some(first) = self.hubs.first() else { return Ok(()) };
        let limit = Duration::from_secs(30);
        until("all hubs to be members", limit, || async move {
            let seen = self.members(first).await?;
            let states = seen.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let members =
                states.iter().filter(|hub| hub.get("state").and_then(Value::as_str) == Some("member"));
            let found = members.count();
            Ok(if found == count {
                Look::Found(())
            } else {
                Look::NotYet(format!("{found} of {count}: {seen}"))
            })
        })
        .await
    }

    /// The roads between the machines.
    ///
    /// # Errors
    /// When the hubs stand on loopback, where there is nothing to cut.
    pub fn network(&self) -> Result<&Network, PlantError> {
        self.network
            .as_ref()
            .ok_or_else(|| PlantError::answer("the cluster", &"it has no machines of its own"))
    }
}

/// The words that run `program` on a machine.
fn command_line(
    machine: Option<&Machine>,
    program: &Path,
    words: &[&str],
) -> Result<Vec<String>, PlantError> {
    let entering = machine.map_or(Vec::new(), |machine| machine.enter().to_vec());
    let words = entering.into_iter().chain([text(program)?]).chain(words.iter().copied());
    Ok(words.map(str::to_owned).collect())
}
