//! An open connection to a replica: what is under way on it, and what is being read for it.
//!
//! Promise: what is under way is bounded in bytes and in runs, whatever the replica does.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::{JournalId, Moment, RangeSet, SeqRange};

/// Bytes under way to one replica. What a region a quarter of a second away needs at a gigabit.
pub const WINDOW_BYTES: u64 = 32 << 20;

/// Runs under way to one replica: small ones must not make an endless list.
pub const WINDOW_RUNS: usize = 4_096;

/// How long a journal rests of which a replica declined a run that is good here: its disk may be full.
const DECLINED_REST: Duration = Duration::from_secs(5);

/// An open connection to a replica.
#[derive(Debug, Default)]
pub(crate) struct Road {
    /// Runs that were sent and not answered, with their bytes.
    under_way: BTreeMap<JournalId, Vec<(SeqRange, u64)>>,
    pub(crate) runs: usize,
    pub(crate) bytes: u64,
    /// What is being read for it.
    pub(crate) loading: Option<(JournalId, SeqRange)>,
    /// I have said who I am.
    pub(crate) offered: bool,
    /// It told everything that it holds: what it is owed is known.
    pub(crate) greeted: bool,
    /// Journals that rest, and until when.
    resting: BTreeMap<JournalId, Moment>,
}

impl Road {
    pub(crate) const fn has_room(&self) -> bool {
        self.bytes < WINDOW_BYTES && self.runs < WINDOW_RUNS
    }

    /// Notes a run as under way, if there is room for it.
    pub(crate) fn take(&mut self, journal: JournalId, range: SeqRange, bytes: u64) -> bool {
        let room = self.has_room() && !self.resting.contains_key(&journal);
        if room {
            self.push(journal, range, bytes);
        }
        room
    }

    pub(crate) fn push(&mut self, journal: JournalId, range: SeqRange, bytes: u64) {
        self.under_way.entry(journal).or_default().push((range, bytes));
        self.runs += 1;
        self.bytes += bytes;
    }

    /// Runs for which `done` is said are under way no more.
    pub(crate) fn settle(&mut self, journal: JournalId, done: impl Fn(SeqRange) -> bool) {
        let Some(runs) = self.under_way.get_mut(&journal) else { return };
        runs.retain(|(range, bytes)| {
            let done = done(*range);
            if done {
                self.runs -= 1;
                self.bytes -= bytes;
            }
            !done
        });
        if runs.is_empty() {
            self.under_way.remove(&journal);
        }
    }

    pub(crate) fn ranges(&self, journal: &JournalId) -> RangeSet {
        self.under_way.get(journal).into_iter().flatten().map(|(range, _)| *range).collect()
    }

    /// Nothing of a journal goes for a while.
    pub(crate) fn rest(&mut self, journal: JournalId, now: Moment) {
        self.resting.insert(journal, now + DECLINED_REST);
    }

    /// Journals that have rested go on.
    pub(crate) fn wake(&mut self, now: Moment) {
        self.resting.retain(|_, until| *until > now);
    }

    pub(crate) fn rests(&self, journal: &JournalId) -> bool {
        self.resting.contains_key(journal)
    }

    pub(crate) fn wakes_at(&self) -> Option<Moment> {
        self.resting.values().min().copied()
    }
}
