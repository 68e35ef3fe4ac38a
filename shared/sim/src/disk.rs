//! A disk that takes its time, fills up, and loses power.
//!
//! A commit is under way for a seeded time, and is there when it is over. When the power goes meanwhile, the seed says
//! whether it happened all the same: a process cannot know. A commit is there as a whole or not at all, as SQLite makes
//! it; torn writes and flipped bits are tested against the journal itself.
//!
//! Absent: what a commit is, and a disk that says "flushed" and lies; that one is outside the fault model.

use std::ops::Range;
use std::time::Duration;

/// A disk with at most one commit under way.
#[derive(Debug)]
pub struct Disk<C> {
    random: fastrand::Rng,
    latency_micros: Range<u64>,
    under_way: Option<C>,
    full: bool,
}

/// How a commit ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flush<C> {
    /// It is on disk.
    Flushed(C),
    /// There is no room; nothing was written.
    Refused(C),
}

impl<C> Disk<C> {
    /// A disk whose commits take as many microseconds as the range says.
    #[must_use]
    pub fn new(seed: u64, latency_micros: Range<u64>) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), latency_micros, under_way: None, full: false }
    }

    /// A commit begins; ask [`Self::finish`] for it after the returned time. One that was still under way is lost: an
    /// engine that asks for two at once breaks its own rules, which the caller must notice.
    pub fn begin(&mut self, commit: C) -> Duration {
        self.under_way = Some(commit);
        self.time_to_read()
    }

    /// Whether a commit is under way.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// How long a read takes.
    pub fn time_to_read(&mut self) -> Duration {
        let slow = self.random.u8(0..100) < 2;
        let micros = self.random.u64(self.latency_micros.clone());
        // Cards stall now and then, for wear levelling.
        Duration::from_micros(if slow { micros * 20 } else { micros })
    }

    /// The time of the commit under way is over.
    pub fn finish(&mut self) -> Option<Flush<C>> {
        let commit = self.under_way.take()?;
        Some(if self.full { Flush::Refused(commit) } else { Flush::Flushed(commit) })
    }

    /// The power goes: the commit under way, if it happened all the same.
    pub fn crash(&mut self) -> Option<C> {
        let happened = self.random.bool() && !self.full;
        self.under_way.take().filter(|_| happened)
    }

    /// From now on commits are refused, or no longer.
    pub const fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Whether commits are refused.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_under_way_at_a_power_cut_happened_or_not_by_the_seed() {
        let survived = (0..64).filter(|seed| {
            let mut disk = Disk::new(*seed, 100..200);
            disk.begin("commit");
            disk.crash().is_some()
        });
        let survived = survived.count();
        assert!((16..48).contains(&survived), "{survived} of 64");
    }

    #[test]
    fn a_full_disk_refuses_and_gives_the_commit_back() {
        let mut disk = Disk::new(1, 100..200);
        disk.set_full(true);
        disk.begin(7);
        assert_eq!(disk.finish(), Some(Flush::Refused(7)));
        disk.set_full(false);
        disk.begin(8);
        assert!(disk.is_busy());
        assert_eq!(disk.finish(), Some(Flush::Flushed(8)));
        assert_eq!(disk.finish(), None);
    }
}
