//! Budget: the bytes that all sessions together may hold between socket and disk.
//!
//! Promise: a session that holds nothing may always take one publication, so the budget slows but never starves.
//! Worst case in memory: the budget plus one publication per session.
//! Absent: fairness between sessions.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A shared number of bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) const fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.used.load(Ordering::Relaxed) < self.max
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
