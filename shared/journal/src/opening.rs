//! Opening: who writes here, what the write-ahead log lost, and whether everything that was noted is there.
//!
//! Promise: what is missing is counted before anything new is written; a ledger that does not balance stops the start.
//! Absent: reading the bodies ([`crate::verify`] does, when asked).

use std::path::Path;

use millrace_model::{JournalId, Lane, RangeSet, SeqRange};
use rusqlite::Connection;

use crate::append::SEQ_MAX;
use crate::error::{CommitError, Fault, OpenError, is_corrupt, is_full};
use crate::options::Options;
use crate::store::Store;
use crate::work::Writing;
use crate::{connection, digest, disk, memory, quarantine, wal};

/// What was found when a store was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenReport {
    /// Whether the store is new.
    pub created: bool,
    /// The schema version that it had; 0 when it is new.
    pub migrated_from: u32,
    /// Commits that the write-ahead log holds and SQLite dropped, because something before them is damaged. They were
    /// flushed once, so their numbers may be known elsewhere: an author must begin a new incarnation. The log was copied aside.
    /// What they held is an open gap of unknown size in each journal that is written to. 1 when an earlier start found that and
    /// no new incarnation has begun since.
    pub lost_commits: u64,
    /// Records that were noted as stored and are not there. Where this store is the author, they are open gaps now.
    pub missing: Vec<(JournalId, RangeSet)>,
    /// Journals whose digest did not fit its own root and was reckoned anew.
    pub digests: Vec<JournalId>,
    /// Whether the disk reserve is in place.
    pub reserved: bool,
}

/// Looks at the log, flushes it, and opens the database; the number is that of lost commits.
pub(crate) fn connect(database: &Path, options: &Options) -> Result<(u64, Connection), OpenError> {
    let lost = inspect_log(database)?;
    let path = disk::beside(database, "-wal");
    wal::flush(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::StorageFull => OpenError::Full,
        _ => OpenError::File { path, source },
    })?;
    Ok((lost, connection::writer(database, options).map_err(explain_open)?))
}

/// Looks for lost commits; copies a log that has some aside, because SQLite is about to overwrite it.
fn inspect_log(database: &Path) -> Result<u64, OpenError> {
    let path = disk::beside(database, "-wal");
    let lost = wal::lost_commits(&path).map_err(|source| OpenError::File { path: path.clone(), source })?;
    if lost > 0 {
        let aside = disk::beside(database, "-wal.damaged");
        std::fs::copy(&path, &aside).map_err(|source| OpenError::File { path: aside.clone(), source })?;
        tracing::error!(lost, aside = %aside.display(), "the write-ahead log is damaged: flushed commits are lost");
    }
    Ok(lost)
}

/// Who writes here: noted at the first opening, compared at every other.
pub(crate) fn settle_role(conn: &Connection, options: &Options) -> Result<Option<Writing>, OpenError> {
    let asked = options
        .author
        .map(|author| Writing { device: author.device, incarnation: author.incarnation_if_new });
    let name = |writing: Option<Writing>| if writing.is_some() { "an agent" } else { "a hub" };
    match (memory::role(conn)?, asked) {
        (None, asked) => {
            memory::save_role(conn, asked).map_err(explain_fault)?;
            Ok(asked)
        }
        (Some(None), None) => Ok(None),
        (Some(Some(found)), Some(asked)) if found.device == asked.device => Ok(Some(found)),
        (Some(Some(found)), Some(asked)) => {
            Err(OpenError::OtherDevice { found: found.device, asked: asked.device })
        }
        (Some(found), asked) => Err(OpenError::WrongRole { found: name(found), asked: name(asked) }),
    }
}

/// Makes the author's journals, and compares what was noted with what is there.
pub(crate) fn prepare(store: &mut Store) -> Result<(), OpenError> {
    let page: i64 = store.conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
    store.meter.page_bytes = crate::schema::unsigned(page);
    let lanes: Vec<JournalId> = store
        .writing
        .iter()
        .flat_map(|w| Lane::ALL.map(|lane| JournalId { device: w.device, incarnation: w.incarnation, lane }))
        .filter(|journal| !store.journals.contains_key(journal))
        .collect();
    if !lanes.is_empty() {
        let made = store
            .transact(|work| lanes.iter().try_for_each(|journal| work.create(*journal, true).map(|_| ())));
        made.map_err(explain_commit)?;
    }
    let everything = SeqRange::new(1, SEQ_MAX);
    let journals: Vec<JournalId> = store.journals.keys().copied().collect();
    for journal in journals {
        let Some((row, range)) = store.journals.get(&journal).zip(everything) else { continue };
        let found = quarantine::compare(&store.conn, row, range).map_err(explain_fault)?;
        if !found.fits() {
            let missing = store.transact(|work| quarantine::reconcile(work, &journal, range, None));
            store.report.missing.push((journal, missing.map_err(explain_commit)?.ranges));
        } else if !digest::is_topped(&store.conn, row).map_err(explain_fault)? {
            tracing::error!(%journal, "the digest is damaged: it is reckoned anew");
            store.rebuild_digest(&journal).map_err(explain_commit)?;
            store.report.digests.push(journal);
        }
        check_ledger(store, &journal)?;
    }
    note_lost_commits(store)
}

/// What stood in lost commits cannot be counted, but it can be said: an open gap after the last record of each journal that is
/// written to. It also reminds the next start when this one ends before a new incarnation has begun.
fn note_lost_commits(store: &mut Store) -> Result<(), OpenError> {
    if store.report.lost_commits == 0 {
        let reminded = crate::gaps::any_unknown(&store.conn).map_err(explain_fault)?;
        store.report.lost_commits = u64::from(reminded);
        return Ok(());
    }
    let noted = store.transact(|work| {
        for row in work.journals.values().filter(|row| row.own && !row.retired) {
            let sealed = crate::segment::neighbour(work.conn, row, row.head, false)?;
            let sealed = sealed.map(|segment| segment.max_wall);
            let last = row.tail_walls.map(|(_, last)| last).max(sealed).unwrap_or_default();
            crate::gaps::open_unknown(work.conn, row.id, row.head, last)?;
        }
        Ok(())
    });
    match noted {
        // The report says it in any case; a full disk keeps nobody from starting.
        Ok(()) | Err(CommitError::Refused(_)) => Ok(()),
        Err(error) => Err(explain_commit(error)),
    }
}

fn check_ledger(store: &Store, journal: &JournalId) -> Result<(), OpenError> {
    let Some(row) = store.journals.get(journal) else { return Ok(()) };
    let ledger = row.ledger();
    if ledger.balances() {
        return Ok(());
    }
    let what = format!(
        "ingested {} ≠ acked {} + pending {} + evicted {} + rejected {}",
        ledger.ingested, ledger.acked, ledger.pending, ledger.evicted, ledger.rejected
    );
    Err(OpenError::Ledger { journal: *journal, what })
}

/// Says what an error of SQLite means for somebody who wants to open a store.
pub(crate) fn explain_open(error: OpenError) -> OpenError {
    match error {
        OpenError::Sqlite(error) if is_full(&error) => OpenError::Full,
        OpenError::Sqlite(error) if is_corrupt(&error) => OpenError::Damaged { what: error.to_string() },
        other => other,
    }
}

pub(crate) fn explain_fault(fault: Fault) -> OpenError {
    match fault {
        Fault::Sql(error) => explain_open(OpenError::Sqlite(error)),
        Fault::Invalid(what) => OpenError::Damaged { what },
        Fault::Damaged { journal, range, what } => {
            OpenError::Damaged { what: format!("{journal} {range}: {what}") }
        }
    }
}

fn explain_commit(error: CommitError) -> OpenError {
    match error {
        CommitError::Refused(_) => OpenError::Full,
        CommitError::Poisoned(what) | CommitError::Invalid(what) => OpenError::Damaged { what },
    }
}
