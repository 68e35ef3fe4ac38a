//! Making join tokens: what one says, and whose place it is for.
//!
//! Promise: a token's fingerprint is remembered before the token is shown. Whoever takes the place of a device takes its name and its
//! labels, once.
//! Absent: enrolling with one.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_link::{CertificateAuthority, EntropyError, JoinSecret, JoinToken, TokenError};
use millrace_model::{DeviceId, Wall};

use super::hex;
use crate::registry::{Registry, RegistryError, Token};

/// Why a join token was not made.
#[derive(Debug, thiserror::Error)]
pub enum TokenMakingError {
    /// A part is beyond its limit.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// This hub has no CA.
    #[error("this hub is a witness and makes no join tokens: ask another hub")]
    Witness,
    /// The registry refuses.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no hub of this name whose place could be taken.
    #[error("there is no hub `{0}` whose place a new one could take: `millrace-hub members` lists them")]
    NoHub(String),
    /// There is neither a hub nor a device of this name whose place could be taken.
    #[error(
        "there is neither a hub nor an enrolled device `{0}`: `millrace-hub members` and `millrace-hub devices` list them; \
         the place of a device that is revoked cannot be taken"
    )]
    Nobody(String),
    /// A hub and a device have this name.
    #[error(
        "there are a hub and a device `{name}`: say --hub for the hub, or name the device by its id, {device}"
    )]
    Ambiguous {
        /// The name.
        name: String,
        /// The device that has it.
        device: DeviceId,
    },
    /// Whoever takes a device's place takes its name and its labels, once.
    #[error(
        "whoever takes the place of `{0}` gets its name and its labels, and the token works once: leave out --name, --label and --uses"
    )]
    Fixed(String),
    /// There is no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// What a new join token says.
#[derive(Debug, Clone, Default)]
pub struct TokenOrder {
    /// The name that the machine gets.
    pub name: Option<String>,
    /// The labels that it gets.
    pub labels: BTreeMap<String, String>,
    /// How many machines may use it.
    pub uses: u32,
    /// For how long it is good.
    pub life: Duration,
    /// Where hubs are reached.
    pub addresses: Vec<String>,
    /// Whether the machine becomes a hub.
    pub hub: bool,
    /// The hub, or the device, whose place it takes.
    pub replace: Option<String>,
    /// Whether the hub only votes: with this token a witness joins, and without only a hub that keeps readings.
    pub witness: bool,
}

/// Makes a join token for the cluster of `ca` and remembers its fingerprint in `registry`.
///
/// # Errors
/// When a part is beyond its limit, there is no randomness, or the registry refuses.
pub async fn make_token(
    registry: &Registry,
    ca: &CertificateAuthority,
    order: TokenOrder,
    now: Wall,
) -> Result<JoinToken, TokenMakingError> {
    let place = place(registry, &order)?;
    let order = match &place {
        Place::Device(_, name) => TokenOrder { name: Some(name.clone()), uses: 1, ..order },
        Place::Hub => TokenOrder { hub: true, ..order },
        Place::New => order,
    };
    let secret = JoinSecret::fresh()?;
    let token = JoinToken {
        ca: ca.key_hash(),
        addresses: order.addresses,
        secret,
        expires: now.plus(order.life),
        name: order.name,
        labels: order.labels,
    };
    token.check()?;
    let remembered = Token {
        fingerprint: hex(&secret.fingerprint()),
        uses: order.uses.max(1),
        expires: token.expires,
        created_at: now,
        name: token.name.clone(),
        labels: token.labels.clone(),
        used_by: Vec::new(),
        hub: order.hub,
        replace: order.replace,
        device: if let Place::Device(id, _) = place { Some(id) } else { None },
        witness: order.hub.then_some(order.witness),
    };
    registry.add_token(remembered, now).await?;
    Ok(token)
}

/// Whose place a token is for.
enum Place {
    /// Nobody's.
    New,
    /// A hub's.
    Hub,
    /// A device's, which has this name.
    Device(DeviceId, String),
}

/// Whose place an order means: a hub's, or an enrolled device's, whichever has the name.
fn place(registry: &Registry, order: &TokenOrder) -> Result<Place, TokenMakingError> {
    let Some(name) = &order.replace else { return Ok(Place::New) };
    let hub = registry.cluster().table().named(name).is_some();
    let device = registry.find(name).filter(|device| device.revoked.is_none());
    match (hub, device) {
        (true, Some(device)) if !order.hub => {
            Err(TokenMakingError::Ambiguous { name: name.clone(), device: device.id })
        }
        (true, _) => Ok(Place::Hub),
        (false, _) if order.hub => Err(TokenMakingError::NoHub(name.clone())),
        (false, None) => Err(TokenMakingError::Nobody(name.clone())),
        (false, Some(device)) => {
            let renamed = order.name.as_ref().is_some_and(|named| *named != device.name);
            if renamed || !order.labels.is_empty() || order.uses > 1 {
                return Err(TokenMakingError::Fixed(device.name));
            }
            Ok(Place::Device(device.id, device.name))
        }
    }
}
