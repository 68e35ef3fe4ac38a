//! The hub's own certificate: a hub that holds the CA renews itself.
//!
//! Promise: a hub that was switched off beyond its certificate's life starts with a fresh one.

use std::time::Duration;

use millrace_host::Exit;
use millrace_link::{CertificateAuthority, CertificateRequest, Identity, Role, Standing, VaultError};
use millrace_model::{HubId, Wall};

use crate::places::Places;
use millrace_host::Failure;

/// A fresh key and certificate for hub `id`.
///
/// # Errors
/// When the operating system gives no randomness, or the name or life cannot stand in a certificate.
pub(crate) fn issue(
    ca: &CertificateAuthority,
    id: HubId,
    name: &str,
    life: Duration,
    now: Wall,
) -> Result<Identity, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Internal, error.to_string());
    let request = CertificateRequest::fresh().map_err(|error| failed(&error))?;
    let issued = ca.issue(request.csr_der(), Role::Hub(id), name, life, now);
    let pem = issued.map_err(|error| failed(&error))?;
    Identity::granted(&request, &pem, ca.certificate_pem()).map_err(|error| failed(&error))
}

/// The hub's identity, renewed when two thirds of its life are over.
///
/// # Errors
/// When there is none, it cannot be read, or a new one cannot be kept.
pub(crate) fn current(
    places: &Places,
    ca: Option<&CertificateAuthority>,
    life: Duration,
    now: Wall,
) -> Result<Identity, Failure> {
    let identity = Identity::load(&places.identity()).map_err(|error| unreadable(places, &error))?;
    let Some(id) = identity.own().hub() else {
        let message = format!("{} holds a device's identity", places.identity().display());
        return Err(Failure::new(Exit::Config, message).hint("name the data directory of a hub"));
    };
    if matches!(Standing::of(identity.own(), now, Duration::ZERO), Standing::Fresh { .. }) {
        return Ok(identity);
    }
    // A witness asks another hub while it runs.
    let Some(ca) = ca else { return Ok(identity) };
    let renewed = issue(ca, id, &identity.own().name, life, now)?;
    renewed.save(&places.identity()).map_err(|error| unreadable(places, &error))?;
    tracing::info!("the hub's own certificate is renewed");
    Ok(renewed)
}

fn unreadable(places: &Places, error: &millrace_link::IdentityError) -> Failure {
    match error {
        millrace_link::IdentityError::Vault(VaultError::Missing { .. }) => missing(places),
        error => Failure::new(Exit::Config, error.to_string()),
    }
}

/// There is no hub in the data directory.
pub(crate) fn missing(places: &Places) -> Failure {
    let root = places.root().display();
    Failure::new(Exit::Config, format!("there is no hub in {root}")).hint(format!(
        "run `millrace-hub init --data {root} --name NAME --region REGION --address HOST:7443`, or name another directory"
    ))
}
