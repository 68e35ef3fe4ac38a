//! `GET /v1/status`: the hub on one page.

use axum::Json;
use axum::extract::State;
use millrace_host::http::Health;
use millrace_host::times::rfc3339;
use millrace_link::Identity;
use serde_json::{Value, json};

use super::{Answer, Api, ApiParts, members, stopping};
use crate::scrub;

pub(super) async fn show(State(api): State<Api>) -> Answer {
    let store = api.store();
    let api = &api.0;
    let now = api.driver.snapshot().await.ok_or_else(stopping)?;
    let (enrolled, revoked) = api.registry.counts();
    let door = api.listener.counts();
    let cluster = api.registry.cluster();
    let table = cluster.table();
    // What devices declare may be any number.
    let sum = |of: fn(&millrace_hub_engine::DeviceSummary) -> u64| -> u64 {
        now.devices.iter().map(of).fold(0, u64::saturating_add)
    };
    let retention = json!({
        "aged": now.retained.aged,
        "evicted": now.retained.evicted,
        "evicting": now.retained.evicting,
    });
    let replication = json!({
        "partitions": now.fullness.partitions,
        "synced": now.fullness.synced,
        "lacking": now.fullness.lacking,
        "owed": now.owed.iter().map(|debt| debt.records).fold(0, u64::saturating_add),
    });
    Ok(Json(json!({
        "hub": api.endpoint.hub,
        "name": api.endpoint.name,
        "region": api.endpoint.region,
        "addresses": api.endpoint.addresses,
        "node": cluster.me(),
        "epoch": cluster.epoch(),
        "hubs": table.hubs.len(),
        "filled": table.hub(cluster.me()).map_or("empty", |record| members::filled(record, store)),
        "replication": replication,
        "scrub": scrub::shown(&api.scrub.progress(), api.scrub_pace, now.usage.used_bytes),
        "mending": now.mending.iter().map(|mend| mend.left).fold(0, u64::saturating_add),
        "control": members::consensus(cluster.control()),
        "software": crate::SOFTWARE,
        "time": rfc3339(api.clock.wall()),
        "uptime_s": api.clock.moment().0 / 1_000_000,
        "quic": api.quic.to_string(),
        "http": api.http.to_string(),
        "healthy": api.pulse.healthy().is_ok(),
        "ready": api.pulse.ready().is_ok(),
        "working": api.pulse.working().is_ok(),
        "witness": api.pulse.is_witness(),
        "draining": api.pulse.draining.is_on(),
        "problem": api.pulse.working().err(),
        "sessions": now.sessions,
        "devices": {
            "enrolled": enrolled - revoked,
            "revoked": revoked,
            "online": now.devices.iter().filter(|device| !device.online.is_empty()).count(),
        },
        "records": sum(|device| device.records),
        "declared": sum(|device| device.declared),
        "rejected": sum(|device| device.rejected),
        "missing": sum(|device| device.missing),
        "dropped": sum(|device| device.dropped),
        "retention": retention,
        "store": {
            "used_bytes": now.usage.used_bytes,
            "written_bytes": now.usage.written_bytes,
            "budget_bytes": api.store_budget_bytes,
            "full": now.full,
        },
        "certificate": certificate(api).await,
        "commits": api.meters.commits.get(),
        "busy": now.busy,
        "door": {
            "connections": api.listener.connections(),
            "admitted": door.admitted,
            "challenged": door.challenged,
            "refused": door.refused,
            "failed": door.failed,
        },
        "alarms": api.board.latest(),
    })))
}

/// The hub's own certificate as it stands on disk, which is the one that it shows; null when it cannot be read.
async fn certificate(api: &ApiParts) -> Value {
    let directory = api.places.identity();
    let read = tokio::task::spawn_blocking(move || Identity::load(&directory)).await;
    let Ok(Ok(identity)) = read else { return Value::Null };
    let end = identity.own().not_after;
    json!({
        "not_after": rfc3339(end),
        "not_after_s": end.unix_seconds(),
        "left_s": end.unix_seconds().saturating_sub(api.clock.wall().unix_seconds()),
    })
}
