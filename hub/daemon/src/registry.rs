//! The registry: which devices are enrolled, which are revoked, and which join tokens are good.
//!
//! Promise: whatever a call that changes something returned is decided: it survives the loss of any minority of the hubs.
//! Asking never waits: it is answered from memory, which follows the decisions.
//! Absent: certificates and keys themselves ([`crate::registrar`] issues); consensus ([`crate::cluster`]).

pub(crate) mod book;
pub mod entry;
mod error;
pub(crate) mod import;
mod log;
pub mod sightings;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millrace_hub_control::kv::{Compare, KeyRange, Op, Txn};
use millrace_link::{Admission, KeyHash, PeerIdentity, Role, Verdict};
use millrace_model::{DeviceId, HubId, Wall};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::cluster::record::{EnrolledRecord, HubState};
use crate::cluster::{Cluster, TRIES_MAX, keys};
pub use book::Expelled;
pub use entry::{Certificate, Device, Replacement, Revocation, Token};
pub use error::RegistryError;
use import::Import;
use sightings::Sightings;

/// Devices that one cluster remembers, revoked ones included; their memory is about 1 KiB each.
pub const DEVICES_MAX: usize = 100_000;

/// Join tokens that are good at the same time.
pub const TOKENS_MAX: usize = 10_000;

/// Tokens that expired long ago and are forgotten together with each new one.
const FORGOTTEN_AT_ONCE: usize = 32;

/// Devices that are taken over in one transaction, each with two keys: at most 128 operations, and far below its bytes.
const IMPORTED_AT_ONCE: usize = 40;

/// Devices that came with their newest key and of which the cluster has not heard; further ones are told at their next session.
const NEWEST_WAITING_MAX: usize = 1_024;

/// Devices and join tokens.
pub struct Registry {
    cluster: Cluster,
    sightings: Sightings,
    newest: mpsc::Sender<DeviceId>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("sightings", &self.sightings).finish_non_exhaustive()
    }
}

impl Registry {
    /// The registry of `cluster`. Needs a tokio runtime.
    #[must_use]
    pub fn new(cluster: Cluster, sightings: Sightings) -> Arc<Self> {
        let (newest, mut came) = mpsc::channel(NEWEST_WAITING_MAX);
        let registry = Arc::new(Self { cluster, sightings, newest });
        let telling = Arc::downgrade(&registry);
        tokio::spawn(async move {
            while let Some(device) = came.recv().await {
                let Some(registry) = telling.upgrade() else { return };
                registry.tell_newest(device).await;
            }
        });
        registry
    }

    /// Whether another process has the data directory with these sightings open now.
    #[must_use]
    pub fn is_held(sightings: &Path) -> bool {
        Sightings::is_held(sightings)
    }

    /// The cluster whose registry it is.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// One device.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<Device> {
        let found = self.cluster.book().device(id).cloned();
        found.map(|device| self.seen_here(device))
    }

    /// The device with this id or name.
    #[must_use]
    pub fn find(&self, id_or_name: &str) -> Option<Device> {
        let found = self.cluster.book().find(id_or_name).cloned();
        found.map(|device| self.seen_here(device))
    }

    /// A device's name.
    #[must_use]
    pub fn name_of(&self, id: &DeviceId) -> Option<String> {
        self.cluster.book().device(id).map(|device| device.name.clone())
    }

    /// All devices, by id.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        let all: Vec<Device> = self.cluster.book().devices().cloned().collect();
        all.into_iter().map(|device| self.seen_here(device)).collect()
    }

    /// How many devices are enrolled, and how many of them are revoked.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let book = self.cluster.book();
        (book.devices().len(), book.revoked().count())
    }

    /// The devices that never come back: those that are revoked.
    #[must_use]
    pub fn gone(&self) -> BTreeSet<DeviceId> {
        self.cluster.book().revoked().map(|device| device.id).collect()
    }

    /// Why the device is revoked, if it is.
    #[must_use]
    pub fn revocation(&self, id: &DeviceId) -> Option<Revocation> {
        self.cluster.book().device(id).and_then(|device| device.revoked.clone())
    }

    /// Whether this is a key of a machine that the device was before another one took its place.
    #[must_use]
    pub fn is_former(&self, id: &DeviceId, key: &KeyHash) -> bool {
        self.cluster.book().device(id).is_some_and(|device| device.is_former(key))
    }

    /// The token with this fingerprint.
    #[must_use]
    pub(crate) fn token(&self, fingerprint: &str) -> Option<Token> {
        self.cluster.book().token(fingerprint).map(|(token, _)| token)
    }

    /// The name of a hub that joined, or that has a certificate and is about to.
    pub(crate) fn hub_name(&self, hub: &HubId) -> Option<String> {
        let table = self.cluster.table();
        let joined = table.node_of(hub).and_then(|node| table.hub(node)).map(|record| record.name.clone());
        joined.or_else(|| table.enrolled.get(hub).map(|enrolled| enrolled.name.clone()))
    }

    fn seen_here(&self, device: Device) -> Device {
        self.sightings.added_to(device)
    }

    /// Remembers a new join token.
    ///
    /// # Errors
    /// When there are too many, its name is taken, or nothing can be decided now.
    pub async fn add_token(&self, token: Token, now: Wall) -> Result<(), RegistryError> {
        if self.cluster.book().open_tokens(now) >= TOKENS_MAX {
            return Err(RegistryError::TooMany { what: "open join tokens", limit: TOKENS_MAX });
        }
        for _ in 0..TRIES_MAX {
            let mut txn = Txn::default();
            // One that replaces a device carries the name that the device has.
            if let Some(name) = token.name.as_ref().filter(|_| token.device.is_none()) {
                self.free(name, token.hub, token.replace.as_deref())?;
                if !token.hub {
                    txn.compares.push(Compare::absent(keys::device_name(name)));
                }
            }
            txn.then.extend(self.forgettable(now).into_iter().map(|old| Op::delete(KeyRange::one(old))));
            txn.then.push(put(keys::token(&token.fingerprint), &token)?);
            if self.cluster.decide(txn).await? {
                return Ok(());
            }
        }
        Err(RegistryError::Contended)
    }

    fn forgettable(&self, now: Wall) -> Vec<Bytes> {
        let book = self.cluster.book();
        book.forgettable(now).take(FORGOTTEN_AT_ONCE).map(|old| keys::token(old)).collect()
    }

    /// Remembers a device that enrolled with the token of this fingerprint.
    ///
    /// # Errors
    /// When its name is taken, the token was used up meanwhile, or nothing can be decided now.
    pub(crate) async fn enrol(&self, device: Device, fingerprint: &str) -> Result<(), RegistryError> {
        if self.cluster.book().devices().len() >= DEVICES_MAX {
            return Err(RegistryError::TooMany { what: "devices", limit: DEVICES_MAX });
        }
        let name = keys::device_name(&device.name);
        for _ in 0..TRIES_MAX {
            self.free(&device.name, false, None)?;
            let (compare, used) = self.use_token(fingerprint, device.id, device.key)?;
            let txn = Txn {
                compares: vec![compare, Compare::absent(name.clone())],
                then: vec![
                    used,
                    put(keys::device(&device.id), &device)?,
                    Op::put(name.clone(), device.id.to_string()),
                ],
                otherwise: Vec::new(),
            };
            if self.cluster.decide(txn).await? {
                return Ok(());
            }
        }
        Err(RegistryError::Contended)
    }

    /// Has another machine take the place of a device, with the token of this fingerprint and this certificate: whoever has a key of before
    /// is refused from then on.
    ///
    /// # Errors
    /// When the device is unknown or revoked, the token was used up meanwhile, or nothing can be decided now.
    pub(crate) async fn replace(
        &self,
        id: DeviceId,
        certificate: &Certificate,
        fingerprint: &str,
        now: Wall,
    ) -> Result<(), RegistryError> {
        let place = keys::device(&id);
        for _ in 0..TRIES_MAX {
            let unknown = || RegistryError::Unknown { device: id.to_string() };
            let found = self.cluster.book().dated_device(&id);
            let (mut device, revision) =
                found.filter(|(device, _)| device.revoked.is_none()).ok_or_else(unknown)?;
            let (unused, used) = self.use_token(fingerprint, id, certificate.key)?;
            device.replace(certificate.clone(), now);
            let compares = vec![unused, Compare::unchanged(place.clone(), revision)];
            let then = vec![used, put(place.clone(), &device)?];
            if self.cluster.decide(Txn { compares, then, otherwise: Vec::new() }).await? {
                return Ok(());
            }
        }
        Err(RegistryError::Contended)
    }

    /// Remembers a machine that got a hub's certificate with the token of this fingerprint.
    ///
    /// # Errors
    /// When its name is taken, the token was used up meanwhile, or nothing can be decided now.
    pub(crate) async fn enrol_hub(
        &self,
        hub: HubId,
        record: &EnrolledRecord,
        fingerprint: &str,
    ) -> Result<(), RegistryError> {
        for _ in 0..TRIES_MAX {
            self.free(&record.name, true, record.replace.as_deref())?;
            // A token's user is remembered by 128 bits and its key; that these name a hub, the token says.
            let user = DeviceId::from_bytes(*hub.as_bytes());
            let (compare, used) = self.use_token(fingerprint, user, record.key)?;
            let then = vec![used, put(keys::enrolled_hub(&hub), record)?];
            if self.cluster.decide(Txn { compares: vec![compare], then, otherwise: Vec::new() }).await? {
                return Ok(());
            }
        }
        Err(RegistryError::Contended)
    }

    /// That the token is as it is known here, and its use.
    fn use_token(
        &self,
        fingerprint: &str,
        user: DeviceId,
        key: KeyHash,
    ) -> Result<(Compare, Op), RegistryError> {
        let found = self.cluster.book().token(fingerprint);
        let (mut token, revision) =
            found.filter(|(token, _)| !token.is_used_up()).ok_or(RegistryError::TokenUsed)?;
        token.used_by.push((user, key));
        let place = keys::token(fingerprint);
        Ok((Compare::unchanged(place.clone(), revision), put(place, &token)?))
    }

    /// Remembers a certificate that was issued to a known device, because somebody with the key `by` asked for it.
    ///
    /// # Errors
    /// When the device is unknown or revoked, the key is none of its certificates', or nothing can be decided now.
    pub(crate) async fn renewed(
        &self,
        device: DeviceId,
        certificate: Certificate,
        by: &KeyHash,
    ) -> Result<(), RegistryError> {
        let unknown = || RegistryError::Unknown { device: device.to_string() };
        self.change(device, |found| match &found.revoked {
            // Another machine may have taken its place since it came.
            None if found.has_key(by) => {
                found.add(certificate.clone());
                Ok(true)
            }
            _ => Err(unknown()),
        })
        .await
    }

    /// Changes what is known of a device, again when somebody else changed it meanwhile. `alter` says whether there is
    /// anything to change.
    async fn change(
        &self,
        device: DeviceId,
        alter: impl Fn(&mut Device) -> Result<bool, RegistryError>,
    ) -> Result<(), RegistryError> {
        let place = keys::device(&device);
        for _ in 0..TRIES_MAX {
            let found = self.cluster.book().dated_device(&device);
            let (mut found, revision) =
                found.ok_or_else(|| RegistryError::Unknown { device: device.to_string() })?;
            let was_revoked = found.revoked.is_some();
            if !alter(&mut found)? {
                return Ok(());
            }
            let mut then = vec![put(place.clone(), &found)?];
            if found.revoked.is_some() && !was_revoked {
                then.push(Op::delete(KeyRange::one(keys::device_name(&found.name))));
            }
            let compares = vec![Compare::unchanged(place.clone(), revision)];
            if self.cluster.decide(Txn { compares, then, otherwise: Vec::new() }).await? {
                return Ok(());
            }
        }
        Err(RegistryError::Contended)
    }

    /// Notes that a device opened a session with this key: a hint for people. That it came with its newest key, the whole
    /// cluster is told.
    pub fn seen(&self, device: DeviceId, software: &str, key: KeyHash, now: Wall) {
        let Some((newest, last)) = self.cluster.book().device(&device).map(|d| (d.newest_key(), d.key))
        else {
            return;
        };
        self.sightings.note(device, software, key, now);
        if newest == Some(key) && last != key {
            // When too many wait, its next session tells.
            let _ = self.newest.try_send(device);
        }
    }

    /// Notes that a device was here until now. What it runs and the key that it came with stay as they are known.
    pub fn left(&self, device: DeviceId, now: Wall) {
        if let Some(seen) = self.sightings.of(&device) {
            self.sightings.note(device, &seen.software, seen.key, now);
        }
    }

    /// Writes when devices were last seen, as far as only memory knows it: the process is about to end.
    pub fn settle(&self) {
        self.sightings.settle();
    }

    async fn tell_newest(&self, device: DeviceId) {
        let told = self.change(device, |found| match found.newest_key() {
            Some(newest) if newest != found.key => {
                found.key = newest;
                Ok(true)
            }
            _ => Ok(false),
        });
        if let Err(error) = told.await {
            tracing::warn!(%error, %device, "that a device came with its newest key is told at its next session");
        }
    }

    /// Revokes the device with this id or name.
    ///
    /// # Errors
    /// When there is none, it is revoked already, or nothing can be decided now.
    pub async fn revoke(&self, id_or_name: &str, reason: &str, now: Wall) -> Result<Device, RegistryError> {
        let unknown = || RegistryError::Unknown { device: id_or_name.to_owned() };
        let id = self.find(id_or_name).ok_or_else(unknown)?.id;
        self.change(id, |found| match &found.revoked {
            None => {
                found.revoked = Some(Revocation { at: now, reason: reason.to_owned() });
                Ok(true)
            }
            Some(revoked) => {
                Err(RegistryError::Revoked { name: found.name.clone(), reason: revoked.reason.clone() })
            }
        })
        .await?;
        self.device(&id).ok_or_else(unknown)
    }

    /// Takes over what a hub of before kept by itself. Asked again it does the same again.
    pub(crate) async fn import(&self, import: Import) -> Result<(), RegistryError> {
        let mut ops = Vec::new();
        for device in import.devices.into_values() {
            if let Some(at) = device.last_seen {
                self.sightings.note(device.id, &device.software, device.key, at);
            }
            if device.revoked.is_none() {
                ops.push(Op::put(keys::device_name(&device.name), device.id.to_string()));
            }
            let device = Device { last_seen: None, software: String::new(), ..device };
            ops.push(put(keys::device(&device.id), &device)?);
        }
        for token in import.tokens.into_values() {
            ops.push(put(keys::token(&token.fingerprint), &token)?);
        }
        for batch in ops.chunks(IMPORTED_AT_ONCE * 2) {
            self.cluster.decide(Txn { then: batch.to_vec(), ..Txn::default() }).await?;
        }
        Ok(())
    }

    /// Whether nobody of its kind has this name. A hub may have the name of the one whose place it takes.
    fn free(&self, name: &str, hub: bool, replace: Option<&str>) -> Result<(), RegistryError> {
        if hub {
            let taken = self.cluster.table().named(name).map(|hub| hub.node);
            return match taken.filter(|_| replace != Some(name)) {
                Some(node) => Err(RegistryError::HubNameTaken { name: name.to_owned(), node }),
                None => Ok(()),
            };
        }
        match self.cluster.book().taken(name) {
            Some(device) => {
                Err(RegistryError::NameTaken { name: name.to_owned(), id: device.id.to_string() })
            }
            None => Ok(()),
        }
    }

    /// What is known of the holder of a hub's genuine certificate.
    fn hub_verdict(&self, hub: &HubId, key: &KeyHash) -> Verdict {
        let table = self.cluster.table();
        let found = table.node_of(hub).and_then(|node| table.hub(node));
        if let Some(record) = found.filter(|record| record.state != HubState::Leaving) {
            // A hub renews itself, and then the cluster's signature says that it is the same.
            return if record.key == *key { Verdict::CurrentKey } else { Verdict::Admitted };
        }
        if found.is_some() {
            // On its way out it is still heard.
            return Verdict::Admitted;
        }
        if table.was_removed(hub) {
            return Verdict::Revoked;
        }
        let enrolled = table.enrolled.get(hub).is_some_and(|enrolled| enrolled.key == *key);
        // A hub that was just made knows nobody: the cluster's signature has to do.
        if enrolled || table.hubs.is_empty() { Verdict::Admitted } else { Verdict::Unknown }
    }
}

impl Admission for Registry {
    fn admits(&self, peer: &PeerIdentity) -> Verdict {
        let key = &peer.public_key_hash;
        match peer.role {
            Role::Device(id) => self.cluster.book().verdict(&id, key, self.sightings.key_of(&id)),
            Role::Hub(id) => self.hub_verdict(&id, key),
        }
    }
}

/// A record as it stands under its key.
pub(crate) fn put(key: Bytes, record: &impl Serialize) -> Result<Op, RegistryError> {
    let value = serde_json::to_vec(record).map_err(|error| RegistryError::Entry(error.to_string()))?;
    Ok(Op::put(key, value))
}

#[cfg(test)]
pub(crate) mod tests;
