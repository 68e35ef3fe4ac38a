//! Commits: all changes of one are applied in order and flushed together, or not at all.
//!
//! Promise: `Durable` is attested here and nowhere else, after SQLite has returned from a flushed commit. A full disk
//! refuses a commit and changes nothing; damage that a commit meets is put into quarantine and the commit tried again;
//! any other failure poisons the store. Absent: batching (the engines ask for commits).

use millrace_model::Durable;
use millrace_model::store::{Change, Outcome, Refusal};
use rusqlite::TransactionBehavior;

use crate::disk::Files;
use crate::error::{CommitError, Fault, is_full};
use crate::meter;
use crate::store::Store;
use crate::work::{Journals, Work, Writing};

/// Damaged places that one commit may meet before it gives up: more than that is not damage, it is a broken disk.
const QUARANTINES_MAX: usize = 64;

/// What a commit leaves in memory once it is flushed.
struct Applied {
    outcomes: Vec<Outcome>,
    touched: Journals,
    writing: Option<Writing>,
}

/// How far a commit that found the disk full may go to find room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Relief {
    None,
    /// The log was carried over, so that its room can be used again.
    Log,
    /// The reserve was given back.
    Reserve,
}

impl Store {
    /// Applies `changes` in order and flushes them as one commit, number `commit`.
    ///
    /// # Errors
    /// [`CommitError::Refused`]: the disk is full, nothing was applied, the store goes on. A commit that only makes room
    /// (`Drop`, `DeclareGaps`, `Acknowledge`, `Remember`) may use the reserve first. [`CommitError::Invalid`]: nothing was
    /// applied. [`CommitError::Poisoned`]: end the process.
    pub fn commit(
        &mut self,
        commit: u64,
        changes: &[Change],
    ) -> Result<(Durable, Vec<Outcome>), CommitError> {
        let mut relief = Relief::None;
        let mut quarantined = 0;
        loop {
            if let Some(why) = &self.poisoned {
                return Err(CommitError::Poisoned(why.clone()));
            }
            match self.attempt(changes) {
                Ok(applied) => {
                    self.settle(applied.touched, applied.writing);
                    return Ok((Durable::attest(commit), applied.outcomes));
                }
                Err(Fault::Invalid(what)) => return Err(CommitError::Invalid(what)),
                Err(Fault::Damaged { journal, range, what }) => {
                    quarantined += 1;
                    tracing::warn!(%journal, %range, what, "damage met by a commit");
                    let moved = self.quarantine(&journal, range)?;
                    if moved.is_empty() || quarantined > QUARANTINES_MAX {
                        return Err(self.poison(format!("{journal} {range} is damaged: {what}")));
                    }
                }
                Err(Fault::Sql(error)) if is_full(&error) => {
                    relief = self.relieve(relief, changes)?;
                }
                Err(Fault::Sql(error)) => return Err(self.poison(error.to_string())),
            }
        }
    }

    fn attempt(&mut self, changes: &[Change]) -> Result<Applied, Fault> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut work = Work {
            conn: &tx,
            journals: &self.journals,
            touched: Journals::new(),
            writing: self.writing,
            encoder: &mut self.encoder,
            burst_records: self.options.burst_records.max(1),
        };
        let outcomes = changes.iter().map(|change| work.apply(change)).collect::<Result<Vec<_>, _>>()?;
        work.save()?;
        let (touched, writing) = (work.touched, work.writing);
        tx.commit()?;
        Ok(Applied { outcomes, touched, writing })
    }

    /// Takes over what a flushed transaction changed, and carries the log over when it has grown long.
    pub(crate) fn settle(&mut self, touched: Journals, writing: Option<Writing>) {
        self.journals.extend(touched);
        self.writing = writing;
        let Some(files) = &mut self.files else { return };
        files.restore_reserve();
        let frames_max = self.options.wal_limit_bytes / self.meter.page_bytes.max(512);
        let mut found = meter::checkpoint(&self.conn, "NOOP");
        if let Ok(Some(seen)) = &found
            && seen.frames > frames_max
        {
            self.meter.note(Some(seen));
            found = meter::checkpoint(&self.conn, "PASSIVE");
        }
        match found {
            Ok(seen) => self.meter.note(seen.as_ref()),
            // No room to carry the log over: it grows until the next commit finds room or is refused.
            Err(error) if is_full(&error) => {}
            // What was committed is flushed in the log, but the database cannot be trusted to take more.
            Err(error) => {
                self.poison(format!("carrying the log over: {error}"));
            }
        }
    }

    /// The next step towards room, or the refusal.
    fn relieve(&mut self, reached: Relief, changes: &[Change]) -> Result<Relief, CommitError> {
        if reached < Relief::Log && self.files.is_some() {
            match meter::checkpoint(&self.conn, "PASSIVE") {
                Ok(seen) => self.meter.note(seen.as_ref()),
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(self.poison(error.to_string())),
            }
            return Ok(Relief::Log);
        }
        let makes_room = changes.iter().all(|change| {
            matches!(
                change,
                Change::Drop { .. }
                    | Change::DeclareGaps { .. }
                    | Change::Acknowledge { .. }
                    | Change::Remember { .. }
            )
        });
        let released = reached < Relief::Reserve && makes_room && self.release_reserve();
        if released { Ok(Relief::Reserve) } else { Err(CommitError::Refused(Refusal::Full)) }
    }

    /// Gives the reserve back to the disk; `false` when there is none. Commits that only make room do this by themselves;
    /// the reserve comes back with the first later commit that leaves room for it.
    pub fn release_reserve(&mut self) -> bool {
        self.files.as_mut().is_some_and(Files::release_reserve)
    }

    /// Whether the reserve is in place, after trying to put it there.
    pub fn restore_reserve(&mut self) -> bool {
        self.files.as_mut().is_none_or(Files::restore_reserve)
    }

    /// From here on nothing is written or read any more.
    pub(crate) fn poison(&mut self, why: String) -> CommitError {
        tracing::error!(why, "the store is poisoned: this process must end, the next one verifies");
        // What the log holds is left to the next process, which flushes it before it trusts it.
        let _ = self.conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        let why = self.poisoned.get_or_insert(why);
        CommitError::Poisoned(why.clone())
    }
}
