//! Footing: whether the files that the hub works on are still those of its data directory.
//!
//! A file that is deleted, or that another one took the place of, goes on for whoever has it open: the hub would flush, acknowledge and
//! decide on files that nobody finds again.
//!
//! Promise: within some seconds of it the task ends with a failure that says which file, and so does the hub (74).
//! Absent: damage inside the files.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_host::{Exit, Failure, Shutdown};
use tokio::time::MissedTickBehavior;

/// How often it is looked: a look costs two system calls.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files, as they were when the hub had opened them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footing(Vec<(PathBuf, Place)>);

/// Device and inode.
type Place = (u64, u64);

impl Footing {
    /// These files, which stand there now.
    ///
    /// # Errors
    /// When one of them does not.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let placed = files.into_iter().map(|file| place(&file).map(|place| (file, place)));
        placed.collect::<io::Result<_>>().map(Self)
    }

    /// What has happened to one of them, for people; `None`: they are the same. A file that cannot be looked at may be the same.
    fn lost(&self) -> Option<String> {
        self.0.iter().find_map(|(file, known)| match place(file) {
            Ok(now) if now != *known => Some(format!("another file stands at {}", file.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("{} is not there any more", file.display()))
            }
            Ok(_) | Err(_) => None,
        })
    }

    /// Looks until the shutdown.
    ///
    /// # Errors
    /// When a file is gone, or is another one: [`Exit::Io`].
    pub async fn watch(self, shutdown: Shutdown) -> Result<(), Failure> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = shutdown.triggered() => return Ok(()),
            }
            let footing = self.clone();
            // A disk that hangs holds up a thread that may wait.
            let looked = tokio::task::spawn_blocking(move || footing.lost());
            let lost = tokio::select! {
                lost = looked => lost.map_err(|error| Failure::internal(&error))?,
                () = shutdown.triggered() => return Ok(()),
            };
            if let Some(what) = lost {
                let message = format!("{what}: the data directory was removed or replaced while the hub ran");
                let hint = "what was written since is lost with it; restore the directory from a backup, or join the cluster again";
                return Err(Failure::new(Exit::Io, message).hint(hint));
            }
        }
    }
}

fn place(file: &Path) -> io::Result<Place> {
    std::fs::metadata(file).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_gone_or_another_one_ends_the_hub_and_one_that_changes_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let [journal, log] = ["journal.db", "log.db"].map(|name| dir.path().join(name));
        let files = || [journal.clone(), log.clone()];
        assert!(Footing::of(files()).is_err(), "nothing is there");
        files().iter().for_each(|file| std::fs::write(file, "a").unwrap());
        let footing = Footing::of(files()).unwrap();
        std::fs::write(&log, "more").unwrap();
        assert_eq!(footing.lost(), None);
        std::fs::rename(&log, dir.path().join("away")).unwrap();
        assert!(footing.lost().unwrap().contains("log.db is not there"));
        std::fs::write(&log, "new").unwrap();
        let failure = footing.watch(Shutdown::manual()).await.unwrap_err();
        assert!(failure.exit == Exit::Io && failure.message.contains("another file stands at"), "{failure}");
    }
}
