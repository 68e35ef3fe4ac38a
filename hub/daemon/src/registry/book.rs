//! The registry's memory: what all entries together say.
//!
//! Promise: pure; the same entries give the same book.

use std::collections::BTreeMap;

use millrace_link::{KeyHash, Verdict};
use millrace_model::{DeviceId, Wall};

use super::entry::{CERTIFICATES_MAX, Device, Entry, Revocation, Token};

/// How long a token that expired is remembered, so that a late machine is told `expired` and not `unknown`: µs.
const EXPIRED_KEPT_US: i64 = 30 * 86_400 * 1_000_000;

/// Devices and tokens.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Book {
    devices: BTreeMap<DeviceId, Device>,
    /// Devices that are not revoked, by name.
    names: BTreeMap<String, DeviceId>,
    tokens: BTreeMap<String, Token>,
}

impl Book {
    pub(crate) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Device { device } => self.put(device),
            Entry::Token { token } => {
                self.tokens.insert(token.fingerprint.clone(), token);
            }
            Entry::Enrolled { device, fingerprint } => {
                if let Some(token) = self.tokens.get_mut(&fingerprint) {
                    token.used_by.push((device.id, device.key));
                }
                self.put(device);
            }
            Entry::Renewed { device, certificate } => {
                if let Some(device) = self.devices.get_mut(&device) {
                    device.certificates.push(certificate);
                    let surplus = device.certificates.len().saturating_sub(CERTIFICATES_MAX);
                    device.certificates.drain(..surplus);
                }
            }
            Entry::Seen { device, at, software, key } => {
                if let Some(device) = self.devices.get_mut(&device) {
                    (device.last_seen, device.software, device.key) = (Some(at), software, key);
                }
            }
            Entry::Revoked { device, at, reason } => {
                if let Some(device) = self.devices.get_mut(&device) {
                    device.revoked = Some(Revocation { at, reason });
                    if self.names.get(&device.name) == Some(&device.id) {
                        self.names.remove(&device.name);
                    }
                }
            }
        }
    }

    fn put(&mut self, device: Device) {
        if device.revoked.is_none() {
            self.names.insert(device.name.clone(), device.id);
        }
        self.devices.insert(device.id, device);
    }

    /// Forgets tokens that expired long before `now`.
    pub(crate) fn forget_expired(&mut self, now: Wall) {
        self.tokens.retain(|_, token| token.expires.0.saturating_add(EXPIRED_KEPT_US) >= now.0);
    }

    /// Entries that make the same book.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let devices = self.devices.values().map(|device| Entry::Device { device: device.clone() });
        let tokens = self.tokens.values().map(|token| Entry::Token { token: token.clone() });
        devices.chain(tokens).collect()
    }

    /// How many entries it needs at most.
    pub(crate) fn size(&self) -> usize {
        self.devices.len() + self.tokens.len()
    }

    pub(crate) fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.get(id)
    }

    /// The device with this id, or else this name: the one that is not revoked, or the one that was seen last.
    pub(crate) fn find(&self, id_or_name: &str) -> Option<&Device> {
        if let Some(device) = id_or_name.parse().ok().and_then(|id| self.devices.get(&id)) {
            return Some(device);
        }
        if let Some(device) = self.names.get(id_or_name).and_then(|id| self.devices.get(id)) {
            return Some(device);
        }
        let retired = self.devices.values().filter(|device| device.name == id_or_name);
        retired.max_by_key(|device| device.revoked.as_ref().map(|revoked| revoked.at))
    }

    pub(crate) fn taken(&self, name: &str) -> Option<&Device> {
        self.names.get(name).and_then(|id| self.devices.get(id))
    }

    pub(crate) fn devices(&self) -> impl ExactSizeIterator<Item = &Device> {
        self.devices.values()
    }

    pub(crate) fn token(&self, fingerprint: &str) -> Option<&Token> {
        self.tokens.get(fingerprint)
    }

    /// Tokens that can still be used at `now`.
    pub(crate) fn open_tokens(&self, now: Wall) -> usize {
        let open = |token: &&Token| {
            token.expires > now && token.used_by.len() < usize::try_from(token.uses).unwrap_or(usize::MAX)
        };
        self.tokens.values().filter(open).count()
    }

    /// What is known of the holder of a genuine certificate with this key.
    pub(crate) fn verdict(&self, id: &DeviceId, key: &KeyHash) -> Verdict {
        let Some(device) = self.devices.get(id) else { return Verdict::Unknown };
        if device.revoked.is_some() {
            return Verdict::Revoked;
        }
        // The key that it last came with counts as current until it comes with the newest: a device that never
        // heard of its renewal must find back.
        let newest = device.certificates.last().map(|certificate| certificate.key);
        if *key == device.key || newest == Some(*key) {
            return Verdict::CurrentKey;
        }
        let known = device.certificates.iter().any(|certificate| certificate.key == *key);
        if known { Verdict::Admitted } else { Verdict::Unknown }
    }
}
