//! A hub process: made, started, asked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::kv::Kv;
use crate::network::Machine;
use crate::patience::{Look, until};
use crate::process::{Said, run, tried};
use crate::{Inventory, Plant, PlantError, Process, StoredRecord, address, http};

/// Where hubs listen on machines of their own.
const PORT: u16 = 7_443;

/// How a hub is made.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Its name, and the name of its directory.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Where it listens for agents and other hubs; `None`: on a free port of loopback.
    pub quic: Option<SocketAddr>,
    /// The roads by which it reaches other hubs, by their names; without one it goes straight.
    pub roads: BTreeMap<String, SocketAddr>,
    /// The machine on which it runs, and whose address it has then; `None`: on this one.
    pub machine: Option<Machine>,
    /// Whether it only votes, and keeps no readings. Only who joins others can.
    pub witness: bool,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            name: "hub".into(),
            region: "south".into(),
            quic: None,
            roads: BTreeMap::new(),
            machine: None,
            witness: false,
        }
    }
}

/// A hub.
#[derive(Debug)]
pub struct Hub {
    /// The process.
    pub process: Process,
    name: String,
    region: String,
    program: PathBuf,
    data: PathBuf,
    quic: SocketAddr,
    http: String,
}

impl Hub {
    /// Makes a hub with a CA of its own, and starts it.
    ///
    /// # Errors
    /// When a command fails, or the process is not ready in time.
    pub async fn start(plant: &Plant, options: HubOptions) -> Result<Self, PlantError> {
        Self::make(plant, options, None).await
    }

    /// Makes a hub that joins the cluster of `founder`, and starts it. It may take a moment until it is a member.
    ///
    /// # Errors
    /// When a command fails, or the process is not ready in time.
    pub async fn join(plant: &Plant, founder: &Self, options: HubOptions) -> Result<Self, PlantError> {
        let name = options.name.clone();
        let kind = if options.witness { "--witness" } else { "--hub" };
        let token = founder.command(&["token", "create", kind, "--name", &name]).await?;
        Self::make(plant, options, Some(&token)).await
    }

    async fn make(plant: &Plant, options: HubOptions, token: Option<&str>) -> Result<Self, PlantError> {
        let HubOptions { name, region, quic, roads, machine, witness } = options;
        let (program, data) = (plant.programs().hub.clone(), plant.data(&name));
        let (listen, quic) = match (&machine, quic) {
            (Some(machine), _) => {
                ((Ipv4Addr::UNSPECIFIED, PORT).into(), SocketAddr::from((machine.address(), PORT)))
            }
            (None, Some(quic)) => (quic, quic),
            (None, None) => address::free().map(|free| (free, free))?,
        };
        let roads: BTreeMap<String, Vec<String>> =
            roads.into_iter().map(|(name, road)| (name, vec![road.to_string()])).collect();
        let config = json!({
            "data_dir": data,
            "quic": { "listen": listen.to_string() },
            "http": { "listen": "127.0.0.1:0" },
            "cluster": { "addresses": roads },
        });
        let config = plant.configure(&name, &config)?;
        let (at, to) = (text(&data)?, quic.to_string());
        let about = ["--data", at, "--name", &name, "--region", &region, "--address", &to];
        let (words, shown): (&[&str], _) = match &token {
            None => (&["init"], "millrace-hub init"),
            Some(token) if witness => (&["join", "--witness", "--token", token], "millrace-hub join"),
            Some(token) => (&["join", "--token", token], "millrace-hub join"),
        };
        let (first, line) = command_line(machine.as_ref(), &program, &[words, &about[..]].concat())?;
        run(first, &line, shown).await?;
        let (first, line) = command_line(machine.as_ref(), &program, &["run", "--config", text(&config)?])?;
        let process = Process::new(&name, first, &line, &data, &plant.log(&name));
        let mut hub = Self { process, name, region, program, data, quic, http: String::new() };
        hub.restart().await?;
        Ok(hub)
    }

    /// Starts the process, which must not run, again.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn restart(&mut self) -> Result<(), PlantError> {
        self.http = self.process.start().await?.http;
        Ok(())
    }

    /// Throws its disk away and has it join again, in the place of the hub that it was. It must not run.
    ///
    /// # Errors
    /// When a command fails, or the process is not ready in time.
    pub async fn replace(&mut self, other: &Self) -> Result<(), PlantError> {
        std::fs::remove_dir_all(&self.data).map_err(PlantError::file(&self.data))?;
        let name = self.name.as_str();
        let token = other.command(&["token", "create", "--hub", "--name", name, "--replace", name]).await?;
        let quic = self.quic.to_string();
        let about = ["--name", name, "--region", &self.region, "--address", &quic];
        self.command(&[&["join", "--token", &token], &about[..]].concat()).await?;
        self.restart().await
    }

    /// Runs a command of the program on its data directory; what it printed.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn command(&self, words: &[&str]) -> Result<String, PlantError> {
        let arguments = [words, &["--data", text(&self.data)?]].concat();
        run(&self.program, &arguments, &format!("millrace-hub {}", words.first().unwrap_or(&""))).await
    }

    /// The same, however the command ends.
    ///
    /// # Errors
    /// When the command cannot be started, or does not end.
    pub async fn tried(&self, words: &[&str]) -> Result<Said, PlantError> {
        let arguments = [words, &["--data", text(&self.data)?]].concat();
        tried(&self.program, &arguments, &format!("millrace-hub {}", words.first().unwrap_or(&""))).await
    }

    /// Starts all of `hubs`, which must not run, again: one alone might wait for the others before it is ready.
    ///
    /// # Errors
    /// When one is not ready in time.
    pub async fn restart_all(hubs: &mut [Self]) -> Result<(), PlantError> {
        for hub in &mut *hubs {
            hub.process.spawn()?;
        }
        for hub in hubs {
            hub.http = hub.process.ready().await?.http;
        }
        Ok(())
    }

    /// Where it listens for agents.
    #[must_use]
    pub const fn quic(&self) -> SocketAddr {
        self.quic
    }

    /// Where it answers HTTP.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A client of its keys.
    #[must_use]
    pub fn kv(&self) -> Kv {
        Kv::new(self.socket())
    }

    /// Its admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.join("admin.sock")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A join token for a device of this name.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn token(&self, device: &str) -> Result<String, PlantError> {
        let arguments = ["token", "create", "--data", text(&self.data)?, "--name", device];
        run(&self.program, &arguments, "millrace-hub token create").await
    }

    /// The members of its cluster, as this hub knows them: `members --json`.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn members(&self) -> Result<Value, PlantError> {
        let said = self.command(&["members", "--json"]).await?;
        serde_json::from_str(&said).map_err(|error| PlantError::answer("millrace-hub members", &error))
    }

    /// Waits until `count` hubs, and no others, are members in its eyes, itself among them: with full stores, a vote, no partition on its
    /// way, and each on as many hubs as it should be. A hub that has just joined may still read what was decided before it came, and is
    /// full as long as it is to keep nothing.
    ///
    /// # Errors
    /// When it is not so within `limit`.
    pub async fn complete(&self, count: usize, limit: Duration) -> Result<(), PlantError> {
        let is = |member: &Value, key: &str, wanted: &[&str]| {
            member.get(key).and_then(Value::as_str).is_some_and(|text| wanted.contains(&text))
        };
        let is_whole = |member: &Value| {
            is(member, "state", &["member"])
                && is(member, "filled", &["full"])
                && is(member, "role", &["leader", "voter"])
        };
        until("all hubs to be full members", limit, || async move {
            let seen = self.members().await?;
            let members =
                seen.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let none = |key: &str| seen.get(key).and_then(Value::as_u64) == Some(0);
            let settled = none("moving") && none("short");
            let knows_itself = members.iter().any(|member| member.get("me") == Some(&Value::Bool(true)));
            let whole = settled && knows_itself && members.len() == count && members.iter().all(is_whole);
            Ok(if whole { Look::Found(()) } else { Look::NotYet(seen.to_string()) })
        })
        .await
    }

    /// Revokes a device by name or id.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn revoke(&self, device: &str, reason: &str) -> Result<(), PlantError> {
        let arguments = ["devices", "revoke", device, "--reason", reason, "--data", text(&self.data)?];
        run(&self.program, &arguments, "millrace-hub devices revoke").await.map(|_| ())
    }

    /// What `verify` says of the store of a stopped hub.
    ///
    /// # Errors
    /// When the command fails, which it does when it finds damage.
    pub async fn verify(&self) -> Result<String, PlantError> {
        let arguments = ["verify", "--data", text(&self.data)?, "--json"];
        run(&self.program, &arguments, "millrace-hub verify").await
    }

    /// `/v1/status`.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn status(&self) -> Result<Value, PlantError> {
        http::json(&self.http, "/v1/status").await
    }

    /// `/v1/devices`.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn devices(&self) -> Result<Value, PlantError> {
        http::json(&self.http, "/v1/devices").await
    }

    /// The text of `/metrics`.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn metrics(&self) -> Result<String, PlantError> {
        let (_, body) = http::get(&self.http, "/metrics").await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Every record that any hub of the cluster holds, of all devices.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn inventory(&self) -> Result<Inventory, PlantError> {
        Inventory::take(&self.http, "").await
    }

    /// Every record of one device, wherever in the cluster it is kept.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn inventory_of(&self, device: &str) -> Result<Inventory, PlantError> {
        Inventory::take(&self.http, &format!("&device={}", http::query_text(device))).await
    }

    /// Every record of one device that this very hub has on its disk.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn kept_of(&self, device: &str) -> Result<Inventory, PlantError> {
        Inventory::take(&self.http, &format!("&local=true&device={}", http::query_text(device))).await
    }

    /// The record with the latest time of one device.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn newest(&self, device: &str) -> Result<Option<StoredRecord>, PlantError> {
        newest(&self.http, device).await
    }
}

/// The record with the latest time of one device, from the hub at `http`.
///
/// # Errors
/// When the hub does not answer.
pub async fn newest(http: &str, device: &str) -> Result<Option<StoredRecord>, PlantError> {
    let query = format!("&order=desc&device={}", http::query_text(device));
    let page = Inventory::page(http, &query, 1, None).await?;
    Ok(page.0.records.into_iter().next())
}

/// A command line on a machine: the program to start, and its arguments.
fn command_line<'a>(
    machine: Option<&'a Machine>,
    program: &'a Path,
    words: &[&'a str],
) -> Result<(&'a Path, Vec<&'a str>), PlantError> {
    let Some(machine) = machine else { return Ok((program, words.to_vec())) };
    let [ip, entering @ ..] = machine.enter();
    let line = entering.into_iter().chain([text(program)?]).chain(words.iter().copied());
    Ok((Path::new(ip), line.collect()))
}

/// A path as an argument of a command.
pub(crate) fn text(path: &Path) -> Result<&str, PlantError> {
    path.to_str().ok_or_else(|| PlantError::answer(path.display().to_string(), &"the path is not UTF-8"))
}
