//! `/v1/members`, `/v1/placement`, `/v1/settings`: the hubs, and who keeps what.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use millrace_host::http::Problem;
use millrace_host::times::rfc3339;
use millrace_hub_control::kv::{Compare, Txn};
use millrace_hub_control::{Control, Level, Role};
use millrace_hub_engine::membership::Liveness;
use millrace_hub_engine::placement::{REPLICAS_MAX, Site, target};
use millrace_model::NodeId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::{of_registry, undecided};
use super::{Answer, Api};
use crate::cluster::record::{HubRecord, HubState, Settings, StoreRecord};
use crate::cluster::{Cluster, Dated, TRIES_MAX, Table, keys};
use crate::registry::put;

/// Where this hub stands in the consensus, for `status` and `members`.
pub(super) fn consensus(control: &Control) -> Value {
    let metrics = control.metrics();
    let quorum = control.quorum().err().map(|error| error.to_string());
    json!({
        "role": role(metrics.role),
        "term": metrics.term,
        "leader": metrics.leader,
        "quorum": quorum.is_none(),
        "problem": quorum,
        "joint": metrics.joint,
        "age_ms": u64::try_from(metrics.age.as_millis()).unwrap_or(u64::MAX),
        "revision": metrics.usage.revision,
        "applied": metrics.applied,
        "used_bytes": metrics.usage.used_bytes,
        "budget_bytes": metrics.usage.budget_bytes,
    })
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}

/// How much of what it should a hub's store holds: `empty`, `syncing`, `full`; a witness keeps `nothing`. `store`: as far as it is known
/// to be the hub's present one.
pub(super) fn filled(record: &HubRecord, store: Option<StoreRecord>) -> &'static str {
    match store {
        _ if record.witness => "nothing",
        None => "empty",
        Some(store) if store.full => "full",
        Some(_) => "syncing",
    }
}

pub(super) async fn list(State(api): State<Api>) -> Answer {
    let cluster = api.0.registry.cluster();
    let (table, members) = (cluster.table(), cluster.control().members());
    let load = table.placement.value.load();
    let (roster, links) = (Arc::clone(&api.0.roster.borrow()), api.0.peers.links());
    let (said, problem) = (api.0.profile.borrow().clone(), api.0.pulse.working().err());
    let shown = |record: &HubRecord| {
        let me = record.node == cluster.me();
        let link = links.iter().find(|link| link.node == record.node);
        let profile = if me { Some(&said) } else { roster.profile(record.node) };
        let store = if me { api.store() } else { record.store };
        let member = members.iter().find(|member| member.id == record.node.0);
        let role = match member {
            Some(member) if member.leads => "leader",
            Some(member) if member.votes => "voter",
            Some(_) => "learner",
            None => "none",
        };
        json!({
            "node": record.node,
            "hub": record.hub,
            "name": record.name,
            "region": record.region,
            "addresses": record.addresses,
            "witness": record.witness,
            "state": record.state.name(),
            "role": role,
            "control": record.control,
            "store": record.store.map(|store| store.incarnation),
            "filled": filled(record, store),
            "partitions": load.get(&record.node).copied().unwrap_or(0),
            "joined_at": rfc3339(record.joined_at),
            "me": me,
            "liveness": if me { Some("alive") } else { roster.liveness(record.node).map(liveness) },
            "rtt_ms": if me { Some(0.0) } else { link.and_then(|link| link.rtt).map(millis) },
            "connected": if me { Some(true) } else { link.map(|link| link.connected) },
            "problem": if me { problem.clone() } else { link.and_then(|link| link.problem.clone()) },
            "load_permille": profile.map(|profile| profile.load_permille),
            "draining": profile.map(|profile| profile.draining),
            "software": profile.map(|profile| &profile.software),
        })
    };
    let shown: Vec<Value> = table.records().map(shown).collect();
    Ok(Json(json!({
        "members": shown,
        "cluster": table.cluster.as_ref().map(|cluster| &cluster.name),
        "epoch": cluster.epoch(),
        "me": cluster.me(),
        "placement": table.placement.value.version,
        "moving": table.placement.value.moving(),
        "short": table.short(),
        "replicas": table.settings.value.replicas,
        "control": consensus(cluster.control()),
    })))
}

const fn liveness(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Alive => "alive",
        Liveness::Suspect => "suspect",
        Liveness::Down => "down",
    }
}

/// Milliseconds, to a hundredth.
fn millis(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

/// The hub with this name, number (`n3`) or id.
fn find<'a>(table: &'a Table, name: &str) -> Result<&'a HubRecord, Problem> {
    let named = table.named(name).or_else(|| {
        table.records().find(|record| record.node.to_string() == name || record.hub.to_string() == name)
    });
    named.ok_or_else(|| {
        Problem::not_found(format!("there is no hub `{name}`"), "`millrace-hub members` lists them")
    })
}

pub(super) async fn remove(State(api): State<Api>, Path(name): Path<String>) -> Answer {
    let cluster = api.0.registry.cluster();
    for _ in 0..TRIES_MAX {
        let (record, txn) = removal(&cluster.table(), &name)?;
        if cluster.decide(txn).await.map_err(|error| undecided(&error))? {
            tracing::warn!(name, node = %record.node, "a hub is let go");
            return Ok(Json(json!({ "node": record.node, "name": record.name, "state": "leaving" })));
        }
    }
    Err(Problem::unavailable("too many changes came together", "try again"))
}

/// The hub that is called `name`, and how it is let go: only while another one that keeps readings stays, so that of two
/// removals at once the second finds the first.
fn removal(table: &Table, name: &str) -> Result<(HubRecord, Txn), Problem> {
    let record = find(table, name)?;
    let stays = |other: &&Dated<HubRecord>| {
        let other = &other.value;
        other.node != record.node && other.state == HubState::Member && !other.witness
    };
    let mut compares = Vec::new();
    if !record.witness {
        let Some(staying) = table.hubs.values().find(stays) else {
            let message = format!("`{name}` is the only hub that keeps readings");
            let hint = "let another hub join first; `millrace-hub members` shows when it is a member";
            return Err(Problem::new(StatusCode::CONFLICT, "conflict", message, hint));
        };
        compares.push(Compare::unchanged(keys::hub(staying.value.node), staying.revision));
    }
    let revision = table.hubs.get(&record.node).map_or(0, |dated| dated.revision);
    compares.push(Compare::unchanged(keys::hub(record.node), revision));
    let leaving = HubRecord { state: HubState::Leaving, ..record.clone() };
    let then = vec![put(keys::hub(record.node), &leaving).map_err(|error| of_registry(&error))?];
    Ok((record.clone(), Txn { compares, then, otherwise: Vec::new() }))
}

pub(super) async fn placement(State(api): State<Api>) -> Answer {
    let table = api.0.registry.cluster().table();
    let placement = &table.placement.value;
    let name = names(&table);
    let partitions: Vec<Value> = placement
        .assignments()
        .map(|(partition, assignment)| {
            json!({
                "partition": partition,
                "replicas": named(&name, &assignment.replicas),
                "target": named(&name, &assignment.target),
                "joining": named(&name, &assignment.joining.iter().copied().collect::<Vec<_>>()),
            })
        })
        .collect();
    let load: BTreeMap<&str, usize> = placement
        .load()
        .into_iter()
        .map(|(node, count)| (name.get(&node).map_or("?", |n| n.as_str()), count))
        .collect();
    Ok(Json(json!({
        "version": placement.version,
        "replicas": table.settings.value.replicas,
        "moving": placement.moving(),
        "load": load,
        "partitions": partitions,
    })))
}

fn names(table: &Table) -> BTreeMap<NodeId, String> {
    table.records().map(|record| (record.node, record.name.clone())).collect()
}

fn named(names: &BTreeMap<NodeId, String>, nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(|node| names.get(node).cloned().unwrap_or_else(|| node.to_string())).collect()
}

pub(super) async fn plan(State(api): State<Api>, Query(pairs): Query<Vec<(String, String)>>) -> Answer {
    let cluster = api.0.registry.cluster();
    let table = cluster.table();
    let (mut sites, mut names) = (table.sites(), names(&table));
    let mut replicas = table.settings.value.replicas;
    let mut next = next_node(cluster).await?;
    for (key, value) in &pairs {
        match key.as_str() {
            "add" => {
                let parts =
                    value.split_once('/').filter(|(region, name)| !region.is_empty() && !name.is_empty());
                let Some((region, name)) = parts else {
                    let message = format!("`{value}` does not say where the hub would stand");
                    return Err(Problem::bad_request(
                        message,
                        "write add=REGION/NAME, for example add=eu-3/hub-4",
                    ));
                };
                if names.values().any(|known| known == name) {
                    let message = format!("there is a hub `{name}` already");
                    return Err(Problem::bad_request(message, "name the hub that would come otherwise"));
                }
                sites.push(Site { node: next, region: region.to_owned() });
                names.insert(next, name.to_owned());
                next = NodeId(next.0 + 1);
            }
            "remove" => {
                let node = find(&table, value)?.node;
                sites.retain(|site| site.node != node);
            }
            "replicas" => replicas = count(value)?,
            other => {
                let message = format!("there is no parameter `{other}`");
                return Err(Problem::bad_request(message, "known are add, remove, replicas"));
            }
        }
    }
    if sites.is_empty() {
        return Err(Problem::bad_request("no hub would be left", "leave one, or add one"));
    }
    let wanted = target(&sites, replicas);
    let moves = table.placement.value.plan(&wanted);
    let mut gains: BTreeMap<String, usize> = BTreeMap::new();
    let mut load: BTreeMap<String, usize> = BTreeMap::new();
    for name in moves.iter().flat_map(|moved| named(&names, &moved.add)) {
        *gains.entry(name).or_default() += 1;
    }
    for name in wanted.values().flat_map(|nodes| named(&names, nodes)) {
        *load.entry(name).or_default() += 1;
    }
    let shown: Vec<Value> = moves
        .iter()
        .map(|moved| {
            json!({
                "partition": moved.partition,
                "add": named(&names, &moved.add),
                "remove": named(&names, &moved.remove),
            })
        })
        .collect();
    Ok(Json(
        json!({ "moves": shown, "count": shown.len(), "gains": gains, "load": load, "replicas": replicas }),
    ))
}

async fn next_node(cluster: &Cluster) -> Result<NodeId, Problem> {
    let next = cluster.control().get(keys::NEXT_NODE.as_bytes(), Level::Local).await;
    let next = next.map_err(|error| undecided(&error))?.value;
    let number = next.and_then(|next| std::str::from_utf8(&next.value).ok()?.parse().ok());
    Ok(NodeId(number.unwrap_or(u64::MAX / 2)))
}

fn count(text: &str) -> Result<usize, Problem> {
    let fits = text.parse().ok().filter(|count| (1..=REPLICAS_MAX).contains(count));
    fits.ok_or_else(|| {
        Problem::bad_request(
            format!("`{text}` is no number of replicas"),
            format!("write 1 to {REPLICAS_MAX}"),
        )
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsRequest {
    replicas: usize,
}

pub(super) async fn settings(State(api): State<Api>) -> Answer {
    let settings = api.0.registry.cluster().table().settings.value;
    Ok(Json(json!({ "replicas": settings.replicas })))
}

pub(super) async fn set(State(api): State<Api>, Json(asked): Json<SettingsRequest>) -> Answer {
    let replicas = count(&asked.replicas.to_string())?;
    let cluster = api.0.registry.cluster();
    for _ in 0..TRIES_MAX {
        let before = cluster.table().settings.clone();
        let settings = Settings { replicas };
        let compares = vec![Compare::unchanged(keys::SETTINGS, before.revision)];
        let then = vec![put(keys::SETTINGS.into(), &settings).map_err(|error| of_registry(&error))?];
        let decided = cluster.decide(Txn { compares, then, otherwise: Vec::new() }).await;
        if decided.map_err(|error| undecided(&error))? {
            return Ok(Json(json!({ "replicas": replicas })));
        }
    }
    Err(Problem::unavailable("too many changes came together", "try again"))
}

#[cfg(test)]
mod tests {
    use millrace_hub_control::kv::{Command, Outcome, Store};
    use millrace_link::KeyHash;
    use millrace_model::{HubId, Incarnation, Wall};

    use super::*;

    fn record(node: u64, witness: bool) -> HubRecord {
        HubRecord {
            node: NodeId(node),
            hub: HubId::from_bytes([u8::try_from(node).unwrap(); 16]),
            name: format!("hub-{node}"),
            region: "north".into(),
            addresses: vec![format!("hub-{node}:7443")],
            witness,
            control: Incarnation::new(node),
            store: None,
            state: HubState::Member,
            joined_at: Wall(0),
            key: KeyHash::from_bytes([7; 32]),
        }
    }

    /// These hubs in a store, and the table that whoever reads it has.
    fn decided(records: &[HubRecord]) -> (Store, Table) {
        let (mut store, mut table) = (Store::default(), Table::default());
        for record in records {
            let then = vec![put(keys::hub(record.node), record).unwrap()];
            let outcome = store.apply(&[Command::Txn(Txn { then, ..Txn::default() })]).0.remove(0);
            let Outcome::Txn { revision, .. } = outcome else { panic!("{outcome:?}") };
            table.hubs.insert(record.node, Dated { value: record.clone(), revision });
        }
        (store, table)
    }

    #[test]
    fn of_two_removals_at_once_one_leaves_the_last_hub_that_keeps_readings() {
        let (mut store, table) = decided(&[record(1, false), record(2, false), record(3, true)]);
        let mut holds = |name: &str| {
            let (_, txn) = removal(&table, name).unwrap();
            let outcome = store.apply(&[Command::Txn(txn)]).0.remove(0);
            matches!(outcome, Outcome::Txn { held: true, .. })
        };
        assert!(holds("hub-3"), "a witness may go at any time");
        assert!(holds("hub-1"));
        assert!(!holds("hub-2"), "what it was decided from has changed");
        let (_, table) =
            decided(&[HubRecord { state: HubState::Leaving, ..record(1, false) }, record(2, false)]);
        assert!(removal(&table, "hub-2").is_err(), "and then it is the only one");
    }
}
