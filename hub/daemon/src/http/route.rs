//! `GET /v1/route`: which hub a client should turn to, and why. `POST /v1/drain`: this one wants no agents.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Query as Parameters, State};
use millrace_host::http::Problem;
use millrace_hub_engine::Event;
use millrace_model::{HubId, NodeId, Partition, Tolls, Way};
use millrace_wire::HubEndpoint;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Api, parameters, stopping};
use crate::driver::input::Input;
use crate::hubs::View;

/// What is not known here.
const NOTE: &str = "round trips are not known here, the same is assumed for each hub; an agent measures its own: `millrace-agent routes`";

/// Whether this hub is to drain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrainRequest {
    /// Whether it drains.
    pub(crate) on: bool,
}

pub(super) async fn show(
    State(api): State<Api>,
    Parameters(pairs): Parameters<Vec<(String, String)>>,
) -> Answer {
    let (mut device, mut region) = (None, None);
    for (key, value) in &pairs {
        match key.as_str() {
            "device" => device = Some(parameters::device(value, &api.0.registry)?),
            "region" if !value.trim().is_empty() => region = Some(value.as_str()),
            "region" => {
                let hint = "name a region of a hub, or leave the parameter out";
                return Err(Problem::bad_request("the region is empty", hint));
            }
            unknown => {
                let message = format!("there is no parameter `{unknown}`");
                return Err(Problem::bad_request(message, "known are device, region"));
            }
        }
    }
    let partition = device.map(|device| Partition::of(&device));
    let name = device.and_then(|device| api.0.registry.name_of(&device));
    Ok(Json(json!({
        "device": device.map(|id| json!({ "id": id, "name": name })),
        "partition": partition,
        "region": region,
        "hubs": ordered(&api.0.hubs.view(), partition, region),
        "weights": Tolls::DEFAULTS,
        "note": NOTE,
    })))
}

/// The hubs, the best first, as an agent that has measured nothing would order them.
fn ordered(view: &View, partition: Option<Partition>, region: Option<&str>) -> Vec<Value> {
    let replicas: Option<BTreeSet<HubId>> = partition.and_then(|partition| view.replicas(partition));
    let keeps = |hub: &HubId| replicas.as_ref().map(|replicas| replicas.contains(hub));
    let mut rows: Vec<_> = view
        .endpoints()
        .into_iter()
        .map(|hub| {
            let way = Way {
                rtt: None,
                elsewhere: region.is_some_and(|region| region != hub.region),
                replica: keeps(&hub.hub).unwrap_or(true),
                load_permille: hub.load_permille,
            };
            (hub, Tolls::DEFAULTS.of(&way))
        })
        .collect();
    rows.sort_by_key(|(hub, toll)| (hub.draining, toll.total_us(), hub.hub));
    let shown = |(hub, toll): (HubEndpoint, millrace_model::Toll)| {
        let node: Option<NodeId> =
            view.table.iter().find(|listed| listed.hub == hub.hub).map(|listed| listed.node);
        json!({
            "node": node,
            "hub": hub.hub,
            "name": hub.name,
            "region": hub.region,
            "addresses": hub.addresses,
            "replica": keeps(&hub.hub),
            "load_permille": hub.load_permille,
            "draining": hub.draining,
            "cost_us": toll.total_us(),
            "toll": toll,
        })
    };
    rows.into_iter().map(shown).collect()
}

pub(super) async fn drain(State(api): State<Api>, Json(asked): Json<DrainRequest>) -> Answer {
    let api = &api.0;
    // Whoever hears it first knows where else to go, or not to come here.
    if api.hubs.drain(asked.on) {
        tracing::info!(on = asked.on, "draining: agents go elsewhere while it is on");
    }
    let hubs = api.hubs.view().endpoints();
    api.driver.tell(Input::Event(Event::Hubs { hubs })).await;
    if !api.pulse.draining.ask(asked.on, &api.driver).await {
        return Err(stopping());
    }
    let now = api.driver.snapshot().await.ok_or_else(stopping)?;
    let others = api.hubs.view().endpoints().iter().filter(|hub| !hub.draining).count();
    // What the hub itself finds is not the operator's to end.
    let draining = api.pulse.draining.is_on();
    Ok(Json(json!({ "draining": draining, "sessions": now.sessions, "others": others })))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::hubs::{Heard, Listed};

    #[test]
    fn the_own_region_goes_first_and_who_drains_last() {
        let listed = |number: u8, region: &str| Listed {
            node: NodeId(u64::from(number)),
            hub: HubId::from_bytes([number; 16]),
            name: format!("hub-{number}"),
            region: region.to_owned(),
            addresses: vec![format!("hub-{number}:7443")],
            witness: false,
            member: true,
        };
        let well = Heard { alive: true, draining: false, load_permille: 0 };
        let view = View {
            table: vec![listed(1, "eu"), listed(2, "us"), listed(3, "us"), listed(4, "us")],
            roster: BTreeMap::from([
                (NodeId(2), Heard { draining: true, ..well }),
                (NodeId(3), Heard { load_permille: 600, ..well }),
            ]),
            ..View::default()
        };
        let names = |region| -> Vec<Value> {
            ordered(&view, None, region).into_iter().map(|row| row["name"].clone()).collect()
        };
        assert_eq!(names(Some("us")), ["hub-4", "hub-3", "hub-1", "hub-2"]);
        assert_eq!(names(None), ["hub-1", "hub-4", "hub-3", "hub-2"]);
        let first = ordered(&view, Some(Partition(3)), Some("us")).remove(0);
        assert_eq!((&first["cost_us"], &first["toll"]["region_us"]), (&50_000.into(), &0.into()));
        assert_eq!(first["replica"], Value::Null, "nothing is decided");
    }
}
