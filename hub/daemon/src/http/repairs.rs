//! `GET /v1/repairs`: what is being mended, and what was, at every hub.
//!
//! Promise: each hub speaks for itself; those that did not answer are named.

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use millrace_host::http::Problem;
use millrace_host::times::rfc3339;
use millrace_hub_engine::{Event, Mend, Wanted};
use millrace_model::{JournalId, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Api, others, stopping};
use crate::driver::input::Input;
use crate::repairs::{Compared, Report};

/// What another hub is asked.
const QUESTION: &[u8] = br#"{"which_repairs":true}"#;

/// Reports of each hub that one answer has.
const SHOWN_MAX: usize = 200;

/// What one hub says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Repairs {
    running: Vec<Running>,
    comparing: Vec<Compared>,
    /// Comparisons that somebody asked for and that are not over.
    demanded: usize,
    reports: Vec<Report>,
}

/// A journal that is being mended.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    at: String,
    journal: JournalId,
    lost: u64,
    fetched: u64,
    left: u64,
    bytes: u64,
    took_ms: u64,
    /// When it will be over at the present rate; nothing before anything has come.
    eta_ms: Option<u64>,
    /// Who is asked now.
    asked: Option<String>,
}

impl Running {
    fn of(mend: &Mend) -> Self {
        let took_ms = u64::try_from(mend.took.as_millis()).unwrap_or(u64::MAX);
        let eta_ms = (mend.fetched > 0).then(|| took_ms.saturating_mul(mend.left) / mend.fetched);
        Self {
            at: rfc3339(mend.at),
            journal: mend.journal,
            lost: mend.lost,
            fetched: mend.fetched,
            left: mend.left,
            bytes: mend.bytes,
            took_ms,
            eta_ms,
            asked: mend.asked.map(|source| source.to_string()),
        }
    }
}

pub(super) async fn list(State(api): State<Api>) -> Answer {
    let mine = (api.0.endpoint.name.clone(), here(&api).await.ok_or_else(stopping)?);
    let (theirs, unheard) = others::ask::<Repairs>(&api, QUESTION).await;
    let demanded = mine.1.demanded;
    let of_hub = |hub: &str, one: Value| named(&api, of_hub(hub, one));
    let (mut running, mut comparing, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    for (hub, repairs) in std::iter::once(mine).chain(theirs) {
        running.extend(repairs.running.iter().map(|one| of_hub(&hub, json!(one))));
        comparing.extend(repairs.comparing.iter().map(|one| of_hub(&hub, json!(one))));
        reports.extend(repairs.reports.iter().map(|one| (one.at().to_owned(), of_hub(&hub, json!(one)))));
    }
    reports.sort_by(|(a, _), (b, _)| b.cmp(a));
    let reports: Vec<Value> = reports.into_iter().map(|(_, report)| report).collect();
    Ok(Json(json!({
        "hub": api.0.endpoint.name, "unheard": unheard, "running": running, "comparing": comparing,
        "demanded": demanded, "reports": reports,
    })))
}

async fn here(api: &Api) -> Option<Repairs> {
    let snapshot = api.0.driver.snapshot().await?;
    let running = snapshot.mending.iter().map(Running::of).collect();
    let comparing = snapshot.rounds.iter().map(Compared::from).collect();
    let (demanded, reports) = (snapshot.demanded, api.0.repairs.latest(SHOWN_MAX));
    Some(Repairs { running, comparing, demanded, reports })
}

/// Hubs and devices by the names that people gave them.
fn named(api: &Api, mut shown: Value) -> Value {
    let cluster = api.0.registry.cluster();
    let table = cluster.table();
    let hub = |text: &str| {
        let node = NodeId(text.strip_prefix("hub n")?.parse().ok()?);
        table.hub(node).map(|record| json!(record.name))
    };
    let device = |text: &str| api.0.registry.name_of(&text.parse().ok()?);
    let Some(fields) = shown.as_object_mut() else { return shown };
    for key in ["partner", "asked", "sources"] {
        let texts: Vec<&mut Value> = match fields.get_mut(key) {
            Some(Value::Array(several)) => several.iter_mut().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        for text in texts {
            if let Some(name) = text.as_str().and_then(hub) {
                *text = name;
            }
        }
    }
    let of = fields.get("device").and_then(Value::as_str);
    let of = of.or_else(|| fields.get("partner")?.as_str()?.strip_prefix("device "));
    if let Some(name) = of.and_then(device) {
        fields.insert("name".to_owned(), json!(name));
    }
    shown
}

fn of_hub(hub: &str, mut shown: Value) -> Value {
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("hub".to_owned(), json!(hub));
        let device = fields.get("journal").and_then(|journal| journal.get("device")).cloned();
        fields.extend(device.map(|device| ("device".to_owned(), device)));
    }
    shown
}

/// What is to be compared.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RepairRequest {
    /// Only this device, by id or name.
    #[serde(default)]
    pub device: Option<String>,
    /// Only the hub with this name.
    #[serde(default)]
    pub hub: Option<String>,
    /// Only say what differs.
    #[serde(default)]
    pub dry_run: bool,
}

/// `POST /v1/repair`: this hub compares its copies now.
pub(super) async fn begin(State(api): State<Api>, Json(asked): Json<RepairRequest>) -> Answer {
    let no_device = |name: &str| {
        Problem::not_found(format!("no device is called {name}"), "`millrace-hub devices` lists them")
    };
    let device = asked.device.as_deref();
    let device = device.map(|name| api.0.registry.find(name).ok_or_else(|| no_device(name))).transpose()?;
    let hub = asked.hub.as_deref().map(|name| node_of(&api, name)).transpose()?;
    let wanted = Wanted { device: device.map(|device| device.id), hub, dry_run: asked.dry_run };
    let began = rfc3339(api.0.clock.wall());
    if !api.0.driver.tell(Input::Event(Event::Repair(wanted))).await {
        return Err(stopping());
    }
    Ok(Json(json!({ "hub": api.0.endpoint.name, "began": began })))
}

pub(super) fn node_of(api: &Api, name: &str) -> Result<NodeId, Problem> {
    let cluster = api.0.registry.cluster();
    let table = cluster.table();
    let others = table.others(cluster.me());
    let found = others.into_iter().find(|(_, record)| record.name == name).map(|(node, _)| node);
    found.ok_or_else(|| {
        Problem::not_found(format!("no other hub is called {name}"), "`millrace-hub members` lists them")
    })
}

/// Whether another hub asks for the repairs of this one.
pub(super) fn is_asked(body: &[u8]) -> bool {
    body == QUESTION
}

/// What another hub is answered.
pub(super) async fn for_peer(api: &Api) -> Result<Bytes, String> {
    let repairs = here(api).await.ok_or("the hub is stopping")?;
    serde_json::to_vec(&repairs).map(Bytes::from).map_err(|error| error.to_string())
}
