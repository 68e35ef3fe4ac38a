//! `GET /v1/status`: the hub on one page.

use axum::Json;
use axum::extract::State;
use millrace_host::http::Health;
use serde_json::json;

use super::{Answer, Api, stopping};

pub(super) async fn show(State(api): State<Api>) -> Answer {
    let api = &api.0;
    let now = api.driver.snapshot().await.ok_or_else(stopping)?;
    let (enrolled, revoked) = api.registry.counts();
    let door = api.listener.counts();
    let sum =
        |of: fn(&millrace_hub_engine::DeviceSummary) -> u64| -> u64 { now.devices.iter().map(of).sum() };
    Ok(Json(json!({
        "hub": api.endpoint.hub,
        "name": api.endpoint.name,
        "region": api.endpoint.region,
        "addresses": api.endpoint.addresses,
        "software": crate::SOFTWARE,
        "time": millrace_host::times::rfc3339(api.clock.wall()),
        "uptime_s": api.clock.moment().0 / 1_000_000,
        "quic": api.quic.to_string(),
        "http": api.http.to_string(),
        "healthy": api.pulse.healthy().is_ok(),
        "ready": api.pulse.ready().is_ok(),
        "problem": api.pulse.ready().err(),
        "sessions": now.sessions,
        "devices": {
            "enrolled": enrolled - revoked,
            "revoked": revoked,
            "online": now.devices.iter().filter(|device| !device.online.is_empty()).count(),
        },
        "records": sum(|device| device.records),
        "declared": sum(|device| device.declared),
        "missing": sum(|device| device.missing),
        "store": {
            "used_bytes": now.usage.used_bytes,
            "written_bytes": now.usage.written_bytes,
            "budget_bytes": api.store_budget_bytes,
            "full": now.full,
        },
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
