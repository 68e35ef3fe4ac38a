//! What happened, and when.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Entries that are kept. A story has some twenty; a visitor who presses keys for an hour has more.
const ENTRIES_MAX: usize = 500;

/// A list of events.
#[derive(Debug)]
pub(crate) struct Timeline {
    began: Instant,
    aloud: bool,
    entries: Mutex<Vec<String>>,
}

impl Timeline {
    /// An empty one. `aloud` prints every event at once.
    pub(crate) fn new(aloud: bool) -> Self {
        Self { began: Instant::now(), aloud, entries: Mutex::default() }
    }

    /// Something happened.
    pub(crate) fn say(&self, what: &str) {
        let entry = format!("{:>5.1} s  {what}", self.began.elapsed().as_secs_f64());
        if self.aloud {
            println!("{entry}");
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.remove(0);
        }
        entries.push(entry);
    }

    /// The last `count` events, oldest first.
    pub(crate) fn last(&self, count: usize) -> Vec<String> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().skip(entries.len().saturating_sub(count)).cloned().collect()
    }
}
