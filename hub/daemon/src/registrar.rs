//! The registrar: enrols machines that show a good join token, and renews certificates of known devices.
//!
//! Promise: a certificate leaves only after the cluster has decided to remember it. A secret is compared by its
//! fingerprint, so the time that it takes tells nothing about it. Whoever guesses is slowed down. A secret counts as unknown only
//! when the cluster says so: a hub that cannot ask it refuses nobody for good.
//! Absent: sockets; making tokens (`making`).

mod guesses;
mod making;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_host::Clock;
use millrace_hub_control::{ControlError, Level, Read};
use millrace_link::{
    CaError, CertificateAuthority, CertificateError, EnrolmentRefusal, EnrolmentRequest, JoinToken, KeyHash,
    PeerIdentity, Role,
};
use millrace_model::{DeviceId, HubId, Wall};
use tokio::time::timeout;

use self::guesses::Guesses;
pub use self::making::{TokenMakingError, TokenOrder, make_token};
use crate::cluster::keys;
use crate::cluster::record::EnrolledRecord;
use crate::registry::{Certificate, Device, Registry, RegistryError, Token};

/// How long the cluster is asked about a secret that this hub does not know: a machine that waits for its enrolment has other hubs.
const ASKING: Duration = Duration::from_secs(3);

/// The label that a machine asks with when it is to become a hub. A device's token makes no hub, and a hub's no device: it is
/// refused before the token is used.
pub const HUB_LABEL: &str = "millrace-hub";

/// Why a certificate was not issued to a known device or hub.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// This hub has no CA.
    #[error("this hub is a witness and issues no certificates: ask another hub")]
    Witness,
    /// The request cannot be certified.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// What was issued cannot be read. A fault in the program.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The registry refuses.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A refusal, for the machine that asked.
#[derive(Debug)]
pub struct Refused {
    /// Why, for its program.
    pub why: EnrolmentRefusal,
    /// Why, for its operator.
    pub text: String,
}

/// A certificate for a machine that enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The certificate, in PEM.
    pub pem: String,
    /// Whether the machine took the place of another one.
    pub replaced: bool,
}

/// Issues what the registry allows.
pub struct Registrar {
    registry: Arc<Registry>,
    ca_pem: String,
    /// A witness has none.
    ca: Option<CertificateAuthority>,
    clock: Clock,
    life: Duration,
    guesses: Guesses,
}

impl Registrar {
    /// A registrar whose certificates live for `life`. Without a CA, of which `ca_pem` is the certificate, it refuses all.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        ca_pem: &str,
        ca: Option<CertificateAuthority>,
        clock: Clock,
        life: Duration,
    ) -> Self {
        Self { registry, ca_pem: ca_pem.to_owned(), ca, clock, life, guesses: Guesses::default() }
    }

    /// The CA's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Where it remembers what it issues.
    pub(crate) const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The CA itself, for the hub's own certificate and for hubs that join; a witness has none.
    pub(crate) const fn ca(&self) -> Option<&CertificateAuthority> {
        self.ca.as_ref()
    }

    /// Makes a join token and remembers its fingerprint.
    ///
    /// # Errors
    /// When a part is beyond its limit, there is no randomness, or the registry refuses.
    pub async fn make_token(&self, order: TokenOrder) -> Result<JoinToken, TokenMakingError> {
        let ca = self.ca.as_ref().ok_or(TokenMakingError::Witness)?;
        make_token(&self.registry, ca, order, self.clock.wall()).await
    }

    /// Enrols the machine that asks from `source`, and returns its certificate.
    ///
    /// # Errors
    /// What it is to be told.
    pub async fn enrol(&self, request: &EnrolmentRequest, source: IpAddr) -> Result<Granted, Refused> {
        let now = self.clock.wall();
        if self.ca.is_none() {
            return Err(refused(EnrolmentRefusal::Unavailable, &RenewalError::Witness.to_string()));
        }
        if self.guesses.are_too_many(source, self.clock.moment()) {
            let text = "too many wrong secrets came from this address: wait a minute";
            return Err(refused(EnrolmentRefusal::Unavailable, text));
        }
        let token = self.token(&hex(&request.secret.fingerprint()), source).await?;
        if let Some((id, _)) = token.used_by.iter().find(|(_, key)| *key == request.public_key_hash) {
            // The same machine, which did not get the answer.
            let replaced = token.device.is_some();
            let again = self.again(*id, &token, request).await;
            return again.map(|pem| Granted { pem, replaced });
        }
        if token.expires <= now {
            let text = "the join token has expired: make a new one with `millrace-hub token create`";
            return Err(refused(EnrolmentRefusal::Expired, text));
        }
        if token.is_used_up() {
            return Err(refused(EnrolmentRefusal::Used, &RegistryError::TokenUsed.to_string()));
        }
        let decided = match self.fits(request, &token) {
            Ok(()) if token.hub => self.welcome_hub(request, &token, now).await,
            Ok(()) if token.device.is_some() => self.welcome_in_place(request, &token, now).await,
            Ok(()) => self.welcome(request, &token, now).await,
            Err(refused) => Err(refused),
        };
        let replaced = token.device.is_some();
        decided.map(|pem| Granted { pem, replaced }).inspect_err(|refused| {
            tracing::warn!(%source, why = ?refused.why, text = refused.text, "an enrolment was refused");
        })
    }

    /// The token with this fingerprint. One that this hub does not know another may have made a moment ago, so the cluster is asked
    /// before it is refused. That counts as a guess until it is answered: whoever guesses cannot make the cluster work for long.
    async fn token(&self, fingerprint: &str, source: IpAddr) -> Result<Token, Refused> {
        if let Some(token) = self.registry.token(fingerprint) {
            return Ok(token);
        }
        self.guesses.note(source, self.clock.moment());
        let cluster = self.registry.cluster();
        let key = keys::token(fingerprint);
        let asked = timeout(ASKING, cluster.control().get(&key, Level::Linearizable)).await;
        let why = match asked {
            Ok(Ok(Read { value: None, .. })) => {
                tracing::warn!(%source, "an enrolment with an unknown secret was refused");
                let text = "no such join token here: make one with `millrace-hub token create`";
                return Err(refused(EnrolmentRefusal::UnknownSecret, text));
            }
            Ok(Ok(Read { revision, .. })) => {
                cluster.caught_up(revision).await;
                "it was made just now".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the other hubs do not answer within {ASKING:?}"),
        };
        self.guesses.take_back(source);
        self.registry.token(fingerprint).ok_or_else(|| {
            tracing::warn!(%source, why, "whether a join token is good is not known here now");
            let text = "this hub cannot look the join token up now: try again, or ask another hub";
            refused(EnrolmentRefusal::Unavailable, text)
        })
    }

    /// A machine that asks for a name other than its token's is somebody's mistake: one of the two is wrong, and a device
    /// keeps its name.
    fn fits(&self, request: &EnrolmentRequest, token: &Token) -> Result<(), Refused> {
        let not_permitted = |text: &str| Err(refused(EnrolmentRefusal::NotPermitted, text));
        match (token.hub, request.labels.contains_key(HUB_LABEL)) {
            (true, false) => {
                return not_permitted("this join token makes a hub: use it with `millrace-hub join`");
            }
            (false, true) => {
                return not_permitted(
                    "this join token makes a device: use it with `millrace-agent enroll`, or make one with \
                     `millrace-hub token create --hub`",
                );
            }
            _ => {}
        }
        match (&request.replace, &token.replace) {
            (Some(wanted), None) => {
                return not_permitted(&format!(
                    "this join token enrols a new device: for the place of `{wanted}`, take one of \
                     `millrace-hub token create --replace {wanted}`, or leave out --replace"
                ));
            }
            (Some(wanted), Some(_)) if token.name.as_ref() != Some(wanted) => {
                let named = token.name.as_deref().unwrap_or_default();
                return not_permitted(&format!(
                    "the join token is for the place of `{named}`, not of `{wanted}`: say --replace {named}, or take one of \
                     `millrace-hub token create --replace {wanted}`"
                ));
            }
            _ => {}
        }
        match (&token.name, &request.name) {
            (Some(fixed), Some(asked)) if fixed != asked => Err(refused(
                EnrolmentRefusal::NotPermitted,
                &format!(
                    "the join token is for `{fixed}`, not `{asked}`: leave out --name, or take the token made for `{asked}`"
                ),
            )),
            _ => Ok(()),
        }
    }

    async fn welcome(&self, request: &EnrolmentRequest, token: &Token, now: Wall) -> Result<String, Refused> {
        let drawn = millrace_host::entropy::bytes().map_err(|error| unavailable(&error))?;
        let id = DeviceId::from_bytes(drawn);
        let generated = || format!("device-{}", id.to_string().chars().take(8).collect::<String>());
        let name = token.name.clone().or_else(|| request.name.clone()).unwrap_or_else(generated);
        let issued = self.issue(&request.csr_der, Role::Device(id), &name);
        let (pem, certificate) = issued.map_err(|error| not_issued(&error))?;
        let mut labels = request.labels.clone();
        labels.extend(token.labels.clone());
        let device = Device {
            id,
            name: name.clone(),
            labels,
            key: certificate.key,
            certificates: vec![certificate],
            enrolled_at: now,
            last_seen: None,
            software: String::new(),
            revoked: None,
            replaced: None,
        };
        let enrolled = self.registry.enrol(device, &token.fingerprint).await;
        enrolled.map_err(|error| not_enrolled(&error))?;
        tracing::info!(device = %id, name, "a device is enrolled");
        Ok(pem)
    }

    /// The machine takes the place of a device: it is the same device from now on, and the machine that was it is refused.
    async fn welcome_in_place(
        &self,
        request: &EnrolmentRequest,
        token: &Token,
        now: Wall,
    ) -> Result<String, Refused> {
        let device = token.device.and_then(|id| self.registry.device(&id));
        let Some(device) = device.filter(|device| device.revoked.is_none()) else {
            let text =
                "the device whose place the join token is for is revoked: enrol this machine as a new device";
            return Err(refused(EnrolmentRefusal::NotPermitted, text));
        };
        let (id, name) = (device.id, device.name);
        let issued = self.issue(&request.csr_der, Role::Device(id), &name);
        let (pem, certificate) = issued.map_err(|error| not_issued(&error))?;
        let replaced = self.registry.replace(id, &certificate, &token.fingerprint, now).await;
        replaced.map_err(|error| not_enrolled(&error))?;
        tracing::warn!(device = %id, name, "another machine took the place of a device: the one before is refused");
        Ok(pem)
    }

    /// A hub gets its certificate here and its number when it joins.
    async fn welcome_hub(
        &self,
        request: &EnrolmentRequest,
        token: &Token,
        now: Wall,
    ) -> Result<String, Refused> {
        let drawn = millrace_host::entropy::bytes().map_err(|error| unavailable(&error))?;
        let hub = HubId::from_bytes(drawn);
        let name = token.name.clone().or_else(|| request.name.clone());
        let name =
            name.ok_or_else(|| refused(EnrolmentRefusal::NotPermitted, "a hub needs a name: give --name"))?;
        let issued = self.issue(&request.csr_der, Role::Hub(hub), &name);
        let (pem, certificate) = issued.map_err(|error| not_issued(&error))?;
        let (replace, witness) = (token.replace.clone(), token.witness);
        let record = EnrolledRecord { key: certificate.key, name: name.clone(), replace, witness, at: now };
        let enrolled = self.registry.enrol_hub(hub, &record, &token.fingerprint).await;
        enrolled.map_err(|error| not_enrolled(&error))?;
        tracing::info!(%hub, name, "a hub is enrolled");
        Ok(pem)
    }

    async fn again(
        &self,
        id: DeviceId,
        token: &Token,
        request: &EnrolmentRequest,
    ) -> Result<String, Refused> {
        if token.hub {
            let hub = HubId::from_bytes(*id.as_bytes());
            let name = self.registry.hub_name(&hub);
            let name =
                name.ok_or_else(|| refused(EnrolmentRefusal::Used, &RegistryError::TokenUsed.to_string()))?;
            let issued = self.issue(&request.csr_der, Role::Hub(hub), &name);
            return issued.map(|(pem, _)| pem).map_err(|error| not_issued(&error));
        }
        self.renew(id, &request.public_key_hash, &request.csr_der).await.map_err(|error| match error {
            RenewalError::Registry(RegistryError::Unknown { .. }) => refused(
                EnrolmentRefusal::NotPermitted,
                "the device was enrolled with this token, and is revoked, or another machine took its place",
            ),
            error => unavailable(&error),
        })
    }

    /// A new certificate for a known device, over the key in its request (PKCS #10, DER), asked for by somebody with the key `by`.
    ///
    /// # Errors
    /// When the device is unknown or revoked, the key is not (or no longer) its own, the request is not well formed, or nothing can be decided now.
    pub async fn renew(&self, id: DeviceId, by: &KeyHash, csr_der: &[u8]) -> Result<String, RenewalError> {
        let unknown = || RegistryError::Unknown { device: id.to_string() };
        let device = self.registry.device(&id).ok_or_else(unknown)?;
        let (pem, certificate) = self.issue(csr_der, Role::Device(id), &device.name)?;
        self.registry.renewed(id, certificate, by).await?;
        tracing::info!(device = %id, name = device.name, "a certificate is issued");
        Ok(pem)
    }

    /// A certificate over the key in a request (PKCS #10, DER).
    pub(crate) fn issue(
        &self,
        csr_der: &[u8],
        role: Role,
        name: &str,
    ) -> Result<(String, Certificate), RenewalError> {
        let ca = self.ca.as_ref().ok_or(RenewalError::Witness)?;
        let pem = ca.issue(csr_der, role, name, self.life, self.clock.wall())?;
        let certificate = Certificate::of(&PeerIdentity::from_pem(&pem)?);
        Ok((pem, certificate))
    }
}

fn refused(why: EnrolmentRefusal, text: &str) -> Refused {
    Refused { why, text: text.to_owned() }
}

fn not_issued(error: &RenewalError) -> Refused {
    match error {
        RenewalError::Ca(CaError::Request(_) | CaError::Name(_)) => {
            refused(EnrolmentRefusal::NotPermitted, &error.to_string())
        }
        error => unavailable(error),
    }
}

fn not_enrolled(error: &RegistryError) -> Refused {
    match error {
        RegistryError::NameTaken { .. } | RegistryError::HubNameTaken { .. } => {
            refused(EnrolmentRefusal::NotPermitted, &error.to_string())
        }
        RegistryError::TokenUsed => refused(EnrolmentRefusal::Used, &error.to_string()),
        RegistryError::Control(ControlError::NoQuorum { .. }) => {
            refused(EnrolmentRefusal::Unavailable, &error.to_string())
        }
        error => unavailable(error),
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> Refused {
    tracing::error!(%error, "the registry or the CA does not work: nobody can enrol");
    refused(EnrolmentRefusal::Unavailable, "the hub cannot enrol now: its log says why")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
