//! The scrub: everything stored is read again within a set time, a little at a time, and compared with what it was.
//!
//! ```text
//!  scrub.json ─▶ cursor ─▶ read some ─▶ damage: moved aside, and fetched again (the engine)
//!                  ▲           │        a wrong digest: reckoned anew
//!                  └─ rest ◀───┘
//! ```
//!
//! Promise: what it does between two rests takes a few ten milliseconds of one connection of its own. A pass that was interrupted goes on
//! where it was; one whose note is lost begins anew.
//! Absent: what damage is (the journal), and where it is fetched from (the engine).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_host::times::rfc3339;
use millrace_host::{Clock, Shutdown};
use millrace_journal::{Damage, ScrubCursor, Scrubbed, WriterHandle};
use millrace_model::{JournalId, Wall};
use serde::{Deserialize, Serialize};

use crate::meters::Meters;
use crate::reading::Reading;

/// Stored bytes that are read between two rests: some ten milliseconds.
const STEP_BYTES: u64 = 4 << 20;

/// The longest rest: whoever stops the hub does not wait for it, and a pass makes progress that people see.
const REST_MAX: Duration = Duration::from_secs(60);

/// The shortest rest: others who read go first.
const REST_MIN: Duration = Duration::from_millis(1);

/// How often the note is written.
const NOTE_EVERY: Duration = Duration::from_secs(30);

/// How the scrub goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// A pass begins so long after the one before began, and is over before that.
    pub within: Duration,
    /// Between two steps it rests so many times as long as the step took, unless the pass would not be over in time.
    pub tranquility: u32,
}

/// How far it has come. What stands in `scrub.json`, and what people are shown.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// When this pass began, or the last one, µs of the wall clock.
    pub began_us: i64,
    /// Where it goes on; `None`: the pass is over.
    pub cursor: Option<ScrubCursor>,
    /// Passes that came to their end.
    pub passes: u64,
    /// When the last one did.
    pub ended_us: Option<i64>,
    /// Stored bytes that this pass has read.
    pub bytes: u64,
    /// Records that it has read.
    pub records: u64,
    /// Damaged places that this pass, or the last one, found.
    pub damaged: u64,
    /// Digests that were not those of their rows.
    pub digests: u64,
}

/// Where the scrub is seen from outside. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Scrub(Arc<Mutex<Progress>>);

impl Scrub {
    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, progress: &Progress) {
        progress.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress {
    /// For people.
    #[must_use]
    pub fn shown(&self, pace: Pace, store_bytes: u64) -> serde_json::Value {
        let time = |us: i64| rfc3339(Wall(us));
        serde_json::json!({
            "began": (self.began_us != 0).then(|| time(self.began_us)),
            "running": self.cursor.is_some(),
            "passes": self.passes,
            "last_pass_ended": self.ended_us.map(time),
            "bytes": self.bytes,
            "of_bytes": store_bytes,
            "records": self.records,
            "damaged": self.damaged,
            "digests_mended": self.digests,
            "within_s": pace.within.as_secs(),
        })
    }

    fn read(path: &Path) -> Self {
        let read = || -> io::Result<Self> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
        read().unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "how far the scrub had come is not known: it begins anew");
            }
            Self::default()
        })
    }

    /// Whether a pass is under way, or begins now.
    fn goes_on(&mut self, now: Wall, pace: Pace) -> bool {
        let due = Wall(self.began_us).plus(pace.within) <= now || self.began_us == 0 || now.0 < self.began_us;
        if self.cursor.is_none() && due {
            let (passes, ended_us) = (self.passes, self.ended_us);
            *self = Self {
                began_us: now.0,
                cursor: Some(ScrubCursor::default()),
                passes,
                ended_us,
                ..Self::default()
            };
        }
        self.cursor.is_some()
    }

    fn took(&mut self, step: &Scrubbed, now: Wall) {
        self.bytes = self.bytes.saturating_add(step.stored_bytes);
        self.records = self.records.saturating_add(step.records);
        self.damaged = self.damaged.saturating_add(step.damaged.len() as u64);
        self.digests = self.digests.saturating_add(step.digests.len() as u64);
        self.cursor = step.next;
        if self.cursor.is_none() {
            self.passes += 1;
            self.ended_us = Some(now.0);
        }
    }

    /// How long to rest after a step that took `step`, so that a store of `store_bytes` is through in time.
    fn rest(&self, step: Duration, store_bytes: u64, now: Wall, pace: Pace) -> Duration {
        let calm = step.saturating_mul(pace.tranquility);
        let left = Wall(self.began_us).plus(pace.within).0.saturating_sub(now.0);
        let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        let steps = store_bytes.saturating_sub(self.bytes).div_ceil(STEP_BYTES).max(1);
        let in_time = left / u32::try_from(steps).unwrap_or(u32::MAX);
        calm.min(in_time.saturating_sub(step)).clamp(REST_MIN, REST_MAX)
    }
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
    pub pace: Pace,
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
    let read = tokio::task::spawn_blocking(move || Progress::read(&path)).await;
    let mut progress = read.unwrap_or_default();
    let mut noted_at = parts.clock.moment();
    loop {
        let rest = if progress.goes_on(parts.clock.wall(), parts.pace) {
            parts.step(&mut progress).await
        } else {
            REST_MAX
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
    async fn step(&self, progress: &mut Progress) -> Duration {
        let Some(from) = progress.cursor else { return REST_MAX };
        let began = self.clock.moment();
        let step = self.reading.run(move |reader| reader.scrub(from, STEP_BYTES)).await;
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                tracing::warn!(%error, "the scrub cannot read the store now: it tries again");
                return REST_MAX;
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

    async fn save(&self, progress: &Progress) {
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

    const PACE: Pace = Pace { within: Duration::from_secs(7 * 86_400), tranquility: 9 };

    #[test]
    fn a_pass_rests_as_long_as_it_may_and_is_over_in_time() {
        let now = Wall(1_000_000_000);
        let mut progress = Progress::default();
        assert!(progress.goes_on(now, PACE));
        let step = Duration::from_millis(20);
        assert_eq!(
            progress.rest(step, 1 << 30, now, PACE),
            Duration::from_millis(180),
            "a small store: calmly"
        );
        let late = now.plus(PACE.within).plus(Duration::from_secs(5));
        assert_eq!(progress.rest(step, 1 << 30, late, PACE), REST_MIN, "a pass that is late hardly rests");
        let petabyte = 1_u64 << 50;
        assert_eq!(
            progress.rest(step, petabyte, now, PACE),
            REST_MIN,
            "as does one that has too much to read"
        );
        progress.took(&Scrubbed { stored_bytes: 9, records: 3, ..Scrubbed::default() }, late);
        assert_eq!((progress.passes, progress.bytes, progress.cursor), (1, 9, None));
        assert!(
            !progress.goes_on(now.plus(Duration::from_secs(60)), PACE),
            "the next one waits for its time"
        );
        assert!(progress.goes_on(late, PACE));
        assert_eq!((progress.passes, progress.bytes), (1, 0));
    }

    #[test]
    fn a_pass_that_was_interrupted_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scrub.json");
        assert_eq!(Progress::read(&path), Progress::default());
        let mut progress = Progress::default();
        progress.goes_on(Wall(5), PACE);
        progress.bytes = 77;
        std::fs::write(&path, serde_json::to_vec(&progress).unwrap()).unwrap();
        assert_eq!(Progress::read(&path), progress);
        std::fs::write(&path, b"{").unwrap();
        assert_eq!(Progress::read(&path), Progress::default());
    }
}
