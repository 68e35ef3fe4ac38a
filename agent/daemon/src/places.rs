//! Which file stands where in the data directory, and the small ones among them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use millrace_host::files::replace;
use serde::{Deserialize, Serialize};

use crate::memory::Memory;

/// A data directory.
#[derive(Clone, Debug)]
pub struct Places(PathBuf);

/// What a running agent says about itself, for tools on the same machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Runtime {
    /// Its process.
    pub pid: u32,
    /// Where its local HTTP listens.
    pub http: SocketAddr,
    /// Where its embedded broker listens, if it has one.
    pub mqtt: Option<SocketAddr>,
}

impl Places {
    /// The places below `directory`.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The data directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Key, certificate and CA.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.0.join("identity")
    }

    /// The journals.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.db")
    }

    /// How far the scrub has come.
    #[must_use]
    pub fn scrub(&self) -> PathBuf {
        self.0.join("scrub.json")
    }

    fn hubs(&self) -> PathBuf {
        self.0.join("hubs.json")
    }

    fn runtime(&self) -> PathBuf {
        self.0.join("runtime.json")
    }

    /// What the agent remembers of the hubs. Nothing when it never heard of any, or the file is damaged.
    #[must_use]
    pub fn memory(&self) -> Memory {
        std::fs::read(self.hubs()).map(|bytes| Memory::read(&bytes)).unwrap_or_default()
    }

    /// Keeps it for the next start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remember(&self, memory: &Memory) -> std::io::Result<()> {
        replace(&self.hubs(), &memory.write()?)
    }

    /// Says that the agent runs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self, runtime: &Runtime) -> std::io::Result<()> {
        replace(&self.runtime(), &serde_json::to_vec(runtime)?)
    }

    /// Says that the agent has ended. A file that is gone already is no fault.
    pub fn withdraw(&self) {
        let _gone = std::fs::remove_file(self.runtime());
    }

    /// Where the running agent is to be found.
    ///
    /// # Errors
    /// When none runs here.
    pub fn running(&self) -> std::io::Result<Runtime> {
        Ok(serde_json::from_slice(&std::fs::read(self.runtime())?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_found_until_it_is_withdrawn() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places::new(directory.path());
        assert!(places.running().is_err());
        let runtime = Runtime { pid: 7, http: "127.0.0.1:1".parse().unwrap(), mqtt: None };
        places.announce(&runtime).unwrap();
        assert_eq!(places.running().unwrap(), runtime);
        places.withdraw();
        assert!(places.running().is_err());
    }

    #[test]
    fn a_damaged_list_of_hubs_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places::new(directory.path());
        places.remember(&Memory::of_seeds(vec!["hub:7443".to_owned()])).unwrap();
        assert_eq!(places.memory().seeds, ["hub:7443"]);
        std::fs::write(directory.path().join("hubs.json"), b"[\"hub").unwrap();
        assert_eq!(places.memory(), Memory::default());
    }
}
