//! The manifest: which files a backup has, and what they hash to.
//!
//! Promise: it is written last, so a directory without one is no backup; a manifest that was changed is refused.
//! Absent: what the files mean.

use std::io;
use std::path::{Component, Path, PathBuf};

use millrace_host::files::replace;
use millrace_journal::{Copied, hash_file};
use millrace_model::{HubId, NodeId, Wall};
use serde::{Deserialize, Serialize};

/// Its name.
pub const MANIFEST: &str = "manifest.json";

/// Version of the form of backups. Fields are only added within one.
pub const FORMAT: u32 = 1;

/// A manifest is a few kilobytes; what is longer is none.
const BYTES_MAX: u64 = 1 << 20;

/// What a backup is of, and which files it has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// What made it.
    pub software: String,
    /// When.
    pub made_at: Wall,
    /// Whose store it holds.
    pub hub: HubId,
    /// That hub's name.
    pub name: String,
    /// Its number.
    pub node: NodeId,
    /// The cluster's epoch.
    pub epoch: u64,
    /// Revision of the cluster's decisions.
    pub revision: u64,
    /// The files, by name.
    pub files: Vec<Entry>,
    /// BLAKE3 over all of the above, in hexadecimal.
    #[serde(default)]
    pub check: String,
}

/// A file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its path below the backup's directory.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3, in hexadecimal.
    pub blake3: String,
}

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// There is none, or it cannot be read.
    #[error("{} holds no whole backup: {source}", directory.display())]
    Unreadable {
        /// Where.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("the manifest of {} is damaged: {what}", directory.display())]
    Damaged {
        /// Where.
        directory: PathBuf,
        /// How.
        what: String,
    },
    /// A newer program made it.
    #[error("the backup has format {found}, this program knows {FORMAT}: upgrade it")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// A file is not what was written.
    #[error("{name} in the backup is not what was written: {what}")]
    File {
        /// Which.
        name: String,
        /// What differs.
        what: String,
    },
}

impl Entry {
    /// The entry of a file that was copied.
    #[must_use]
    pub fn of(name: &str, copied: &Copied) -> Self {
        Self { name: name.to_owned(), bytes: copied.bytes, blake3: hex(&copied.hash) }
    }
}

impl Manifest {
    /// Writes it into `directory`.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn keep(mut self, directory: &Path) -> io::Result<()> {
        self.check = self.checked()?;
        replace(&directory.join(MANIFEST), &serde_json::to_vec_pretty(&self)?)
    }

    /// The manifest in `directory`, with its own check done.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn read(directory: &Path) -> Result<Self, ManifestError> {
        let unreadable = |source| ManifestError::Unreadable { directory: directory.to_owned(), source };
        let damaged = |what: String| ManifestError::Damaged { directory: directory.to_owned(), what };
        let path = directory.join(MANIFEST);
        let bytes = std::fs::metadata(&path).map_err(unreadable)?.len();
        if bytes > BYTES_MAX {
            return Err(damaged(format!("{bytes} bytes are too many")));
        }
        let bytes = std::fs::read(&path).map_err(unreadable)?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if manifest.format > FORMAT {
            return Err(ManifestError::Newer { found: manifest.format });
        }
        if manifest.checked().map_err(unreadable)? != manifest.check {
            return Err(damaged("its check does not fit".to_owned()));
        }
        match manifest.files.iter().find(|file| !stays_inside(&file.name)) {
            Some(file) => Err(damaged(format!("{} lies outside", file.name))),
            None => Ok(manifest),
        }
    }

    /// Reads every file and compares. `progress` hears the name of each before it is read.
    ///
    /// # Errors
    /// The first file that is not what was written.
    pub fn verify(&self, directory: &Path, mut progress: impl FnMut(&Entry)) -> Result<(), ManifestError> {
        for file in &self.files {
            progress(file);
            let wrong = |what: String| ManifestError::File { name: file.name.clone(), what };
            let found = hash_file(&directory.join(&file.name)).map_err(|error| wrong(error.to_string()))?;
            if found.bytes != file.bytes {
                return Err(wrong(format!("{} bytes instead of {}", found.bytes, file.bytes)));
            }
            if hex(&found.hash) != file.blake3 {
                return Err(wrong("its hash differs".to_owned()));
            }
        }
        Ok(())
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    fn checked(&self) -> io::Result<String> {
        let bare = Self { check: String::new(), ..self.clone() };
        Ok(blake3::hash(&serde_json::to_vec(&bare)?).to_hex().to_string())
    }
}

/// Whether a name stays below the directory that it is joined to.
fn stays_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

fn hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(directory: &Path) -> Manifest {
        std::fs::create_dir_all(directory.join("ca")).unwrap();
        std::fs::write(directory.join("ca/ca.key"), b"secret").unwrap();
        let copied = hash_file(&directory.join("ca/ca.key")).unwrap();
        let manifest = Manifest {
            format: FORMAT,
            software: "millrace-hub 0.1.0".into(),
            made_at: Wall(1),
            hub: HubId::from_bytes([7; 16]),
            name: "hub-a".into(),
            node: NodeId(1),
            epoch: 1,
            revision: 12,
            files: vec![Entry::of("ca/ca.key", &copied)],
            check: String::new(),
        };
        manifest.clone().keep(directory).unwrap();
        manifest
    }

    #[test]
    fn a_backup_reads_back_and_every_change_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let written = backup(dir.path());
        let read = Manifest::read(dir.path()).unwrap();
        assert_eq!(Manifest { check: String::new(), ..read.clone() }, written);
        read.verify(dir.path(), |_| {}).unwrap();
        std::fs::write(dir.path().join("ca/ca.key"), b"secreT").unwrap();
        let error = read.verify(dir.path(), |_| {}).unwrap_err();
        assert!(matches!(&error, ManifestError::File { name, .. } if name == "ca/ca.key"), "{error}");
        std::fs::write(dir.path().join("ca/ca.key"), b"secre").unwrap();
        assert!(read.verify(dir.path(), |_| {}).unwrap_err().to_string().contains("5 bytes instead of 6"));
    }

    #[test]
    fn a_manifest_that_was_changed_is_missing_or_leaves_its_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(ManifestError::Unreadable { .. })));
        let manifest = backup(dir.path());
        let path = dir.path().join(MANIFEST);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"epoch\": 1", "\"epoch\": 2")).unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(ManifestError::Damaged { .. })));
        let outside = Entry { name: "../etc/passwd".into(), ..manifest.files[0].clone() };
        Manifest { files: vec![outside], ..manifest.clone() }.keep(dir.path()).unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(ManifestError::Damaged { .. })));
        Manifest { format: FORMAT + 1, ..manifest }.keep(dir.path()).unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(ManifestError::Newer { found: 2 })));
    }
}
