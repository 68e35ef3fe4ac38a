//! `/v1/leases`, `/v1/locks`: leases with a time to live, and on them locks and elections with fences.
//!
//! A lock is asked for again with the same lease until it is held: asking twice finds the same place in the row.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use millrace_host::config::Span;
use millrace_host::http::Problem;
use millrace_hub_control::kv::limits::{TTL_MS_MAX, TTL_MS_MIN};
use millrace_hub_control::kv::{Command, Outcome};
use millrace_hub_control::{ControlError, Lock};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::undecided;
use super::kv::level;
use super::{Answer, Api};

/// How long a request waits for a lock before it is answered without: below the patience of callers.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Longest name of a lock.
const NAME_BYTES_MAX: usize = 1_024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantRequest {
    ttl: Span,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LockRequest {
    lease: u64,
    #[serde(default)]
    value: String,
    #[serde(default)]
    wait: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LockParameters {
    lease: Option<u64>,
    level: Option<String>,
}

fn milliseconds(span: Span) -> u64 {
    u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX)
}

pub(super) async fn grant(State(api): State<Api>, Json(asked): Json<GrantRequest>) -> Answer {
    let ttl_ms = milliseconds(asked.ttl);
    if !(TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms) {
        let message = format!("a lease of {} is too short or too long", asked.ttl);
        return Err(Problem::bad_request(message, "ask for 1s to 366d"));
    }
    let command = Command::Grant { ttl_ms };
    match api.control().propose(&command).await.map_err(|error| undecided(&error))? {
        Outcome::Granted { lease, ttl_ms } => Ok(Json(json!({ "lease": lease, "ttl_ms": ttl_ms }))),
        other => Err(Problem::internal(&format!("{other:?} is no answer to a grant"))),
    }
}

pub(super) async fn renew(State(api): State<Api>, Path(lease): Path<u64>) -> Answer {
    let ttl_ms = api.control().renew(lease).await.map_err(|error| undecided(&error))?;
    Ok(Json(json!({ "lease": lease, "ttl_ms": ttl_ms })))
}

pub(super) async fn revoke(State(api): State<Api>, Path(lease): Path<u64>) -> Answer {
    let command = Command::Revoke { lease };
    match api.control().propose(&command).await.map_err(|error| undecided(&error))? {
        Outcome::Revoked { deleted, revision } => {
            Ok(Json(json!({ "lease": lease, "deleted": deleted, "revision": revision })))
        }
        other => Err(Problem::internal(&format!("{other:?} is no answer to a revocation"))),
    }
}

fn check(name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Problem::bad_request("a lock has a name of 1 to 1,024 bytes", "choose another name"));
    }
    Ok(())
}

fn shown(name: &str, lock: &Lock, held: bool) -> Value {
    json!({ "name": name, "fence": lock.fence, "lease": lock.lease, "held": held })
}

pub(super) async fn take(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(asked): Json<LockRequest>,
) -> Answer {
    check(&name)?;
    let failed = |error: ControlError| undecided(&error);
    let (control, value) = (api.control(), asked.value.into_bytes());
    if asked.wait {
        let waiting = control.lock(&name, asked.lease, value.clone().into());
        if let Ok(held) = tokio::time::timeout(WAIT_MAX, waiting).await {
            return Ok(Json(shown(&name, &held.map_err(failed)?, true)));
        }
    }
    // Finds the place that waiting left in the row.
    let lock = control.queue_for_lock(&name, asked.lease, value.into()).await.map_err(failed)?;
    let held = control.holds(&lock).await.map_err(failed)?;
    Ok(Json(shown(&name, &lock, held)))
}

pub(super) async fn release(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(asked): Query<LockParameters>,
) -> Answer {
    check(&name)?;
    let hint = "name the lease that it was taken with: ?lease=";
    let lease = asked.lease.ok_or_else(|| Problem::bad_request("no lease is named", hint))?;
    let released = api.control().give_up(&name, lease).await.map_err(|error| undecided(&error))?;
    Ok(Json(json!({ "name": name, "lease": lease, "released": released })))
}

pub(super) async fn show(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(asked): Query<LockParameters>,
) -> Answer {
    check(&name)?;
    let level = level(asked.level.as_deref())?;
    let holder = api.control().holder(&name, level).await.map_err(|error| undecided(&error))?;
    let holder = holder.map(|holder| {
        json!({ "fence": holder.fence, "lease": holder.lease, "value": String::from_utf8_lossy(&holder.value) })
    });
    Ok(Json(json!({ "name": name, "holder": holder })))
}
