//! `GET /v1/devices`: who is enrolled, who is connected to which hub, and what is here of each.
//!
//! ```text
//!  caller ──▶ this hub ──"whose sessions have you?"──▶ every other hub that it reaches
//! ```
//!
//! Promise: a device counts as offline only when every hub has said that it has no session; otherwise its `online` is null. The figures
//! of records are this hub's own.

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use millrace_hub_engine::DeviceSummary;
use millrace_model::{DeviceId, Incarnation, Wall};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{Answer, Api, others, stopping};
use crate::registry::Device;
use millrace_host::times::rfc3339;

/// What another hub is asked.
const QUESTION: &[u8] = br#"{"whose_sessions":true}"#;

/// The sessions of one hub.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sessions {
    sessions: BTreeMap<DeviceId, Vec<Incarnation>>,
}

pub(super) async fn list(State(api): State<Api>) -> Answer {
    let snapshot = api.0.driver.snapshot().await.ok_or_else(stopping)?;
    let held: BTreeMap<_, _> =
        snapshot.devices.into_iter().map(|summary| (summary.device, summary)).collect();
    let mut sessions = BTreeMap::from([(api.0.endpoint.name.clone(), sessions(held.values()))]);
    let (theirs, unheard) = others::ask(&api, QUESTION, None).await;
    sessions.extend(theirs);
    let mut devices = merged(api.0.registry.devices(), held, api.0.clock.wall());
    for device in &mut devices {
        place(device, &sessions, unheard.is_empty());
    }
    Ok(Json(json!({ "hub": api.0.endpoint.name, "unheard": unheard, "devices": devices })))
}

/// Whether another hub asks for the sessions of this one.
pub(super) fn is_asked(body: &[u8]) -> bool {
    body == QUESTION
}

/// What another hub is answered.
pub(super) async fn for_peer(api: &Api) -> Result<Bytes, String> {
    let snapshot = api.0.driver.snapshot().await.ok_or("the hub is stopping")?;
    let answer = sessions(snapshot.devices.iter());
    serde_json::to_vec(&answer).map(Bytes::from).map_err(|error| error.to_string())
}

fn sessions<'a>(held: impl Iterator<Item = &'a DeviceSummary>) -> Sessions {
    let online = held.filter(|held| !held.online.is_empty());
    Sessions { sessions: online.map(|held| (held.device, held.online.clone())).collect() }
}

/// Says where a device is connected: `online` at any hub, `hubs` by name. Without a session `online` is null, unless `all` have said
/// theirs.
fn place(device: &mut Value, sessions: &BTreeMap<String, Sessions>, all: bool) {
    let id = device.get("id").and_then(Value::as_str).and_then(|id| id.parse::<DeviceId>().ok());
    let at: Vec<(&String, &Vec<Incarnation>)> =
        sessions.iter().filter_map(|(hub, at)| Some((hub, at.sessions.get(&id?)?))).collect();
    let online: Vec<&Incarnation> = at.iter().flat_map(|(_, online)| online.iter()).collect();
    let hubs: Vec<&String> = at.iter().map(|(hub, _)| *hub).collect();
    if let Some(device) = device.as_object_mut() {
        let online = if online.is_empty() && !all { Value::Null } else { json!(online) };
        device.insert("online".to_owned(), online);
        device.insert("hubs".to_owned(), json!(hubs));
    }
}

/// Enrolled devices by name, then devices of which only records are here.
pub(crate) fn merged(
    mut enrolled: Vec<Device>,
    mut held: BTreeMap<DeviceId, DeviceSummary>,
    now: Wall,
) -> Vec<Value> {
    enrolled.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    let mut all = Vec::new();
    for device in enrolled {
        let summary = held.remove(&device.id);
        all.push(shown(device.id, Some(&device), summary.as_ref(), now));
    }
    all.extend(held.into_values().map(|summary| shown(summary.device, None, Some(&summary), now)));
    all
}

fn shown(id: DeviceId, device: Option<&Device>, held: Option<&DeviceSummary>, now: Wall) -> Value {
    let time = |wall: Wall| rfc3339(wall);
    let certificate = device.and_then(|device| device.certificates.last());
    let revoked = device.and_then(|device| device.revoked.as_ref());
    // The registry knows when sessions began and ended; whoever is here is seen now.
    let online = held.is_some_and(|held| !held.online.is_empty());
    let seen = if online { Some(now) } else { device.and_then(|device| device.last_seen) };
    json!({
        "id": id,
        "name": device.map(|device| &device.name),
        "labels": device.map(|device| &device.labels),
        "enrolled": device.map(|device| time(device.enrolled_at)),
        "last_seen": seen.map(time),
        "software": device.map(|device| &device.software).filter(|software| !software.is_empty()),
        "certificate": certificate.map(|certificate| json!({
            "serial": certificate.serial, "not_after": time(certificate.not_after),
        })),
        "revoked": revoked.map(|revoked| json!({ "at": time(revoked.at), "reason": revoked.reason })),
        "online": held.map(|held| held.online.clone()).unwrap_or_default(),
        "records": held.map_or(0, |held| held.records),
        "declared": held.map_or(0, |held| held.declared),
        "rejected": held.map_or(0, |held| held.rejected),
        "missing": held.map_or(0, |held| held.missing),
        "dropped": held.map_or(0, |held| held.dropped),
        "stored_bytes": held.map_or(0, |held| held.stored_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_session_here_is_offline_only_when_every_hub_has_said_so() {
        let (here, there, nowhere) =
            (DeviceId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]), DeviceId::from_bytes([3; 16]));
        let of = |device| Sessions { sessions: BTreeMap::from([(device, vec![Incarnation::new(7)])]) };
        let sessions = BTreeMap::from([("hub-a".to_owned(), of(here)), ("hub-b".to_owned(), of(there))]);
        let placed = |id: DeviceId, all| {
            let mut device = json!({ "id": id, "online": [] });
            place(&mut device, &sessions, all);
            (device["online"].clone(), device["hubs"].clone())
        };
        let seven = json!([Incarnation::new(7)]);
        assert_eq!(placed(here, false), (seven.clone(), json!(["hub-a"])));
        assert_eq!(placed(there, true), (seven, json!(["hub-b"])));
        assert_eq!(placed(nowhere, true), (json!([]), json!([])));
        assert_eq!(
            placed(nowhere, false),
            (Value::Null, json!([])),
            "it may be at a hub that does not answer"
        );
        let read: Sessions = serde_json::from_slice(&serde_json::to_vec(&of(here)).unwrap()).unwrap();
        assert_eq!(read.sessions, of(here).sessions);
    }
}
