//! What the driver does for retention: it says when to look, counts what goes, and keeps the memory on disk.

use std::time::Duration;

use millrace_hub_engine::{Event, Retained};

use super::Driver;
use super::input::Answer;
use crate::meters::ByReason;
use crate::retention;

/// How often the memory is written at most: what a power cut takes of it only keeps records a little longer.
const SAVE_EVERY: Duration = Duration::from_secs(60);

impl Driver {
    /// It is time to look. The same moment corrects what the engine knows of stored bytes, which damage may have changed.
    pub(super) fn look(&mut self) {
        self.feed(Event::Retain { gone: self.parts.registry.gone() });
        let answer = self.answer.clone();
        let measured = self.parts.writer.visit(move |store| {
            let all = store.journals().into_iter().map(|state| (state.journal, state.stored_bytes));
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
        (self.saving, self.saved_at) = (true, Some(now));
        let (path, answer) = (self.parts.memory.clone(), self.answer.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = retention::save(&path, &memory) {
                tracing::warn!(%error, "retention's memory could not be written: records may stay longer");
            }
            // Fails only when the driver has ended.
            let _ = answer.blocking_send(Answer::Saved);
        });
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
        if let Ok(Err(error)) = saved {
            tracing::warn!(%error, "retention's memory could not be written: records may stay longer");
        }
    }
}
