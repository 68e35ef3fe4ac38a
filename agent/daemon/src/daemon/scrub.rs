//! The scrub: everything stored here is read again within a set time, a little at a time, and compared with what it was.
//!
//! What is damaged is put aside: a backlog that waits for a hub for weeks is known to be whole, or declared; what a hub has comes back from
//! it. Of flash it only reads: how far it has come is noted when a pass ends and when the agent stops.
//!
//! Promise: one step takes some ten milliseconds of a connection that stands only during a pass; nothing else waits for it.
//! Absent: what damage is, and when a pass goes on (the journal); what comes back (the engine).

use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_host::metrics::Counter;
use millrace_host::{Clock, Shutdown};
use millrace_journal::{Damage, Options, Reader, SCRUB_REST_MAX, ScrubPace, ScrubProgress, Scrubbed};
use tokio::sync::oneshot;

use super::disk::Mender;

/// Stored bytes that one step reads: some ten milliseconds of a small ARM machine.
const STEP_BYTES: u64 = 1 << 20;

/// Page cache of the connection that reads: nothing is read twice.
const CACHE_BYTES: u64 = 64 << 10;

/// Between two steps it rests so many times as long as the step took: a twentieth of one core. When the pass would not be over in time, a
/// fifth at most.
const TRANQUILITY: u32 = 19;
const TRANQUILITY_MIN: u32 = 4;

/// What the scrub works with.
pub struct Scrub {
    /// The store.
    pub journal: PathBuf,
    /// How it is opened.
    pub options: Options,
    /// Where the note stands.
    pub note: PathBuf,
    /// A pass begins so long after the one before began.
    pub within: Duration,
    /// Who takes damage out of the way.
    pub mender: Mender,
    /// Stored bytes that were read.
    pub read: Counter,
    /// Time.
    pub clock: Clock,
}

impl Scrub {
    /// Scrubs until the agent stops.
    pub async fn run(self, shutdown: Shutdown) {
        let path = self.note.clone();
        let read = tokio::task::spawn_blocking(move || read_note(&path)).await;
        let mut progress = read.unwrap_or_default();
        let mut reader = None;
        loop {
            let pace = ScrubPace {
                within: self.within,
                tranquility: TRANQUILITY,
                tranquility_min: TRANQUILITY_MIN,
                step_bytes: STEP_BYTES,
            };
            let rest = if progress.goes_on(self.clock.wall(), pace) {
                self.step(&mut progress, &mut reader, pace).await
            } else {
                SCRUB_REST_MAX
            };
            if !progress.is_running() && reader.take().is_some() {
                self.save(&progress).await;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = shutdown.triggered() => break,
            }
        }
        if progress.is_running() {
            self.save(&progress).await;
        }
    }

    /// One step; how long to rest after it.
    async fn step(
        &self,
        progress: &mut ScrubProgress,
        reader: &mut Option<Reader>,
        pace: ScrubPace,
    ) -> Duration {
        let Some(from) = progress.cursor else { return SCRUB_REST_MAX };
        let options = Options { page_cache_bytes: CACHE_BYTES, ..self.options.clone() };
        let (journal, standing) = (self.journal.clone(), reader.take());
        let began = self.clock.moment();
        let stepped = tokio::task::spawn_blocking(move || {
            let reader = standing.map_or_else(|| Reader::open(&journal, &options), Ok);
            let reader = reader.map_err(|error| error.to_string())?;
            let step = reader.scrub(from, STEP_BYTES).map_err(|error| error.to_string())?;
            let size = std::fs::metadata(&journal).map_or(0, |file| file.len());
            Ok::<_, String>((reader, step, size))
        });
        let (standing, step, store_bytes) = match stepped.await.map_err(|error| error.to_string()) {
            Ok(Ok(stepped)) => stepped,
            Ok(Err(error)) | Err(error) => {
                tracing::warn!(error, "the scrub cannot read the store now: it tries again");
                return SCRUB_REST_MAX;
            }
        };
        *reader = Some(standing);
        let took = self.clock.moment().since(began);
        if !self.mend(&step).await {
            tracing::warn!("damaged records could not be put aside now: they are read again");
            return SCRUB_REST_MAX;
        }
        self.read.inc_by(step.stored_bytes);
        let now = self.clock.wall();
        progress.took(&step, now);
        progress.rest(took, store_bytes, now, pace)
    }

    /// One thing after the other: the writer's queue has room for others. Whether all that is damaged is out of the way.
    async fn mend(&self, step: &Scrubbed) -> bool {
        for Damage { journal, range, what } in &step.damaged {
            let (done, mended) = oneshot::channel();
            self.mender.take_out(*journal, *range, what, move |is_done| answer(done, is_done));
            // Nobody answers when the store has ended.
            if mended.await != Ok(true) {
                return false;
            }
        }
        for what in &step.unreadable {
            tracing::error!(what, "the row of a journal is damaged: the store will not open again");
        }
        for journal in &step.digests {
            let (done, mended) = oneshot::channel();
            self.mender.mend_digest(*journal, move || answer(done, true));
            if mended.await.is_err() {
                return false;
            }
        }
        true
    }

    async fn save(&self, progress: &ScrubProgress) {
        let (path, progress) = (self.note.clone(), progress.clone());
        let saved = tokio::task::spawn_blocking(move || {
            millrace_host::files::replace(&path, &serde_json::to_vec(&progress)?)
        });
        let saved = saved.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        if let Err(error) = saved {
            tracing::warn!(%error, "how far the scrub has come could not be written: the next one begins anew");
        }
    }
}

/// Whoever waits for it may have ended.
fn answer(done: oneshot::Sender<bool>, is_done: bool) {
    let _ended = done.send(is_done);
}

/// What an earlier process noted; anything that cannot be read is nothing.
fn read_note(path: &Path) -> ScrubProgress {
    std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}
