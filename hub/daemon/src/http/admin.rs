//! What only the owner of the data directory may ask, over the admin socket: join tokens and revocations.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use millrace_host::config::Span;
use millrace_host::http::Problem;
use millrace_hub_engine::Event;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Api};
use crate::driver::input::Input;
use crate::registrar::TokenOrder;
use crate::registry::RegistryError;
use millrace_host::times::rfc3339;

/// What a token is to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// The machine's name.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// For how long.
    pub(crate) expires: Span,
    /// For how many machines.
    pub(crate) uses: u32,
    /// Where the hub is reached; empty: as the hub knows.
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
}

/// What a revocation says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeRequest {
    /// Why, for the device's operator.
    pub(crate) reason: String,
}

/// A token as it is shown.
pub(crate) fn shown(token: &millrace_link::JoinToken) -> Value {
    json!({
        "token": token.to_string(),
        "expires": rfc3339(token.expires),
        "addresses": token.addresses,
        "name": token.name,
        "labels": token.labels,
    })
}

pub(super) async fn make_token(State(api): State<Api>, Json(asked): Json<TokenRequest>) -> Answer {
    let addresses =
        if asked.addresses.is_empty() { api.0.endpoint.addresses.clone() } else { asked.addresses };
    let order = TokenOrder {
        name: asked.name,
        labels: asked.labels,
        uses: asked.uses,
        life: asked.expires.duration(),
        addresses,
    };
    let registrar = Arc::clone(&api.0.registrar);
    let made = tokio::task::spawn_blocking(move || registrar.make_token(order)).await;
    match made.map_err(|error| Problem::internal(&error))? {
        Ok(token) => Ok(Json(shown(&token))),
        Err(error) => Err(refused(&error)),
    }
}

fn refused(error: &crate::registrar::TokenMakingError) -> Problem {
    use crate::registrar::TokenMakingError as E;
    match error {
        E::Token(error) => Problem::bad_request(error.to_string(), "change what the message names"),
        E::Registry(error) => of_registry(error),
        E::Entropy(error) => Problem::internal(error),
    }
}

fn of_registry(error: &RegistryError) -> Problem {
    let message = error.to_string();
    let (message, hint) = match message.split_once(": ") {
        Some((what, fix)) => (what.to_owned(), fix.to_owned()),
        None => (message, "see the log".to_owned()),
    };
    match error {
        RegistryError::Unknown { .. } => Problem::not_found(message, hint),
        RegistryError::NameTaken { .. } | RegistryError::Revoked { .. } | RegistryError::TokenUsed => {
            Problem::new(StatusCode::CONFLICT, "conflict", message, hint)
        }
        RegistryError::TooMany { .. } => Problem::unavailable(message, hint),
        error => Problem::internal(error),
    }
}

pub(super) async fn revoke(
    State(api): State<Api>,
    Path(device): Path<String>,
    Json(asked): Json<RevokeRequest>,
) -> Answer {
    let reason = asked.reason.trim().to_owned();
    if reason.is_empty() || reason.len() > 200 {
        let hint = "say why in 1 to 200 characters: the device's operator reads it";
        return Err(Problem::bad_request("the reason is empty or too long", hint));
    }
    let (registry, now, why) = (Arc::clone(&api.0.registry), api.0.clock.wall(), reason.clone());
    let revoked = tokio::task::spawn_blocking(move || registry.revoke(&device, &why, now)).await;
    let device = match revoked.map_err(|error| Problem::internal(&error))? {
        Ok(device) => device,
        Err(error) => return Err(of_registry(&error)),
    };
    tracing::warn!(device = %device.id, name = device.name, reason, "a device is revoked");
    // When the driver has ended, so have the sessions.
    api.0.driver.tell(Input::Event(Event::Revoked { device: device.id, reason: reason.clone() })).await;
    Ok(Json(
        json!({ "id": device.id, "name": device.name, "revoked": { "at": rfc3339(now), "reason": reason } }),
    ))
}
