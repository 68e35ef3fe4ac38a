//! The scrub: everything stored is read again within a set time, a little at a time, and compared with what it was.
//!
//! ```text
//!  scrub.json ─▶ cursor ─▶ read some ─▶ damage: moved aside, and fetched again (the engine)
//!                  ▲           │        a wrong digest: reckoned anew
//!                  └─ rest ◀───┘
//! ```
//!
//! Promise: what it does between two rests takes a few ten milliseconds of one connection of its own.
//! Absent: what damage is, and when a pass goes on (the journal), and where it is fetched from (the engine).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_host::times::rfc3339;
use millrace_host::{Clock, Shutdown};
use millrace_journal::{Damage, SCRUB_REST_MAX, ScrubPace, ScrubProgress, WriterHandle};
use millrace_model::{JournalId, Wall};

use crate::meters::Meters;
use crate::reading::Reading;

/// Stored bytes that are read between two rests: some ten milliseconds.
pub const STEP_BYTES: u64 = 4 << 20;

/// How often the note is written.
const NOTE_EVERY: Duration = Duration::from_secs(30);

/// Where the scrub is seen from outside. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Scrub(Arc<Mutex<ScrubProgress>>);

impl Scrub {
    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> ScrubProgress {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, progress: &ScrubProgress) {
        progress.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// For people.
#[must_use]
pub fn shown(progress: &ScrubProgress, pace: ScrubPace, store_bytes: u64) -> serde_json::Value {
    let time = |us: i64| rfc3339(Wall(us));
    serde_json::json!({
        "began": (progress.began_us != 0).then(|| time(progress.began_us)),
        "running": progress.is_running(),
        "passes": progress.passes,
        "last_pass_ended": progress.ended_us.map(time),
        "bytes": progress.bytes,
        "of_bytes": store_bytes,
        "records": progress.records,
        "damaged": progress.damaged,
        "digests_mended": progress.digests,
        "within_s": pace.within.as_secs(),
    })
}

fn read_note(path: &Path) -> ScrubProgress {
    let read = || -> io::Result<ScrubProgress> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    read().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(path = %path.display(), %error, "how far the scrub had come is not known: it begins anew");
        }
        ScrubProgress::default()
    })
}

/// What the scrub works with.
pub struct Parts {
    /// A connection of its own.
    pub reading: Reading,
    /// Who puts digests right.
    pub writer: WriterHandle,
    /// Where the note stands.
    pub note: PathBuf,
    /// How it goes.
    pub pace: ScrubPace,
    /// Where it is seen.
    pub scrub: Scrub,
    /// Figures.
    pub meters: Meters,
    /// Time.
    pub clock: Clock,
    /// When to end.
    pub shutdown: Shutdown,
}

/// Scrubs until the hub stops.
pub async fn run(parts: Parts) {
    let path = parts.note.clone();
    let read = tokio::task::spawn_blocking(move || read_note(&path)).await;
    let mut progress = read.unwrap_or_default();
    let mut noted_at = parts.clock.moment();
    loop {
        let rest = if progress.goes_on(parts.clock.wall(), parts.pace) {
            parts.step(&mut progress).await
        } else {
            SCRUB_REST_MAX
        };
        parts.scrub.show(&progress);
        if progress.cursor.is_none() || parts.clock.moment().since(noted_at) >= NOTE_EVERY {
            noted_at = parts.clock.moment();
            parts.save(&progress).await;
        }
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = parts.shutdown.triggered() => break,
        }
    }
    parts.save(&progress).await;
}

impl Parts {
    /// One step; how long to rest after it.
    async fn step(&self, progress: &mut ScrubProgress) -> Duration {
        let Some(from) = progress.cursor else { return SCRUB_REST_MAX };
        let began = self.clock.moment();
        let step_bytes = self.pace.step_bytes;
        let step = self.reading.run(move |reader| reader.scrub(from, step_bytes)).await;
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                tracing::warn!(%error, "the scrub cannot read the store now: it tries again");
                return SCRUB_REST_MAX;
            }
        };
        let took = self.clock.moment().since(began);
        for Damage { journal, range, what } in &step.damaged {
            self.reading.move_aside(*journal, *range, what);
        }
        for what in &step.unreadable {
            tracing::error!(
                what,
                "the row of a journal is damaged: the store will not open again; restore this hub"
            );
        }
        step.digests.iter().for_each(|journal| self.mend_digest(*journal));
        self.meters.scrubbed_bytes.inc_by(step.raw_bytes);
        progress.took(&step, self.clock.wall());
        let store_bytes = self.meters.store_bytes.get().unsigned_abs();
        progress.rest(took, store_bytes, self.clock.wall(), self.pace)
    }

    fn mend_digest(&self, journal: JournalId) {
        let asked = self.writer.visit(move |store| match store.rebuild_digest(&journal) {
            Ok(wrong) if wrong => {
                tracing::error!(%journal, "a digest was not that of its rows: it is right again");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%journal, %error, "a digest could not be put right"),
        });
        if let Err(error) = asked {
            tracing::warn!(%journal, %error, "a wrong digest is put right in the next pass");
        }
    }

    async fn save(&self, progress: &ScrubProgress) {
        let (path, progress) = (self.note.clone(), progress.clone());
        let saved = tokio::task::spawn_blocking(move || {
            millrace_host::files::replace(&path, &serde_json::to_vec(&progress)?)
        });
        match saved.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "how far the scrub has come could not be written"),
            Err(error) => tracing::error!(%error, "how far the scrub has come could not be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_was_interrupted_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scrub.json");
        assert_eq!(read_note(&path), ScrubProgress::default());
        let pace = ScrubPace {
            within: Duration::from_secs(60),
            tranquility: 9,
            tranquility_min: 0,
            step_bytes: STEP_BYTES,
        };
        let mut progress = ScrubProgress::default();
        progress.goes_on(Wall(5), pace);
        progress.bytes = 77;
        std::fs::write(&path, serde_json::to_vec(&progress).unwrap()).unwrap();
        assert_eq!(read_note(&path), progress);
        std::fs::write(&path, b"{").unwrap();
        assert_eq!(read_note(&path), ScrubProgress::default());
    }
}
