//! Making a backup of a hub, while it runs or not.
//!
//! Promise: the readings are those of one moment, and the decisions those of a later one, so every device whose readings are
//! there is known. The manifest is written last. Files are their owner's alone.
//! Absent: where the decisions come from (the running hub, or the files of a stopped one).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use millrace_host::{Exit, Failure};
use millrace_hub_control::Dump;
use millrace_journal::{Options, Reader, hash_file};
use millrace_model::{HubId, NodeId, Wall};

use super::manifest::{Entry, FORMAT, MANIFEST, Manifest};
use super::{CA, DUMP, JOURNAL};
use crate::opening;
use crate::places::Places;

/// Whose backup it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The hub.
    pub hub: HubId,
    /// Its name.
    pub name: String,
    /// Its number.
    pub node: NodeId,
    /// The cluster's epoch.
    pub epoch: u64,
}

/// A backup that is being made.
#[derive(Debug)]
pub struct Making {
    directory: PathBuf,
    files: Vec<Entry>,
}

impl Making {
    /// Begins one in `directory`, which is made; an empty one may be there.
    ///
    /// # Errors
    /// When something stands there, or it cannot be made.
    pub fn begin(directory: &Path) -> Result<Self, Failure> {
        let shown = directory.display();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| Failure::io(&format!("{shown} cannot be made"), &error))?;
        let taken = std::fs::read_dir(directory).map(|mut entries| entries.next().is_some());
        if taken.map_err(|error| Failure::io(&format!("{shown} cannot be read"), &error))? {
            let failure = Failure::new(Exit::Usage, format!("{shown} is not empty"));
            return Err(failure.hint("name a new directory for each backup"));
        }
        Ok(Self { directory: directory.to_owned(), files: Vec::new() })
    }

    /// Copies the readings. `progress` hears how many pages are left, of how many.
    ///
    /// # Errors
    /// When the store cannot be read, or the copy not kept.
    pub fn readings(&mut self, places: &Places, progress: impl FnMut(u64, u64)) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Io, error.to_string());
        let options = Options { size_limit_bytes: None, ..opening::options(0) };
        let reader = Reader::open(&places.journal(), &options).map_err(|error| failed(&error))?;
        let target = self.directory.join(JOURNAL);
        let copied = reader.back_up(&target, progress).map_err(|error| failed(&error))?;
        self.files.push(Entry::of(JOURNAL, &copied));
        Ok(())
    }

    /// Keeps the decisions.
    ///
    /// # Errors
    /// When they cannot be kept.
    pub fn decisions(&mut self, dump: &Dump) -> Result<(), Failure> {
        self.keep(DUMP, &dump.encode())
    }

    /// Keeps the CA and what `init` or `join` was told.
    ///
    /// # Errors
    /// When they cannot be read or kept.
    pub fn names(&mut self, places: &Places) -> Result<(), Failure> {
        let unreadable = |error: &io::Error| Failure::io("the CA cannot be read", error);
        let mut entries = std::fs::read_dir(places.ca())
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(|error| unreadable(&error))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let made = DirBuilder::new().mode(0o700).create(self.directory.join(CA));
        made.map_err(|error| Failure::io("the CA's directory cannot be made", &error))?;
        for entry in entries {
            let bytes = std::fs::read(entry.path()).map_err(|error| unreadable(&error))?;
            self.keep(&format!("{CA}/{}", entry.file_name().to_string_lossy()), &bytes)?;
        }
        let about = places.read_about().map_err(|error| Failure::io("about.json cannot be read", &error))?;
        let about = serde_json::to_vec_pretty(&about).map_err(|error| Failure::internal(&error))?;
        self.keep("about.json", &about)
    }

    /// Writes the manifest: from now on it is a backup.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn finish(self, origin: Origin, dump: &Dump, made_at: Wall) -> Result<Manifest, Failure> {
        let Origin { hub, name, node, epoch } = origin;
        let manifest = Manifest {
            format: FORMAT,
            software: crate::SOFTWARE.to_owned(),
            made_at,
            hub,
            name,
            node,
            epoch,
            revision: dump.revision,
            files: self.files,
            check: String::new(),
        };
        let kept = manifest.clone().keep(&self.directory);
        kept.map_err(|error| Failure::io(&format!("{MANIFEST} cannot be written"), &error))?;
        Ok(manifest)
    }

    /// Writes a file, flushes it, and notes what the disk has.
    fn keep(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.directory.join(name);
        let kept = || -> io::Result<Entry> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            if let Some(directory) = path.parent() {
                File::open(directory)?.sync_all()?;
            }
            Ok(Entry::of(name, &hash_file(&path)?))
        };
        let entry = kept().map_err(|error| Failure::io(&format!("{name} cannot be kept"), &error))?;
        self.files.push(entry);
        Ok(())
    }
}
