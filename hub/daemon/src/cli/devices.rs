//! `millrace-hub devices`: who is enrolled; `devices revoke`: who is not any more.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use millrace_host::terminal::{Align, Table, bytes, count, note, say, say_json};
use millrace_host::{Clock, Exit};
use millrace_hub_engine::{DeviceSummary, Engine};
use millrace_journal::{Options, Reader};
use millrace_model::store::Usage;
use millrace_model::{DeviceId, HubId, Moment};
use serde_json::{Value, json};

use super::look::{number, shown, text};
use super::offline::{Look, Offline};
use super::{Here, Which};
use crate::client::encoded;
use crate::http::merged_devices;
use crate::hub;
use millrace_host::Failure;
use millrace_host::times::rfc3339;

/// List devices: who is enrolled, connected, revoked, and what is here of each.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  millrace-hub devices\n  millrace-hub devices --json\n  millrace-hub devices revoke press-7 --reason stolen"
)]
pub(super) struct Devices {
    #[command(subcommand)]
    command: Option<DevicesCommand>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum DevicesCommand {
    Revoke(Revoke),
}

/// Revoke a device: its session is cut, and it is never let in again. Its records stay.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  millrace-hub devices revoke press-7 --reason \"stolen on Monday\"")]
struct Revoke {
    /// The device's id or name.
    #[arg(value_name = "ID|NAME")]
    device: String,
    /// Why; the device's operator reads it.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    here: Here,
}

impl Devices {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        if let Some(DevicesCommand::Revoke(revoke)) = self.command {
            return revoke.perform().await;
        }
        let answer = match Look::unless_running(&self.which).await? {
            None => self.which.client()?.get("/v1/devices").await?,
            Some(look) => {
                let devices = look.devices();
                json!({ "devices": merged_devices(devices, held(&self.which)?, Clock::system().wall()) })
            }
        };
        if self.which.json {
            say_json(&answer)?;
        } else {
            let devices = answer.get("devices").and_then(Value::as_array);
            say(&table(devices.map(Vec::as_slice).unwrap_or_default()))?;
            let unheard = answer.get("unheard").and_then(Value::as_array).into_iter().flatten();
            let unheard: Vec<&str> = unheard.filter_map(Value::as_str).collect();
            if !unheard.is_empty() {
                note(&format!("note: {} did not say who is connected there", unheard.join(", ")));
            }
        }
        Ok(Exit::Ok)
    }
}

/// What is here of each device, as the engine of a running hub would count it.
fn held(which: &Which) -> Result<BTreeMap<DeviceId, DeviceSummary>, Failure> {
    let reader = Reader::open(&which.places().journal(), &Options::hub());
    let reader = reader.map_err(|error| hub::store_failure(&error.into()))?;
    let journals = reader.journals().map_err(|error| hub::store_failure(&error.into()))?;
    let config = millrace_hub_engine::Config::new(HubId::default(), "", "");
    let engine = Engine::new(config, &journals, Usage::default(), Moment::default());
    Ok(engine.devices().into_iter().map(|summary| (summary.device, summary)).collect())
}

fn table(devices: &[Value]) -> String {
    if devices.is_empty() {
        return "no devices yet: `millrace-hub token create` makes what the first one needs\n".to_owned();
    }
    let mut table = Table::new(&[
        ("name", Align::Left),
        ("id", Align::Left),
        ("state", Align::Left),
        ("records", Align::Right),
        ("missing", Align::Right),
        ("declared", Align::Right),
        ("size", Align::Right),
        ("last seen", Align::Left),
        ("labels", Align::Left),
    ]);
    for device in devices {
        let online = device.get("online").and_then(Value::as_array).map_or(0, Vec::len);
        let state = match device.get("revoked").filter(|revoked| !revoked.is_null()) {
            Some(revoked) => format!("revoked: {}", text(revoked, "reason")),
            None if online > 0 => "online".to_owned(),
            None if device.get("online").is_some_and(Value::is_null) => "not here".to_owned(),
            None => "offline".to_owned(),
        };
        let labels = device.get("labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten();
        let labels: Vec<String> =
            labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
        table.row([
            text(device, "name").to_owned(),
            text(device, "id").to_owned(),
            state,
            count(number(device, "records")),
            count(number(device, "missing")),
            count(number(device, "declared")),
            bytes(number(device, "stored_bytes")),
            if online > 0 { "now".to_owned() } else { text(device, "last_seen").to_owned() },
            labels.join(","),
        ]);
    }
    table.to_string()
}

impl Revoke {
    /// Without a running hub.
    async fn decide(&self, offline: &Offline) -> Result<Value, Failure> {
        let now = Clock::system().wall();
        let revoked = offline.deciding()?.revoke(&self.device, &self.reason, now).await;
        let device = revoked.map_err(|error| hub::registry_failure(&error))?;
        Ok(json!({
            "id": device.id, "name": device.name,
            "revoked": { "at": rfc3339(now), "reason": self.reason },
        }))
    }

    async fn perform(self) -> Result<Exit, Failure> {
        let which = self.here.which();
        let answer = match Offline::unless_running(&which).await? {
            None => {
                let path = format!("/v1/devices/{}/revoke", encoded(&self.device));
                which.client()?.post(&path, &json!({ "reason": self.reason })).await?
            }
            Some(offline) => {
                let revoked = self.decide(&offline).await;
                offline.close().await;
                revoked?
            }
        };
        if which.json {
            say_json(&answer)?;
        } else {
            let (name, id) = (shown(&answer, "name"), shown(&answer, "id"));
            say(&format!("{name} ({id}) is revoked: its session is cut and it is not let in again\n"))?;
        }
        Ok(Exit::Ok)
    }
}
