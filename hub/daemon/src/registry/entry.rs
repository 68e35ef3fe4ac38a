//! What the registry remembers, and the lines of its logs.
//!
//! Promise: secrets are remembered as fingerprints only.

use std::collections::BTreeMap;

use millrace_link::{KeyHash, PeerIdentity};
use millrace_model::{DeviceId, Wall};
use serde::{Deserialize, Serialize};

/// Certificates that are remembered for each device: the last ones, so that a device which did not hear of its
/// renewal can come back with the one before.
pub const CERTIFICATES_MAX: usize = 8;

/// An enrolled device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Which device.
    pub id: DeviceId,
    /// Its name, unique among those that are not revoked.
    pub name: String,
    /// Such as `site` and `line`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The key that it last came with.
    pub key: KeyHash,
    /// Its certificates, oldest first, at most [`CERTIFICATES_MAX`].
    pub certificates: Vec<Certificate>,
    /// When it was enrolled.
    pub enrolled_at: Wall,
    /// When it last opened a session or left one, if it ever did.
    #[serde(default)]
    pub last_seen: Option<Wall>,
    /// What it ran then.
    #[serde(default)]
    pub software: String,
    /// When and why it was revoked, if it was.
    #[serde(default)]
    pub revoked: Option<Revocation>,
    /// When another machine took its place last, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replacement>,
}

impl Device {
    /// The key of its newest certificate.
    #[must_use]
    pub fn newest_key(&self) -> Option<KeyHash> {
        self.certificates.last().map(|certificate| certificate.key)
    }

    /// Whether this is a key of a machine whose place another one took.
    #[must_use]
    pub fn is_former(&self, key: &KeyHash) -> bool {
        self.replaced.as_ref().is_some_and(|replaced| replaced.keys.contains(key))
    }

    /// Whether one of its certificates has this key.
    #[must_use]
    pub fn has_key(&self, key: &KeyHash) -> bool {
        self.certificates.iter().any(|certificate| certificate.key == *key)
    }

    /// Another machine takes its place: id, name and labels stay, no certificate of before is good any more.
    pub(crate) fn replace(&mut self, certificate: Certificate, at: Wall) {
        let mut keys = self.replaced.take().map(|replaced| replaced.keys).unwrap_or_default();
        keys.extend(
            self.certificates.drain(..).map(|former| former.key).filter(|key| *key != certificate.key),
        );
        keys.dedup();
        let surplus = keys.len().saturating_sub(FORMER_KEYS_MAX);
        keys.drain(..surplus);
        self.key = certificate.key;
        self.certificates = vec![certificate];
        self.replaced = Some(Replacement { at, keys });
    }

    /// Adds a certificate; the oldest goes when there are more than [`CERTIFICATES_MAX`].
    pub(crate) fn add(&mut self, certificate: Certificate) {
        self.certificates.push(certificate);
        let surplus = self.certificates.len().saturating_sub(CERTIFICATES_MAX);
        self.certificates.drain(..surplus);
    }
}

/// Keys of machines whose place another one took that are remembered, so that they hear why they are refused. Older ones are refused as
/// unknown.
pub const FORMER_KEYS_MAX: usize = 32;

/// Another machine took the place of a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replacement {
    /// When.
    pub at: Wall,
    /// The keys that are refused since, oldest first.
    pub keys: Vec<KeyHash>,
}

/// One certificate of a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// End of its life.
    pub not_after: Wall,
    /// Its key.
    pub key: KeyHash,
}

impl Certificate {
    /// What a certificate that was just issued says.
    #[must_use]
    pub fn of(peer: &PeerIdentity) -> Self {
        Self { serial: peer.serial.to_string(), not_after: peer.not_after, key: peer.public_key_hash }
    }
}

/// A revocation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Wall,
    /// Why, for the device's operator.
    pub reason: String,
}

/// A join token, without its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Token {
    /// The secret's fingerprint, in hexadecimal.
    pub fingerprint: String,
    /// How many machines may enrol with it.
    pub uses: u32,
    /// Until when.
    pub expires: Wall,
    /// When it was made.
    pub created_at: Wall,
    /// The name that the machine gets, if it was decided.
    #[serde(default)]
    pub name: Option<String>,
    /// The labels that it gets.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Who has enrolled with it, each with the key that it came with.
    #[serde(default)]
    pub used_by: Vec<(DeviceId, KeyHash)>,
    /// Whether it makes a hub instead of a device.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hub: bool,
    /// The hub, or the device, whose place the new one takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<String>,
    /// When it takes a device's place: which device's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// For a hub: whether it only votes. `None`: a token of before, which leaves that to the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<bool>,
}

impl Token {
    /// Whether as many machines have enrolled with it as may.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.used_by.len() as u64 >= u64::from(self.uses)
    }
}

/// One line of a log: what changed. The cluster's decisions took the place of most; hubs of before wrote them, and are read
/// once ([`super::import`]). [`Entry::Seen`] is still written, by [`super::sightings`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Entry {
    /// A device, whole.
    Device { device: Device },
    /// A token, whole.
    Token { token: Token },
    /// A device enrolled with a token: both change in one line.
    Enrolled { device: Device, fingerprint: String },
    /// A certificate was issued to a known device.
    Renewed { device: DeviceId, certificate: Certificate },
    /// A device opened a session, or left one.
    Seen { device: DeviceId, at: Wall, software: String, key: KeyHash },
    /// A device was revoked.
    Revoked { device: DeviceId, at: Wall, reason: String },
}
