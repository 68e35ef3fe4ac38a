//! What only the owner of the data directory may ask, over the admin socket: join tokens and revocations.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use millrace_host::config::Span;
use millrace_host::http::Problem;
use millrace_hub_control::ControlError;
use millrace_hub_control::kv::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Api};
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
    /// Whether it makes a hub.
    #[serde(default)]
    pub(crate) hub: bool,
    /// The hub, or the device, whose place the new one takes.
    #[serde(default)]
    pub(crate) replace: Option<String>,
    /// Whether it makes a hub that only votes.
    #[serde(default)]
    pub(crate) witness: bool,
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
    let addresses = if asked.addresses.is_empty() { known_addresses(&api) } else { asked.addresses };
    let order = TokenOrder {
        name: asked.name,
        labels: asked.labels,
        uses: asked.uses,
        life: asked.expires.duration(),
        addresses,
        hub: asked.hub || asked.witness,
        replace: asked.replace,
        witness: asked.witness,
    };
    match api.0.registrar.make_token(order).await {
        Ok(token) => Ok(Json(shown(&token))),
        Err(error) => Err(refused(&error)),
    }
}

/// Where the machine reaches a hub: this one, or another when this one is down.
fn known_addresses(api: &Api) -> Vec<String> {
    let cluster = api.0.registry.cluster();
    let table = cluster.table();
    let others = table.others(cluster.me()).into_values().filter(|record| !record.witness);
    let mut addresses = api.0.endpoint.addresses.clone();
    addresses.extend(others.filter_map(|record| record.addresses.first().cloned()));
    addresses.truncate(millrace_link::token::TOKEN_ADDRESSES_MAX);
    addresses
}

fn refused(error: &crate::registrar::TokenMakingError) -> Problem {
    use crate::registrar::TokenMakingError as E;
    match error {
        E::Token(error) => Problem::bad_request(error.to_string(), "change what the message names"),
        E::Registry(error) => of_registry(error),
        E::NoHub(name) => {
            let message = format!("there is no hub `{name}` whose place a new one could take");
            Problem::not_found(message, "`millrace-hub members` lists them")
        }
        E::Nobody(name) => {
            let message = format!("there is neither a hub nor an enrolled device `{name}`");
            Problem::not_found(message, "`millrace-hub members` and `millrace-hub devices` list them")
        }
        E::Ambiguous { .. } | E::Fixed(_) => {
            Problem::bad_request(error.to_string(), "change what the message names")
        }
        E::Witness => Problem::unavailable(error.to_string(), "a witness has no CA"),
        E::Entropy(error) => Problem::internal(error),
    }
}

pub(super) fn of_registry(error: &RegistryError) -> Problem {
    if let RegistryError::Control(error) = error {
        return undecided(error);
    }
    let message = error.to_string();
    let (message, hint) = match message.split_once(": ") {
        Some((what, fix)) => (what.to_owned(), fix.to_owned()),
        None => (message, "see the log".to_owned()),
    };
    match error {
        RegistryError::Unknown { .. } => Problem::not_found(message, hint),
        RegistryError::NameTaken { .. }
        | RegistryError::HubNameTaken { .. }
        | RegistryError::Revoked { .. }
        | RegistryError::TokenUsed => Problem::new(StatusCode::CONFLICT, "conflict", message, hint),
        RegistryError::TooMany { .. } => Problem::unavailable(message, hint),
        error => Problem::internal(error),
    }
}

/// What the cluster did not decide, and why.
pub(super) fn undecided(error: &ControlError) -> Problem {
    let message = error.to_string();
    let waits =
        "look at `millrace-hub members`; start the hubs that are down, or heal the network between them";
    match error {
        ControlError::NoQuorum { .. } => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-quorum", message, waits)
        }
        ControlError::Unknown(_) => {
            let hint = "a transaction that compares `mod` can be asked for twice without harm";
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "unknown-outcome", message, hint)
        }
        ControlError::Refused(Refusal::Compacted { .. }) => Problem::new(
            StatusCode::GONE,
            "compacted",
            message,
            "without a revision the present state is read",
        ),
        ControlError::Refused(Refusal::NoLease(_)) => {
            Problem::not_found(message, "`millrace-hub lease grant`, or `POST /v1/leases`, makes one")
        }
        ControlError::Refused(Refusal::Full { .. } | Refusal::TooManyLeases(_)) => {
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "full", message, "delete what is not needed")
        }
        ControlError::Refused(_) | ControlError::TooLarge { .. } | ControlError::NoMember(_) => {
            Problem::bad_request(message, "change what the message names")
        }
        ControlError::Membership(_) => Problem::new(StatusCode::CONFLICT, "conflict", message, "try again"),
        ControlError::Overloaded | ControlError::Late(_) | ControlError::Stopped(_) => {
            Problem::unavailable(message, "try again")
        }
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
    let now = api.0.clock.wall();
    let revoked = api.0.registry.revoke(&device, &reason, now).await;
    let device = revoked.map_err(|error| of_registry(&error))?;
    tracing::warn!(device = %device.id, name = device.name, reason, "a device is revoked");
    Ok(Json(
        json!({ "id": device.id, "name": device.name, "revoked": { "at": rfc3339(now), "reason": reason } }),
    ))
}
