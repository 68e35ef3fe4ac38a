//! Which file stands where in a hub's data directory, and the small ones among them.
//!
//! ```text
//! DATA/                  0700
//!   ca/                  certificate and key of the cluster's CA
//!   identity/            key and certificate of this hub
//!   about.json           name, region and addresses, as `init` was told
//!   cluster.json         this hub's number in its cluster, and how to reach the others
//!   control/             what the cluster decided: devices, tokens, hubs
//!   control.dump         what a new cluster begins with after a disaster, until its first start
//!   seen.jsonl           when devices were last here
//!   journal.db …         the records
//!   retention.json       since when they are here
//!   repairs.json         what was mended lately
//!   scrub.json           how far the scrub has come
//!   admin.sock           0600, while the hub runs
//!   runtime.json         process and ports, while the hub runs
//! ```
//!
//! Promise: a file is replaced whole or not at all.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use millrace_host::files::replace;
use millrace_model::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};

/// A data directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places(PathBuf);

/// What a running hub says about itself, for tools on the same machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Runtime {
    /// Its process.
    pub pid: u32,
    /// Where its HTTP API listens.
    pub http: SocketAddr,
    /// Where it listens for agents (UDP).
    pub quic: SocketAddr,
}

/// What `init` was told about this hub. The config may override each of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Where agents reach it, `host:port`; port 0 stands for the port that it listens on.
    pub addresses: Vec<String>,
}

/// Who a hub is in its cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeatFile {
    /// Its number.
    pub node: NodeId,
    /// How often the cluster was made anew.
    pub epoch: u64,
    /// Which life of `control/`.
    pub control: Incarnation,
    /// Where other hubs are reached, before the table is known.
    #[serde(default)]
    pub seeds: Vec<String>,
    /// Whether it only votes and keeps no readings. It has no CA.
    #[serde(default)]
    pub witness: bool,
    /// Whether `control/` was used already: when it is empty all the same, it was lost.
    #[serde(default)]
    pub begun: bool,
    /// Whether it is to make the cluster: it is the first one, and has not begun yet.
    #[serde(default)]
    pub founding: bool,
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

    /// The cluster's CA.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.0.join("ca")
    }

    /// This hub's key and certificate.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.0.join("identity")
    }

    /// The records.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.db")
    }

    /// What a new cluster begins with after a disaster, until its first start has taken it in.
    #[must_use]
    pub fn dump(&self) -> PathBuf {
        self.0.join("control.dump")
    }

    /// Since when records are here.
    #[must_use]
    pub fn retention(&self) -> PathBuf {
        self.0.join("retention.json")
    }

    /// How far the scrub has come.
    #[must_use]
    pub fn scrub(&self) -> PathBuf {
        self.0.join("scrub.json")
    }

    /// What was mended.
    #[must_use]
    pub fn repairs(&self) -> PathBuf {
        self.0.join("repairs.json")
    }

    /// What the cluster decided.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// When devices were last here.
    #[must_use]
    pub fn seen(&self) -> PathBuf {
        self.0.join("seen.jsonl")
    }

    /// Devices and join tokens of a hub of before, which kept them by itself.
    #[must_use]
    pub fn registry(&self) -> PathBuf {
        self.0.join("registry.jsonl")
    }

    /// The socket for the command line, while the hub runs.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    fn runtime(&self) -> PathBuf {
        self.0.join("runtime.json")
    }

    fn cluster(&self) -> PathBuf {
        self.0.join("cluster.json")
    }

    fn about(&self) -> PathBuf {
        self.0.join("about.json")
    }

    /// Makes the directory for its owner alone, if it is not there.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn make(&self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    /// What `init` was told.
    ///
    /// # Errors
    /// When the file is missing, unreadable or malformed.
    pub fn read_about(&self) -> io::Result<About> {
        let bytes = std::fs::read(self.about())?;
        serde_json::from_slice(&bytes).map_err(io::Error::from)
    }

    /// Keeps what `init` was told.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_about(&self, about: &About) -> io::Result<()> {
        replace(&self.about(), &serde_json::to_vec_pretty(about)?)
    }

    /// Who this hub is in its cluster; `None` where it has none yet.
    ///
    /// # Errors
    /// When the file is unreadable or malformed.
    pub fn read_seat(&self) -> io::Result<Option<SeatFile>> {
        match std::fs::read(self.cluster()) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps who this hub is in its cluster.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_seat(&self, seat: &SeatFile) -> io::Result<()> {
        replace(&self.cluster(), &serde_json::to_vec_pretty(seat)?)
    }

    /// Says where the running hub is to be found.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self, runtime: &Runtime) -> io::Result<()> {
        replace(&self.runtime(), &serde_json::to_vec(runtime)?)
    }

    /// What a running hub said, if one runs, or the last one ended without a word.
    #[must_use]
    pub fn announced(&self) -> Option<Runtime> {
        std::fs::read(self.runtime()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    /// Takes back what [`Self::announce`] said.
    pub fn withdraw(&self) {
        for file in [self.runtime(), self.socket()] {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(file = %file.display(), %error, "could not remove a file of the running hub");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_hub_is_announced_and_withdrawn() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(dir.path());
        let runtime =
            Runtime { pid: 7, http: "127.0.0.1:1".parse().unwrap(), quic: "127.0.0.1:2".parse().unwrap() };
        assert_eq!(places.announced(), None);
        places.announce(&runtime).unwrap();
        assert_eq!(places.announced(), Some(runtime));
        places.withdraw();
        places.withdraw();
        assert_eq!(places.announced(), None);
    }
}
