//! `GET /v1/devices`: who is enrolled, who is connected, and what is here of each.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use millrace_hub_engine::DeviceSummary;
use millrace_model::{DeviceId, Wall};
use serde_json::{Value, json};

use super::{Answer, Api, stopping};
use crate::registry::Device;
use millrace_host::times::rfc3339;

pub(super) async fn list(State(api): State<Api>) -> Answer {
    let snapshot = api.0.driver.snapshot().await.ok_or_else(stopping)?;
    let held = snapshot.devices.into_iter().map(|summary| (summary.device, summary)).collect();
    Ok(Json(json!({ "devices": merged(api.0.registry.devices(), held, api.0.clock.wall()) })))
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
