//! What the driver does for retention: it says when to look, counts what goes, and keeps the memory on disk.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use millrace_hub_engine::{Event, Retained};

use super::Driver;
use super::carrying::measure;
use super::input::Answer;
use crate::meters::ByReason;
use crate::retention;

/// How often the memory is written at most: what a power cut takes of it only keeps records a little longer.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// What it means when the memory was not written.
const UNSAVED: &str = "retention's memory could not be written: records may stay longer";

impl Driver {
    /// It is time to look. The same moment corrects what the engine knows of stored bytes, which damage may have changed.
    pub(super) fn look(&mut self) {
        self.feed(Event::Retain { gone: self.parts.registry.gone() });
        let answer = self.answer.clone();
        let measured = self.parts.writer.visit(move |store| {
            let all = store.journals().into_iter().map(|state| (state.journal, measure(&state)));
            // Fails only when the driver has ended.
            let _ = answer.blocking_send(Answer::Measured(all.collect()));
        });
        if let Err(error) = measured {
            tracing::debug!(%error, "stored bytes are measured at the next look");
        }
    }

    /// Counts what went since the last call.
    pub(super) fn count_dropped(&mut self) {
        let Retained { aged, evicted, .. } = self.parts.engine.retained();
        for (reason, now, before) in
            [("age", aged, self.counted.aged), ("budget", evicted, self.counted.evicted)]
        {
            if now > before {
                self.parts.meters.dropped.get_or_create(&ByReason { reason }).inc_by(now - before);
            }
        }
        self.counted = Retained { aged, evicted, evicting: false };
    }

    /// Writes what the next process should know, when it has changed.
    pub(super) fn remember(&mut self) {
        let now = self.parts.clock.moment();
        if self.saving || self.saved_at.is_some_and(|at| now < at + SAVE_EVERY) {
            return;
        }
        let Some(memory) = self.parts.engine.remembered() else { return };
        self.saved_at = Some(now);
        let path = self.parts.memory.clone();
        self.save(move || retention::save(&path, &memory));
    }

    /// Saves on a thread that may wait for the disk. Whatever becomes of that thread, the driver hears that it is over.
    pub(super) fn save(&mut self, saving: impl FnOnce() -> io::Result<()> + Send + 'static) {
        self.saving = true;
        let answer = self.answer.clone();
        tokio::spawn(async move {
            match tokio::task::spawn_blocking(saving).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "{UNSAVED}"),
                Err(error) => tracing::error!(%error, "{UNSAVED}"),
            }
            // Fails only when the driver has ended.
            let _ = answer.send(Answer::Saved).await;
        });
    }

    /// Notes that those who were here when the hub was told to stop were here until then, and what else only memory knows
    /// of who was seen.
    pub(super) async fn note_last(&mut self) {
        let (registry, clock) = (Arc::clone(&self.parts.registry), self.parts.clock.clone());
        let here = std::mem::take(&mut self.here_at_the_end);
        let noted = tokio::task::spawn_blocking(move || {
            here.into_iter().for_each(|device| registry.left(device, clock.wall()));
            registry.settle();
        });
        if let Err(error) = noted.await {
            tracing::error!(%error, "when devices were last seen could not be noted");
        }
    }

    /// The same at the end.
    pub(super) async fn remember_last(&mut self) {
        while self.saving {
            match self.answers.recv().await {
                Some(answer) => self.answered(answer),
                None => return,
            }
        }
        let Some(memory) = self.parts.engine.remembered() else { return };
        let path = self.parts.memory.clone();
        let saved = tokio::task::spawn_blocking(move || retention::save(&path, &memory)).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "{UNSAVED}"),
            Err(error) => tracing::error!(%error, "{UNSAVED}"),
        }
    }
}
