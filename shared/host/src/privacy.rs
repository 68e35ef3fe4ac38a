//! Privacy: what a program stores is readable by its owner alone.
//!
//! Promise: after [`begin`] every file that the process makes, SQLite's too, is 0600 and every directory 0700. [`tighten`]
//! takes the rights of others away from files that stand there from an older version or a careless copy.
//!
//! Files are tightened and not only warned about: their names are ours, nobody else has business in them, and a unit
//! with `StateDirectoryMode=0700` keeps others out just the same. The data directory itself is never changed: it may be a
//! mount point or somebody else's, and where others can list it they still read nothing; a warning says how to close it.
//! Absent: keys; those are refused when others can read them (`millrace-link`).

use std::fs::{Permissions, set_permissions, symlink_metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

/// The bits of group and others.
const OTHERS: u32 = 0o077;

/// Something in a data directory that others could get at.
#[derive(Debug)]
pub enum Finding {
    /// They can no more.
    Tightened {
        /// Which file.
        path: PathBuf,
        /// Its mode before.
        mode: u32,
    },
    /// They still can.
    Open {
        /// Which file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Why it could not be changed; `None` for the directory, which is left alone.
        error: Option<io::Error>,
    },
}

/// From now on the process makes files that are its owner's alone. Call it first: it holds for the whole process.
pub fn begin() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// Looks at the data directory `root` and the files in it whose names begin with one of `stems`, and takes the rights of
/// others away from the files. Links are left alone. A directory that is not there has nothing open.
#[must_use]
pub fn tighten(root: &Path, stems: &[&str]) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(mode) = open_mode(root) {
        found.push(Finding::Open { path: root.to_owned(), mode, error: None });
    }
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| stems.iter().any(|stem| name.starts_with(stem)));
        let path = entry.path();
        let Some(mode) = open_mode(&path).filter(|_| ours) else { continue };
        found.push(match set_permissions(&path, Permissions::from_mode(mode & !OTHERS)) {
            Ok(()) => Finding::Tightened { path, mode },
            Err(error) => Finding::Open { path, mode, error: Some(error) },
        });
    }
    found
}

/// The mode of what stands at `path`, when others have any right to it.
fn open_mode(path: &Path) -> Option<u32> {
    let found = symlink_metadata(path).ok().filter(|found| !found.is_symlink())?;
    let mode = found.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then_some(mode)
}

/// As [`tighten`], and says in the log what was found.
pub fn tighten_aloud(root: &Path, stems: &[&str]) {
    for finding in tighten(root, stems) {
        match finding {
            Finding::Tightened { path, mode } => {
                tracing::warn!("{} could be read by others (mode {mode:04o}); now it cannot", path.display());
            }
            Finding::Open { path, mode, error: None } => tracing::warn!(
                "others can look into the data directory (mode {mode:04o}); fix: chmod 0700 {}",
                path.display()
            ),
            Finding::Open { path, mode, error: Some(error) } => tracing::warn!(
                "{path} can be read by others (mode {mode:04o}) and is not ours to change ({error}); fix: as its owner, \
                 chmod go= {path}",
                path = path.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_of_ours_are_closed_and_the_rest_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        set_permissions(root, Permissions::from_mode(0o755)).unwrap();
        for name in ["journal.db", "journal.db-wal", "notes.txt", "elsewhere"] {
            std::fs::write(root.join(name), b"x").unwrap();
            set_permissions(root.join(name), Permissions::from_mode(0o644)).unwrap();
        }
        std::os::unix::fs::symlink(root.join("elsewhere"), root.join("journal.db-link")).unwrap();
        let found = tighten(root, &["journal.db"]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(matches!(&found[0], Finding::Open { path, mode: 0o755, error: None } if path == root));
        assert_eq!((mode(&root.join("journal.db")), mode(&root.join("journal.db-wal"))), (0o600, 0o600));
        assert_eq!((mode(&root.join("notes.txt")), mode(&root.join("elsewhere"))), (0o644, 0o644));
        assert_eq!(mode(root), 0o755, "the directory is warned about only");
        set_permissions(root, Permissions::from_mode(0o700)).unwrap();
        assert!(tighten(root, &["journal.db"]).is_empty());
        assert!(tighten(Path::new("/nowhere/at/all"), &["journal.db"]).is_empty());
    }
}
