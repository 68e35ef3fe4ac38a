//! The registry's memory: devices and join tokens as they stand in the cluster's decisions.
//!
//! Promise: pure; the same records give the same book.

use std::collections::BTreeMap;

use millrace_link::{KeyHash, Verdict};
use millrace_model::{DeviceId, Wall};

use super::entry::{Device, Token};

/// How long a token that expired is remembered, so that a late machine is told `expired` and not `unknown`: µs.
const EXPIRED_KEPT_US: i64 = 30 * 86_400 * 1_000_000;

/// Who lost its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expelled {
    /// The device was revoked, and why.
    Revoked(String),
    /// The machine that the device was: another one took its place.
    Replaced,
}

/// Whether a device was revoked, and when another machine took its place last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    revoked: bool,
    replaced: Option<Wall>,
}

impl Mark {
    fn of(device: &Device) -> Self {
        let replaced = device.replaced.as_ref().map(|replaced| replaced.at);
        Self { revoked: device.revoked.is_some(), replaced }
    }

    /// Who lost its place since.
    pub(crate) fn expelled(self, device: &Device) -> Option<Expelled> {
        let now = Self::of(device);
        match &device.revoked {
            Some(revoked) if !self.revoked => Some(Expelled::Revoked(revoked.reason.clone())),
            None if now.replaced != self.replaced => Some(Expelled::Replaced),
            _ => None,
        }
    }
}

/// Devices and tokens, each with the revision of its last change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Book {
    devices: BTreeMap<DeviceId, (Device, u64)>,
    /// Devices that are not revoked, by name.
    names: BTreeMap<String, DeviceId>,
    tokens: BTreeMap<String, (Token, u64)>,
}

impl Book {
    /// Puts a device in; who lost its place by that: the device, or the machine that it was.
    pub(crate) fn put_device(&mut self, device: Device, revision: u64) -> Option<Expelled> {
        let before = self.devices.get(&device.id).map(|(before, _)| Mark::of(before)).unwrap_or_default();
        let expelled = before.expelled(&device);
        if device.revoked.is_none() {
            self.names.insert(device.name.clone(), device.id);
        } else if self.names.get(&device.name) == Some(&device.id) {
            self.names.remove(&device.name);
        }
        self.devices.insert(device.id, (device, revision));
        expelled
    }

    pub(crate) fn remove_device(&mut self, id: &DeviceId) {
        if let Some((device, _)) = self.devices.remove(id)
            && self.names.get(&device.name) == Some(id)
        {
            self.names.remove(&device.name);
        }
    }

    pub(crate) fn put_token(&mut self, token: Token, revision: u64) {
        self.tokens.insert(token.fingerprint.clone(), (token, revision));
    }

    pub(crate) fn remove_token(&mut self, fingerprint: &str) {
        self.tokens.remove(fingerprint);
    }

    pub(crate) fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.get(id).map(|(device, _)| device)
    }

    /// A device, and the revision of its last change.
    pub(crate) fn dated_device(&self, id: &DeviceId) -> Option<(Device, u64)> {
        self.devices.get(id).cloned()
    }

    /// The device with this id, or else this name: the one that is not revoked, or the one that was revoked last.
    pub(crate) fn find(&self, id_or_name: &str) -> Option<&Device> {
        if let Some(device) = id_or_name.parse().ok().and_then(|id| self.device(&id)) {
            return Some(device);
        }
        if let Some(device) = self.taken(id_or_name) {
            return Some(device);
        }
        let retired = self.devices().filter(|device| device.name == id_or_name);
        retired.max_by_key(|device| device.revoked.as_ref().map(|revoked| revoked.at))
    }

    pub(crate) fn taken(&self, name: &str) -> Option<&Device> {
        self.names.get(name).and_then(|id| self.device(id))
    }

    pub(crate) fn devices(&self) -> impl ExactSizeIterator<Item = &Device> {
        self.devices.values().map(|(device, _)| device)
    }

    pub(crate) fn revoked(&self) -> impl Iterator<Item = &Device> {
        self.devices().filter(|device| device.revoked.is_some())
    }

    /// Who was revoked or replaced, and when.
    pub(crate) fn marks(&self) -> BTreeMap<DeviceId, Mark> {
        let marked = self.devices().map(|device| (device.id, Mark::of(device)));
        marked.filter(|(_, mark)| *mark != Mark::default()).collect()
    }

    /// A token, and the revision of its last change.
    pub(crate) fn token(&self, fingerprint: &str) -> Option<(Token, u64)> {
        self.tokens.get(fingerprint).cloned()
    }

    /// Tokens that can still be used at `now`.
    pub(crate) fn open_tokens(&self, now: Wall) -> usize {
        let open = |token: &&(Token, u64)| token.0.expires > now && !token.0.is_used_up();
        self.tokens.values().filter(open).count()
    }

    /// Fingerprints of tokens that expired so long before `now` that nobody asks for them any more.
    pub(crate) fn forgettable(&self, now: Wall) -> impl Iterator<Item = &String> {
        let old = move |token: &Token| token.expires.0.saturating_add(EXPIRED_KEPT_US) < now.0;
        self.tokens.iter().filter(move |(_, (token, _))| old(token)).map(|(fingerprint, _)| fingerprint)
    }

    /// What is known of the holder of a genuine certificate with this key. `came_with`: the key that the device came with
    /// last, as far as only this hub knows it.
    pub(crate) fn verdict(&self, id: &DeviceId, key: &KeyHash, came_with: Option<KeyHash>) -> Verdict {
        let Some(device) = self.device(id) else { return Verdict::Unknown };
        if device.revoked.is_some() || device.is_former(key) {
            return Verdict::Revoked;
        }
        // The key that it last came with counts as current until it comes with the newest: a device that never
        // heard of its renewal must find back.
        let newest = device.newest_key();
        let last = came_with.filter(|key| newest == Some(*key)).unwrap_or(device.key);
        if *key == last || newest == Some(*key) {
            return Verdict::CurrentKey;
        }
        if device.has_key(key) { Verdict::Admitted } else { Verdict::Unknown }
    }
}
