//! Transactions: one unit of work on the journals, flushed or not done at all.
//!
//! Promise: what is known in memory changes only after SQLite has returned from a flushed commit.
//! Absent: what to do when the disk is full or damaged ([`crate::commit`] and [`crate::relief`]).

use millrace_model::store::Refusal;
use rusqlite::TransactionBehavior;

use crate::error::{CommitError, Fault, is_full};
use crate::store::Store;
use crate::work::{Journals, Work, Writing};

/// What a transaction leaves in memory now that it is flushed.
pub(crate) struct Flushed<T> {
    value: T,
    touched: Journals,
    writing: Option<Writing>,
}

impl Store {
    /// A small transaction of the store's own: damage that it meets poisons the store.
    pub(crate) fn transact<T>(
        &mut self,
        body: impl FnOnce(&mut Work<'_>) -> Result<T, Fault>,
    ) -> Result<T, CommitError> {
        if let Some(why) = &self.poisoned {
            return Err(CommitError::Poisoned(why.clone()));
        }
        match self.attempt(body) {
            Ok(flushed) => Ok(self.settle(flushed)),
            Err(Fault::Invalid(what)) => Err(CommitError::Invalid(what)),
            Err(Fault::Sql(error)) if is_full(&error) => Err(CommitError::Refused(Refusal::Full)),
            Err(Fault::Sql(error)) => Err(self.poison(error.to_string())),
            Err(Fault::Damaged { journal, range, what }) => {
                Err(self.poison(format!("{journal} {range} is damaged: {what}")))
            }
        }
    }

    /// Does the work of `body` and flushes it. Whoever gets the result settles it.
    pub(crate) fn attempt<T>(
        &mut self,
        body: impl FnOnce(&mut Work<'_>) -> Result<T, Fault>,
    ) -> Result<Flushed<T>, Fault> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut work = Work {
            conn: &tx,
            journals: &self.journals,
            touched: Journals::new(),
            writing: self.writing,
            encoder: &mut self.encoder,
            burst_records: self.options.burst_records.max(1),
        };
        let value = body(&mut work)?;
        work.save()?;
        let (touched, writing) = (work.touched, work.writing);
        tx.commit()?;
        Ok(Flushed { value, touched, writing })
    }

    /// Takes over what a flushed transaction changed, and carries the log over when it has grown long.
    pub(crate) fn settle<T>(&mut self, flushed: Flushed<T>) -> T {
        self.journals.extend(flushed.touched);
        self.writing = flushed.writing;
        if self.files.is_some() {
            self.carry_over();
        }
        flushed.value
    }
}
