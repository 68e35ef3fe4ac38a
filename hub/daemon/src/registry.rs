//! The registry: which devices are enrolled, which are revoked, and which join tokens are good.
//!
//! Promise: whatever a call that changes something returned is on disk; asking never waits for the disk.
//! Absent: certificates and keys themselves ([`crate::registrar`] issues), more than one hub.

pub(crate) mod book;
pub mod entry;
mod error;
mod log;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use millrace_link::{Admission, KeyHash, PeerIdentity, Role, Verdict};
use millrace_model::{DeviceId, Wall};

use book::Book;
use entry::Entry;
pub use entry::{Certificate, Device, Revocation, Token};
pub use error::RegistryError;
use log::Log;

/// Devices that one hub remembers, revoked ones included; their memory is about 1 KiB each.
pub const DEVICES_MAX: usize = 100_000;

/// Join tokens that are good at the same time.
pub const TOKENS_MAX: usize = 10_000;

/// A device that keeps coming back is noted at most this often: µs. Its software and key are noted at once.
const SEEN_EVERY_US: i64 = 60 * 1_000_000;

/// The file is rewritten when it has this many more lines than it needs.
const SURPLUS_LINES_MAX: usize = 20_000;

/// Devices and join tokens, on disk and in memory.
#[derive(Debug)]
pub struct Registry {
    book: RwLock<Book>,
    log: Mutex<Log>,
    /// Devices that were seen again so soon that only the book knows it, and when the log last heard of them.
    unwritten: Mutex<BTreeMap<DeviceId, Wall>>,
}

impl Registry {
    /// Opens the registry at `path`, or makes it, and compacts it.
    ///
    /// # Errors
    /// When another process has it open, a line is damaged, or the disk refuses.
    pub fn open(path: &Path, now: Wall) -> Result<Self, RegistryError> {
        let (mut log, entries) = Log::open(path)?;
        let mut book = Book::default();
        let lines = entries.len();
        entries.into_iter().for_each(|entry| book.apply(entry));
        book.forget_expired(now);
        let needed = book.entries();
        if needed.len() < lines {
            log.rewrite(&needed)?;
        }
        Ok(Self { book: RwLock::new(book), log: Mutex::new(log), unwritten: Mutex::default() })
    }

    /// Whether another process has the registry at `path` open now.
    #[must_use]
    pub fn is_held(path: &Path) -> bool {
        log::is_held(path)
    }

    /// One device.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<Device> {
        self.read().device(id).cloned()
    }

    /// The device with this id or name.
    #[must_use]
    pub fn find(&self, id_or_name: &str) -> Option<Device> {
        self.read().find(id_or_name).cloned()
    }

    /// A device's name.
    #[must_use]
    pub fn name_of(&self, id: &DeviceId) -> Option<String> {
        self.read().device(id).map(|device| device.name.clone())
    }

    /// All devices, by id.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        self.read().devices().cloned().collect()
    }

    /// How many devices are enrolled, and how many of them are revoked.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let book = self.read();
        (book.devices().len(), book.devices().filter(|device| device.revoked.is_some()).count())
    }

    /// The devices that never come back: those that are revoked.
    #[must_use]
    pub fn gone(&self) -> BTreeSet<DeviceId> {
        self.read().devices().filter(|device| device.revoked.is_some()).map(|device| device.id).collect()
    }

    /// Why the device is revoked, if it is.
    #[must_use]
    pub fn revocation(&self, id: &DeviceId) -> Option<Revocation> {
        self.read().device(id).and_then(|device| device.revoked.clone())
    }

    /// The token with this fingerprint.
    #[must_use]
    pub(crate) fn token(&self, fingerprint: &str) -> Option<Token> {
        self.read().token(fingerprint).cloned()
    }

    /// Remembers a new join token.
    ///
    /// # Errors
    /// When there are too many, its name is taken, or the disk refuses.
    pub fn add_token(&self, token: Token, now: Wall) -> Result<(), RegistryError> {
        let mut log = self.lock();
        if self.read().open_tokens(now) >= TOKENS_MAX {
            return Err(RegistryError::TooMany { what: "open join tokens", limit: TOKENS_MAX });
        }
        if let Some(name) = &token.name {
            self.free(name)?;
        }
        self.append(&mut log, Entry::Token { token })
    }

    /// Remembers a device that enrolled with the token of this fingerprint.
    ///
    /// # Errors
    /// When its name is taken, the token was used up meanwhile, or the disk refuses.
    pub(crate) fn enrol(&self, device: Device, fingerprint: &str) -> Result<(), RegistryError> {
        let mut log = self.lock();
        if self.read().devices().len() >= DEVICES_MAX {
            return Err(RegistryError::TooMany { what: "devices", limit: DEVICES_MAX });
        }
        self.free(&device.name)?;
        let used =
            self.token(fingerprint).is_none_or(|token| token.used_by.len() as u64 >= u64::from(token.uses));
        if used {
            return Err(RegistryError::TokenUsed);
        }
        self.append(&mut log, Entry::Enrolled { device, fingerprint: fingerprint.to_owned() })
    }

    /// Remembers a certificate that was issued to a known device.
    ///
    /// # Errors
    /// When the device is unknown or revoked, or the disk refuses.
    pub(crate) fn renewed(&self, device: DeviceId, certificate: Certificate) -> Result<(), RegistryError> {
        let mut log = self.lock();
        match self.read().device(&device) {
            Some(found) if found.revoked.is_none() => {}
            _ => return Err(RegistryError::Unknown { device: device.to_string() }),
        }
        self.append(&mut log, Entry::Renewed { device, certificate })
    }

    /// Notes that a device opened a session with this key. What is noted is not flushed: it is a hint for people.
    pub fn seen(&self, device: DeviceId, software: &str, key: KeyHash, now: Wall) {
        self.note(&mut self.lock(), device, software, key, now);
    }

    /// Notes that a device was here until now. What it runs and the key that it came with stay as they are known.
    pub fn left(&self, device: DeviceId, now: Wall) {
        let mut log = self.lock();
        if let Some(Device { software, key, .. }) = self.device(&device) {
            self.note(&mut log, device, &software, key, now);
        }
    }

    fn note(&self, log: &mut Log, device: DeviceId, software: &str, key: KeyHash, now: Wall) {
        let Some(found) = self.device(&device) else { return };
        let entry = Entry::Seen { device, at: now, software: software.to_owned(), key };
        let mut unwritten = self.unwritten();
        let written = unwritten.get(&device).copied().or(found.last_seen);
        let recently = written.is_some_and(|at| now.0.saturating_sub(at.0).abs() < SEEN_EVERY_US);
        if let (true, Some(at)) = (recently && found.software == software && found.key == key, written) {
            unwritten.insert(device, at);
            self.write().apply(entry);
            return;
        }
        unwritten.remove(&device);
        drop(unwritten);
        self.write_down(log, entry, now);
    }

    /// Writes when devices were last seen, as far as only memory knows it: the process is about to end.
    pub fn settle(&self, now: Wall) {
        let mut log = self.lock();
        let unwritten = std::mem::take(&mut *self.unwritten());
        for (device, written) in unwritten {
            let Some(Device { software, key, last_seen: Some(at), .. }) = self.device(&device) else {
                continue;
            };
            if at != written {
                self.write_down(&mut log, Entry::Seen { device, at, software, key }, now);
            }
        }
    }

    fn write_down(&self, log: &mut Log, entry: Entry, now: Wall) {
        if let Err(error) = log.note(&entry) {
            tracing::warn!(%error, "could not note that a device was seen");
        }
        self.write().apply(entry);
        if log.lines() > self.read().size() + SURPLUS_LINES_MAX {
            self.write().forget_expired(now);
            let rewritten = log.rewrite(&self.read().entries());
            rewritten.unwrap_or_else(|error| tracing::warn!(%error, "could not compact the registry"));
        }
    }

    /// Revokes the device with this id or name.
    ///
    /// # Errors
    /// When there is none, it is revoked already, or the disk refuses.
    pub fn revoke(&self, id_or_name: &str, reason: &str, now: Wall) -> Result<Device, RegistryError> {
        let mut log = self.lock();
        let found = self.find(id_or_name);
        let device = found.ok_or_else(|| RegistryError::Unknown { device: id_or_name.to_owned() })?;
        if let Some(revoked) = device.revoked {
            return Err(RegistryError::Revoked { name: device.name, reason: revoked.reason });
        }
        self.append(&mut log, Entry::Revoked { device: device.id, at: now, reason: reason.to_owned() })?;
        self.device(&device.id).ok_or_else(|| RegistryError::Unknown { device: id_or_name.to_owned() })
    }

    fn free(&self, name: &str) -> Result<(), RegistryError> {
        match self.read().taken(name) {
            Some(device) => {
                Err(RegistryError::NameTaken { name: name.to_owned(), id: device.id.to_string() })
            }
            None => Ok(()),
        }
    }

    /// On disk first, then in memory: the caller holds the log, so nothing comes between.
    fn append(&self, log: &mut Log, entry: Entry) -> Result<(), RegistryError> {
        log.append(&entry)?;
        self.write().apply(entry);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritten(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Wall>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Book> {
        self.book.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission for Registry {
    fn admits(&self, peer: &PeerIdentity) -> Verdict {
        match peer.role {
            Role::Device(id) => self.read().verdict(&id, &peer.public_key_hash),
            // Hubs do not talk to each other yet.
            Role::Hub(_) => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
