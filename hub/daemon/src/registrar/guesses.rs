//! Guesses: how many wrong secrets each source has shown lately.
//!
//! Promise: what is remembered is bounded; a source that is forgotten for others begins anew.
//! Absent: secrets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use millrace_model::Moment;

/// Wrong secrets that one source may show within [`WINDOW`]: typing errors of a person, not a search.
pub(super) const WRONG_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Sources that are remembered; when there are more, the oldest is forgotten.
const SOURCES_MAX: usize = 4_096;

/// Wrong secrets of each source, and since when they are counted.
#[derive(Default)]
pub(super) struct Guesses(Mutex<BTreeMap<IpAddr, (Moment, u32)>>);

impl Guesses {
    /// Whether a source has shown as many lately as it may.
    pub(super) fn are_too_many(&self, source: IpAddr, now: Moment) -> bool {
        self.change(|wrong| {
            let lately = wrong.get(&source).filter(|(since, _)| now.since(*since) < WINDOW);
            lately.is_some_and(|(_, count)| *count >= WRONG_MAX)
        })
    }

    /// Counts one.
    pub(super) fn note(&self, source: IpAddr, now: Moment) {
        self.change(|wrong| {
            wrong.retain(|_, (since, _)| now.since(*since) < WINDOW);
            if wrong.len() >= SOURCES_MAX && !wrong.contains_key(&source) {
                let oldest = wrong.iter().min_by_key(|(_, (since, _))| *since).map(|(source, _)| *source);
                oldest.map(|oldest| wrong.remove(&oldest));
            }
            let (_, count) = wrong.entry(source).or_insert((now, 0));
            *count = count.saturating_add(1);
        });
    }

    /// One that was counted was none.
    pub(super) fn take_back(&self, source: IpAddr) {
        self.change(|wrong| {
            if let Some((_, count)) = wrong.get_mut(&source) {
                *count = count.saturating_sub(1);
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<IpAddr, (Moment, u32)>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
