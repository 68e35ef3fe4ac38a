//! When devices were last seen at this hub, what they ran, and the key that they came with: hints of this hub alone.
//!
//! Promise: one file, one line a minute and device at most; a file that is damaged is put aside and begun anew, since nothing
//! depends on it. Its lock is that of the data directory: whoever holds it is the only process there.
//! Absent: anything that the cluster decides.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use millrace_link::KeyHash;
use millrace_model::{DeviceId, Wall};

use super::RegistryError;
use super::entry::{Device, Entry};
use super::log::Log;

/// A device that keeps coming back is noted at most this often: µs. Its software and key are noted at once.
const SEEN_EVERY_US: i64 = 60 * 1_000_000;

/// The file is rewritten when it has this many more lines than it needs.
const SURPLUS_LINES_MAX: usize = 20_000;

/// One device, as it was last here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sighting {
    pub(crate) at: Wall,
    pub(crate) software: String,
    pub(crate) key: KeyHash,
}

/// All of them.
#[derive(Debug)]
pub struct Sightings {
    log: Mutex<Log>,
    latest: RwLock<BTreeMap<DeviceId, Sighting>>,
    /// Devices that were seen again so soon that only memory knows it, and when the log last heard of them.
    unwritten: Mutex<BTreeMap<DeviceId, Wall>>,
}

impl Sightings {
    /// Opens the file at `path`, or makes it, and compacts it.
    ///
    /// # Errors
    /// When another process has it open, or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let (mut log, entries) = match Log::open(path) {
            Err(error @ (RegistryError::Damaged { .. } | RegistryError::TooLong { .. })) => {
                tracing::warn!(%error, "what is known of who was seen is put aside: it is only a hint");
                let aside = path.with_extension("damaged");
                std::fs::rename(path, &aside).map_err(|source| RegistryError::Io {
                    action: "put aside",
                    path: path.to_owned(),
                    source,
                })?;
                Log::open(path)?
            }
            opened => opened?,
        };
        let lines = entries.len();
        let mut latest = BTreeMap::new();
        for entry in entries {
            if let Entry::Seen { device, at, software, key } = entry {
                latest.insert(device, Sighting { at, software, key });
            }
        }
        if latest.len() < lines {
            log.rewrite(&entries_of(&latest))?;
        }
        Ok(Self { log: Mutex::new(log), latest: RwLock::new(latest), unwritten: Mutex::default() })
    }

    /// Whether another process has the data directory of the file at `path` open now.
    #[must_use]
    pub fn is_held(path: &Path) -> bool {
        super::log::is_held(path)
    }

    pub(crate) fn of(&self, device: &DeviceId) -> Option<Sighting> {
        self.read().get(device).cloned()
    }

    /// A device, with when it was last here and the key that it came with then.
    pub(crate) fn added_to(&self, mut device: Device) -> Device {
        if let Some(seen) = self.of(&device.id) {
            (device.last_seen, device.software) = (Some(seen.at), seen.software);
            if device.newest_key() == Some(seen.key) {
                device.key = seen.key;
            }
        }
        device
    }

    /// The key that a device came with last.
    pub(crate) fn key_of(&self, device: &DeviceId) -> Option<KeyHash> {
        self.read().get(device).map(|seen| seen.key)
    }

    /// Notes that a device is, or was until now, here.
    pub(crate) fn note(&self, device: DeviceId, software: &str, key: KeyHash, now: Wall) {
        let mut log = lock(&self.log);
        let found = self.of(&device);
        let same = found.as_ref().is_some_and(|seen| seen.software == software && seen.key == key);
        let written = lock(&self.unwritten).get(&device).copied().or(found.map(|seen| seen.at));
        let recently = written.is_some_and(|at| now.0.saturating_sub(at.0).abs() < SEEN_EVERY_US);
        self.put(device, Sighting { at: now, software: software.to_owned(), key });
        if let (true, Some(at)) = (recently && same, written) {
            lock(&self.unwritten).insert(device, at);
            return;
        }
        lock(&self.unwritten).remove(&device);
        self.write_down(&mut log, device);
    }

    /// Writes what only memory knows: the process is about to end.
    pub(crate) fn settle(&self) {
        let mut log = lock(&self.log);
        let unwritten = std::mem::take(&mut *lock(&self.unwritten));
        for (device, written) in unwritten {
            if self.of(&device).is_some_and(|seen| seen.at != written) {
                self.write_down(&mut log, device);
            }
        }
    }

    fn write_down(&self, log: &mut Log, device: DeviceId) {
        let Some(Sighting { at, software, key }) = self.of(&device) else { return };
        if let Err(error) = log.note(&Entry::Seen { device, at, software, key }) {
            tracing::warn!(%error, "could not note that a device was seen");
        }
        if log.lines() > self.read().len() + SURPLUS_LINES_MAX {
            let rewritten = log.rewrite(&entries_of(&self.read()));
            rewritten.unwrap_or_else(|error| tracing::warn!(%error, "could not compact who was seen"));
        }
    }

    fn put(&self, device: DeviceId, sighting: Sighting) {
        self.latest.write().unwrap_or_else(PoisonError::into_inner).insert(device, sighting);
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<DeviceId, Sighting>> {
        self.latest.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entries_of(latest: &BTreeMap<DeviceId, Sighting>) -> Vec<Entry> {
    let seen = |(device, seen): (&DeviceId, &Sighting)| Entry::Seen {
        device: *device,
        at: seen.at,
        software: seen.software.clone(),
        key: seen.key,
    };
    latest.iter().map(seen).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
