//! Commits: all changes of one are applied in order and flushed together, or not at all.
//!
//! Promise: `Durable` is attested here and nowhere else, after SQLite has returned from a flushed commit. A full disk
//! refuses a commit and changes nothing ([`crate::relief`]); damage that a commit meets is put into quarantine and the commit tried again;
//! any other failure poisons the store. Absent: batching (the engines ask for commits).

use millrace_model::Durable;
use millrace_model::store::{Change, Outcome};

use crate::error::{CommitError, Fault, is_full};
use crate::relief::Relief;
use crate::store::Store;

/// Damaged places that one commit may meet before it gives up: more than that is not damage, it is a broken disk.
const QUARANTINES_MAX: usize = 64;

impl Store {
    /// Applies `changes` in order and flushes them as one commit, number `commit`. There is one outcome for each change, in
    /// order; behind them an [`Outcome::Quarantined`] for each damaged place that was put aside and not told yet.
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
            let attempted = self.attempt(|work| changes.iter().map(|change| work.apply(change)).collect());
            if relief == Relief::Reserve {
                self.reclaim_reserve();
            }
            match attempted {
                Ok(flushed) => {
                    let mut outcomes: Vec<Outcome> = self.settle(flushed);
                    outcomes.extend(self.untold.drain(..).map(Outcome::Quarantined));
                    return Ok((Durable::attest(commit), outcomes));
                }
                Err(Fault::Invalid(what)) => return Err(CommitError::Invalid(what)),
                Err(Fault::Damaged { journal, range, what }) => {
                    quarantined += 1;
                    tracing::warn!(%journal, %range, what, "damage met by a commit");
                    let aside = self.put_aside(&journal, range, changes)?;
                    let nothing_moved = aside.ranges.is_empty();
                    self.untold.push(aside);
                    if nothing_moved || quarantined > QUARANTINES_MAX {
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

    /// From here on nothing is written or read any more.
    pub(crate) fn poison(&mut self, why: String) -> CommitError {
        tracing::error!(why, "the store is poisoned: this process must end, the next one verifies");
        // What the log holds is left to the next process, which flushes it before it trusts it.
        let _ = self.conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        let why = self.poisoned.get_or_insert(why);
        CommitError::Poisoned(why.clone())
    }
}
