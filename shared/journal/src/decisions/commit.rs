//! One flush of the log: several steps of several askers in one transaction.
//!
//! Promise: a step that makes no sense is answered as such and leaves the others alone; the rest is flushed together or not
//! at all. Only a flushed group changes what the log says of itself. A failure that is not a full disk poisons the log.

use millrace_model::Durable;
use rusqlite::{Transaction, TransactionBehavior, params};

use super::chain::Chain;
use super::database;
use super::entry::{ENTRY_BYTES_MAX, LogEntry, LogHead, LogStep};
use super::error::LogError;
use super::log::{DecisionLog, Position, save_note};
use super::verify::chain_before;
use crate::error::is_full;
use crate::schema::signed;

/// What stopped a step.
enum Fault {
    Sql(rusqlite::Error),
    Invalid(String),
    Damaged(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl DecisionLog {
    /// Makes one step and flushes it.
    ///
    /// # Errors
    /// As [`DecisionLog::commit_group`].
    pub fn commit(&mut self, step: &LogStep) -> Result<Durable, LogError> {
        self.commit_group(std::slice::from_ref(step))
            .pop()
            .unwrap_or(Err(LogError::Busy("nothing was asked")))
    }

    /// Makes several steps, in order, and flushes them together; the answers stand in the order of the steps.
    ///
    /// # Errors
    /// Per step. [`LogError::Invalid`]: this step was not made, the others were. [`LogError::Full`]: none was made, the log
    /// goes on. [`LogError::Poisoned`]: end the process.
    pub fn commit_group(&mut self, steps: &[LogStep]) -> Vec<Result<Durable, LogError>> {
        let all = |error: &LogError| steps.iter().map(|_| Err(error.clone())).collect();
        if let Some(why) = &self.poisoned {
            return all(&LogError::Poisoned(why.clone()));
        }
        match self.attempt(steps) {
            Ok((position, refusals)) => {
                self.position = position;
                self.groups += 1;
                if let Err(error) =
                    database::carry_over(&self.files, &self.conn, self.options.wal_limit_bytes)
                    && !is_full(&error)
                {
                    return all(&self.poison(error.to_string()));
                }
                let proof = Durable::attest(self.groups);
                refusals
                    .into_iter()
                    .map(|refusal| refusal.map_or(Ok(proof), |what| Err(LogError::Invalid(what))))
                    .collect()
            }
            Err(Fault::Sql(error)) if is_full(&error) => all(&LogError::Full),
            Err(Fault::Sql(error)) => all(&self.poison(error.to_string())),
            Err(Fault::Damaged(what) | Fault::Invalid(what)) => all(&self.poison(what)),
        }
    }

    fn attempt(&mut self, steps: &[LogStep]) -> Result<(Position, Vec<Option<String>>), Fault> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut position = self.position.clone();
        let mut refusals = Vec::with_capacity(steps.len());
        for step in steps {
            match take(&tx, &mut position, step) {
                Ok(()) => refusals.push(None),
                Err(Fault::Invalid(what)) => refusals.push(Some(what)),
                Err(other) => return Err(other),
            }
        }
        save_changes(&tx, &self.position, &position)?;
        tx.commit()?;
        Ok((position, refusals))
    }

    /// From here on nothing is written or read any more.
    fn poison(&mut self, why: String) -> LogError {
        tracing::error!(why, "the decision log is poisoned: this process must end, the next one verifies");
        // What the write-ahead log holds is left to the next process, which flushes it before it trusts it.
        let _ = self.conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        LogError::Poisoned(self.poisoned.get_or_insert(why).clone())
    }
}

fn take(tx: &Transaction<'_>, position: &mut Position, step: &LogStep) -> Result<(), Fault> {
    match step {
        LogStep::Append(entries) => append(tx, position, entries),
        LogStep::TruncateFrom(first) => truncate(tx, position, *first),
        LogStep::PurgeThrough { index, term } => purge(tx, position, *index, *term),
        LogStep::Vote(vote) => {
            position.vote = Some(vote.clone());
            Ok(())
        }
        LogStep::Committed(committed) => {
            position.committed = Some(committed.clone());
            Ok(())
        }
    }
}

fn append(tx: &Transaction<'_>, position: &mut Position, entries: &[LogEntry]) -> Result<(), Fault> {
    // Everything is checked before anything is written, so that a refused step leaves nothing behind.
    let mut before = position.head;
    for entry in entries {
        let expected = before.map_or(0, |head| head.index + 1);
        if entry.index != expected {
            return Err(Fault::Invalid(format!("entry {} does not follow, {expected} would", entry.index)));
        }
        if before.is_some_and(|head| head.term > entry.term) {
            return Err(Fault::Invalid(format!(
                "entry {} is of an older term than its predecessor",
                entry.index
            )));
        }
        if entry.payload.len() > ENTRY_BYTES_MAX {
            let bytes = entry.payload.len();
            return Err(Fault::Invalid(format!(
                "entry {} has {bytes} of {ENTRY_BYTES_MAX} bytes",
                entry.index
            )));
        }
        before = Some(LogHead { index: entry.index, term: entry.term, chain: Chain::GENESIS });
    }
    let mut insert =
        tx.prepare_cached("INSERT INTO entry (place, term, chain, payload) VALUES (?1, ?2, ?3, ?4)")?;
    for entry in entries {
        let before = position.head.map_or(Chain::GENESIS, |head| head.chain);
        let chain = before.after(entry.index, entry.term, &entry.payload);
        insert.execute(params![
            signed(entry.index),
            signed(entry.term),
            chain.as_bytes().as_slice(),
            entry.payload.as_ref()
        ])?;
        position.head = Some(LogHead { index: entry.index, term: entry.term, chain });
        position.bytes += entry.payload.len() as u64;
    }
    Ok(())
}

fn truncate(tx: &Transaction<'_>, position: &mut Position, first: u64) -> Result<(), Fault> {
    if position.purged.is_some_and(|purged| first <= purged.index) {
        return Err(Fault::Invalid(format!("entry {first} was purged and cannot be truncated")));
    }
    if position.head.is_none_or(|head| head.index < first) {
        return Ok(());
    }
    position.bytes = position.bytes.saturating_sub(bytes_between(tx, signed(first), i64::MAX)?);
    tx.prepare_cached("DELETE FROM entry WHERE place >= ?1")?.execute([signed(first)])?;
    position.head = match first.checked_sub(1) {
        None => None,
        Some(last) if position.purged.is_some_and(|purged| purged.index == last) => position.purged,
        Some(last) => {
            let term: i64 = tx
                .prepare_cached("SELECT term FROM entry WHERE place = ?1")?
                .query_row([signed(last)], |row| row.get(0))?;
            let chain = chain_before(tx, first).map_err(Fault::Damaged)?;
            let chain = chain.ok_or_else(|| Fault::Damaged(format!("entry {last} is missing")))?;
            Some(LogHead { index: last, term: crate::schema::unsigned(term), chain })
        }
    };
    Ok(())
}

fn purge(tx: &Transaction<'_>, position: &mut Position, index: u64, term: u64) -> Result<(), Fault> {
    if position.purged.is_some_and(|purged| index <= purged.index) {
        return Ok(());
    }
    let held = position.head.is_some_and(|head| index <= head.index);
    let chain = if held {
        let chain = chain_before(tx, index + 1).map_err(Fault::Damaged)?;
        chain.ok_or_else(|| Fault::Damaged(format!("entry {index} is missing")))?
    } else {
        Chain::restarted(index, term)
    };
    position.bytes = position.bytes.saturating_sub(bytes_between(tx, 0, signed(index))?);
    tx.prepare_cached("DELETE FROM entry WHERE place <= ?1")?.execute([signed(index)])?;
    let purged = LogHead { index, term, chain };
    position.purged = Some(purged);
    if !held || position.head.is_some_and(|head| head.index == index) {
        position.head = Some(purged);
    }
    Ok(())
}

fn bytes_between(tx: &Transaction<'_>, first: i64, last: i64) -> Result<u64, Fault> {
    let bytes: i64 = tx
        .prepare_cached("SELECT coalesce(sum(length(payload)), 0) FROM entry WHERE place BETWEEN ?1 AND ?2")?
        .query_row([first, last], |row| row.get(0))?;
    Ok(crate::schema::unsigned(bytes))
}

fn save_changes(tx: &Transaction<'_>, old: &Position, new: &Position) -> Result<(), Fault> {
    if new.head != old.head {
        match new.head {
            Some(head) => save_note(tx, "head", &head.to_bytes())?,
            None => {
                tx.prepare_cached("DELETE FROM note WHERE name = 'head'")?.execute([])?;
            }
        }
    }
    if let Some(purged) = new.purged.filter(|_| new.purged != old.purged) {
        save_note(tx, "purged", &purged.to_bytes())?;
    }
    if let Some(vote) = new.vote.as_ref().filter(|_| new.vote != old.vote) {
        save_note(tx, "vote", vote)?;
    }
    if let Some(committed) = new.committed.as_ref().filter(|_| new.committed != old.committed) {
        save_note(tx, "committed", committed)?;
    }
    Ok(())
}
