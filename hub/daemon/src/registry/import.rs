//! The registry of a hub of before, `registry.jsonl`: read once, and put into the cluster's decisions.
//!
//! Promise: what is read is everything that stood there; a damaged line is named and nothing is taken over.

use std::collections::BTreeMap;
use std::path::Path;

use millrace_model::DeviceId;

use super::RegistryError;
use super::entry::{Device, Entry, Revocation, Token};
use super::log;

/// Devices and tokens.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Import {
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    pub(crate) tokens: BTreeMap<String, Token>,
}

impl Import {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, RegistryError> {
        let mut found = Self::default();
        log::read(path)?.into_iter().for_each(|entry| found.apply(entry));
        Ok(found)
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Device { device } => drop(self.devices.insert(device.id, device)),
            Entry::Token { token } => drop(self.tokens.insert(token.fingerprint.clone(), token)),
            Entry::Enrolled { device, fingerprint } => {
                if let Some(token) = self.tokens.get_mut(&fingerprint) {
                    token.used_by.push((device.id, device.key));
                }
                self.devices.insert(device.id, device);
            }
            Entry::Renewed { device, certificate } => {
                if let Some(device) = self.devices.get_mut(&device) {
                    device.add(certificate);
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
                }
            }
        }
    }
}
