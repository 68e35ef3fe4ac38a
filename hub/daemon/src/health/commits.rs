//! When commits were asked for, and when they were flushed.
//!
//! Promise: two short locks for each commit; at most [`KEPT_MAX`] are remembered.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_model::Moment;

/// Commits that are remembered. Of more in a window the oldest are forgotten.
const KEPT_MAX: usize = 256;
/// How far back is looked: a minute's trouble is over a minute later at most, one second's is seen.
pub const WINDOW: Duration = Duration::from_secs(10);

/// The times of commits, shared between the driver and whoever judges.
#[derive(Debug, Default)]
pub struct Commits(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    asked: Option<Moment>,
    flushed: VecDeque<(Moment, Duration)>,
}

/// What of them counts now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// For how long the present commit has been under way.
    pub waiting: Option<Duration>,
    /// How long those of the last [`WINDOW`] took, the oldest first.
    pub took: Vec<Duration>,
}

impl Commits {
    /// A commit is handed to the disk.
    pub fn asked(&self, now: Moment) {
        self.lock().asked = Some(now);
    }

    /// It is flushed, or refused.
    pub fn flushed(&self, now: Moment) {
        let mut times = self.lock();
        let Some(asked) = times.asked.take() else { return };
        if times.flushed.len() == KEPT_MAX {
            times.flushed.pop_front();
        }
        times.flushed.push_back((now, now.since(asked)));
    }

    /// What counts at this moment.
    #[must_use]
    pub fn seen(&self, now: Moment) -> Seen {
        let mut times = self.lock();
        while times.flushed.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            times.flushed.pop_front();
        }
        let took = times.flushed.iter().map(|(_, took)| *took).collect();
        Seen { waiting: times.asked.map(|at| now.since(at)), took }
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// What all but one in a hundred stayed below, the present one included when it takes longer already.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let among = took.len().saturating_sub(1) * 99 / 100;
        let flushed = took.get(among).copied().unwrap_or_default();
        flushed.max(self.waiting.unwrap_or_default())
    }

    /// The fastest one.
    #[must_use]
    pub fn fastest(&self) -> Option<Duration> {
        self.took.iter().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let commits = Commits::default();
        let mut now = Moment(0);
        for number in 1..=100 {
            commits.asked(now);
            now = now + MS * number;
            commits.flushed(now);
        }
        let seen = commits.seen(now);
        assert_eq!((seen.waiting, seen.took.len()), (None, 100));
        assert_eq!((seen.fastest(), seen.slowest()), (Some(MS), 99 * MS));
        commits.flushed(now);
        assert_eq!(commits.seen(now).took.len(), 100, "nothing was asked for");
        now = now + WINDOW;
        commits.asked(now);
        assert_eq!(commits.seen(now + 7 * MS), Seen { waiting: Some(7 * MS), took: vec![] });
        for _ in 0..2 * KEPT_MAX {
            commits.asked(now);
            commits.flushed(now);
        }
        assert_eq!(commits.seen(now).took.len(), KEPT_MAX);
    }
}
