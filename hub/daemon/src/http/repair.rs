//! `POST /v1/repair`: this hub compares its copies with others, now.
//!
//! Promise: the answer says with whom comparisons begin, and which hubs of the cluster are left out because they are not connected; who
//! is named and not connected is refused.
//! Absent: how it ends: `GET /v1/repairs` ([`super::repairs`]).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use millrace_host::http::Problem;
use millrace_host::times::rfc3339;
use millrace_hub_engine::{Partner, Wanted};
use millrace_model::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::repairs::named;
use super::{Answer, Api, stopping};
use crate::driver::input::Beginning;
use crate::repairs::report;

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

pub(super) async fn begin(State(api): State<Api>, Json(asked): Json<RepairRequest>) -> Answer {
    let no_device = |name: &str| {
        Problem::not_found(format!("no device is called {name}"), "`millrace-hub devices` lists them")
    };
    if api.0.pulse.is_witness() {
        return Err(witness("this hub"));
    }
    let device = asked.device.as_deref();
    let device = device.map(|name| api.0.registry.find(name).ok_or_else(|| no_device(name))).transpose()?;
    let hub = asked.hub.as_deref().map(|name| node_of(&api, name)).transpose()?;
    let cluster = api.0.registry.cluster();
    let table = cluster.table();
    let keeps = |node: &NodeId| table.hub(*node).is_some_and(|record| !record.witness);
    if let (Some(node), Some(name)) = (hub, &asked.hub)
        && !keeps(&node)
    {
        return Err(witness(name));
    }
    let wanted = Wanted { device: device.map(|device| device.id), hub, dry_run: asked.dry_run };
    let begun = api.0.driver.repair(wanted).await.ok_or_else(stopping)?;
    let compares = |one: &&Beginning| match one.partner {
        Partner::Hub(node) => keeps(&node),
        Partner::Agent(_) => true,
    };
    let partners: Vec<&Beginning> = begun.partners.iter().filter(compares).collect();
    if let (true, Some(name)) = (partners.is_empty(), asked.hub.as_ref().or(asked.device.as_ref())) {
        return Err(away(name, asked.hub.is_some()));
    }
    let reached = |node: &NodeId| partners.iter().any(|one| one.partner == Partner::Hub(*node));
    let everybody = asked.hub.is_none() && asked.device.is_none();
    let others = table.others(cluster.me()).into_iter();
    let unreached = others.filter(|(node, _)| everybody && keeps(node) && !reached(node));
    let unreached: Vec<&str> = unreached.map(|(_, record)| record.name.as_str()).collect();
    Ok(Json(json!({
        "hub": api.0.endpoint.name,
        "after": begun.after,
        "partners": partners.into_iter().map(|one| shown(&api, one)).collect::<Vec<_>>(),
        "unreached": unreached,
    })))
}

fn shown(api: &Api, one: &Beginning) -> Value {
    let (partner, under_way) = (report::partner(one.partner, one.device), one.under_way.map(rfc3339));
    named(api, json!({ "partner": partner, "under_way": under_way }))
}

fn witness(name: &str) -> Problem {
    let message = format!("{name} is a witness: it keeps no readings, and there is nothing to compare");
    Problem::new(StatusCode::CONFLICT, "witness", message, "`millrace-hub members` lists the others")
}

/// Whoever was named is known, and not connected.
fn away(name: &str, hub: bool) -> Problem {
    let hint = if hub {
        "`millrace-hub members` says why; start that hub, or mend the road to it"
    } else {
        "`millrace-hub devices --json` says in `hubs` where it is connected: ask that hub, or connect it"
    };
    let message = format!("{name} is not connected to this hub: nothing was compared");
    Problem::new(StatusCode::BAD_GATEWAY, "unheard", message, hint)
}

/// The number of another hub.
pub(super) fn node_of(api: &Api, name: &str) -> Result<NodeId, Problem> {
    let cluster = api.0.registry.cluster();
    let table = cluster.table();
    let others = table.others(cluster.me());
    let found = others.into_iter().find(|(_, record)| record.name == name).map(|(node, _)| node);
    found.ok_or_else(|| {
        Problem::not_found(format!("no other hub is called {name}"), "`millrace-hub members` lists them")
    })
}
