//! Verification: every stored byte against its checks, and every claim against what is there.
//!
//! Promise: never writes. Absent: what to do about findings (`Store::quarantine`).

use millrace_model::hash::RecordChecker;
use millrace_model::{JournalId, RangeSet, SeqRange};
use rusqlite::Connection;

use crate::append::SEQ_MAX;
use crate::error::{Fault, ReadError};
use crate::row::JournalRow;
use crate::schema::unsigned;
use crate::{digest, quarantine};
use crate::{segment, tail};

/// Findings that one report lists; more are only counted.
const FINDINGS_MAX: usize = 1_000;

/// How far a verification has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Segments read.
    pub segments: u64,
    /// Records verified, in segments and in tails.
    pub records: u64,
    /// Stored bytes read.
    pub bytes: u64,
}

/// Something that does not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Whose.
    pub journal: Option<JournalId>,
    /// Which records, where that is known.
    pub range: Option<SeqRange>,
    /// What, in words.
    pub what: String,
}

/// What a verification found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// How much was read.
    pub read: Progress,
    /// Journals looked at.
    pub journals: u64,
    /// Things that stand in quarantine from earlier.
    pub quarantined: u64,
    /// What does not fit; the first thousand.
    pub findings: Vec<Finding>,
    /// How many findings there were.
    pub found: u64,
}

impl Report {
    /// Whether everything fits.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.found == 0
    }

    fn note(&mut self, journal: Option<JournalId>, range: Option<SeqRange>, what: String) {
        self.found += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { journal, range, what });
        }
    }

    /// Keeps damage as a finding; anything else goes on as an error.
    fn damage(
        &mut self,
        journal: JournalId,
        range: SeqRange,
        result: Result<(), Fault>,
    ) -> Result<(), Fault> {
        match result.map_err(|fault| fault.located(journal, range)) {
            Ok(()) => Ok(()),
            Err(Fault::Damaged { journal, range, what }) => {
                self.note(Some(journal), Some(range), what);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }
}

/// Tables whose pages SQLite checks. Bodies are left out: each is read and hashed, and a look at all of their pages at
/// once would hold the log back for as long as it takes.
const TABLES: [&str; 7] = ["meta", "journal", "tail", "segment", "digest", "gap", "remembered"];

/// Verifies step by step; each step sees one moment, and in between the log can be carried over.
pub(crate) fn run(conn: &Connection, mut progress: impl FnMut(Progress)) -> Result<Report, ReadError> {
    let mut report = Report::default();
    for table in TABLES {
        pages(conn, table, &mut report)?;
    }
    report.quarantined = conn
        .query_row("SELECT count(*) FROM quarantine", [], |row| row.get(0))
        .map(unsigned)
        .map_err(Fault::from)?;
    let journals = match JournalRow::load_all(conn, None) {
        Err(Fault::Invalid(what)) => {
            report.note(None, None, what);
            return Ok(report);
        }
        other => other?.into_iter().map(|row| row.journal),
    };
    for id in journals {
        report.journals += 1;
        at_one_moment(conn, |conn| match JournalRow::load(conn, &id)? {
            Some(row) => claims(conn, &row, &mut report),
            None => Ok(()),
        })?;
        let mut from = Some(0);
        while let Some(seq) = from {
            from = at_one_moment(conn, |conn| segment_after(conn, &id, seq, &mut report))?;
            progress(report.read);
        }
    }
    Ok(report)
}

fn at_one_moment<T>(
    conn: &Connection,
    step: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let moment = conn.unchecked_transaction()?;
    let found = step(&moment)?;
    moment.finish()?;
    Ok(found)
}

/// SQLite's own look at its pages. It does not see a flipped bit in a value; the checks below do.
fn pages(conn: &Connection, table: &str, report: &mut Report) -> Result<(), ReadError> {
    let mut statement = conn.prepare(&format!("PRAGMA quick_check({table})")).map_err(Fault::from)?;
    let said = statement.query_map([], |row| row.get::<_, String>(0)).map_err(Fault::from)?;
    for line in said {
        match line {
            Ok(line) if line == "ok" => {}
            Ok(line) => report.note(None, None, line),
            Err(error) if crate::error::is_corrupt(&error) => report.note(None, None, error.to_string()),
            Err(error) => return Err(Fault::from(error).into()),
        }
    }
    Ok(())
}

/// What a journal claims, and its tail.
fn claims(conn: &Connection, row: &JournalRow, report: &mut Report) -> Result<(), Fault> {
    let Some(everything) = SeqRange::new(1, SEQ_MAX) else { return Ok(()) };
    let ledger = row.ledger();
    if !ledger.balances() {
        report.note(Some(row.journal), None, format!("the ledger does not balance: {ledger:?}"));
    }
    let compared =
        quarantine::compare(conn, row, everything).map_err(|fault| fault.located(row.journal, everything));
    match compared {
        Ok(found) => {
            for range in found.missing.iter() {
                report.note(Some(row.journal), Some(range), "noted as stored, and not there".into());
            }
            let extra: RangeSet = found
                .extra_segments
                .iter()
                .map(|first| SeqRange::only(*first))
                .chain(found.extra_rows.iter())
                .collect();
            for range in extra.iter() {
                report.note(Some(row.journal), Some(range), "there, and not noted as stored".into());
            }
        }
        Err(fault) => report.damage(row.journal, everything, Err(fault))?,
    }
    let rebuilt = digest::rebuild(conn, row).and_then(|rebuilt| {
        // A leaf that cannot be read is a finding of its own.
        Ok(rebuilt.unreadable > 0 || rebuilt.is_stored(conn, row)?)
    });
    match rebuilt {
        Ok(true) => {}
        Ok(false) => report.note(Some(row.journal), None, "the digest is not that of the segments".into()),
        Err(fault) => report.damage(row.journal, everything, Err(fault))?,
    }
    let checker = RecordChecker::new(&row.journal);
    let scanned = tail::scan(conn, row.id, everything, false, |raw| {
        report.read.records += 1;
        report.read.bytes += raw.bytes.len() as u64;
        let only = SeqRange::only(raw.seq);
        let verified = tail::verify(&row.journal, &checker, &raw);
        let walls = row.tail_walls;
        let fits = verified.and_then(|found| {
            let inside =
                walls.is_some_and(|(low, high)| low <= found.record.wall && found.record.wall <= high);
            if inside {
                Ok(())
            } else {
                Err(stray(row, only, "a tail row lies outside the noted time range"))
            }
        });
        report.damage(row.journal, only, fits)?;
        Ok(true)
    });
    report.damage(row.journal, everything, scanned)
}

fn stray(row: &JournalRow, range: SeqRange, what: &str) -> Fault {
    Fault::Damaged { journal: row.journal, range, what: what.to_owned() }
}

/// Verifies the first segment that begins at `from` or later; returns where to go on.
fn segment_after(
    conn: &Connection,
    journal: &JournalId,
    from: u64,
    report: &mut Report,
) -> Result<Option<u64>, Fault> {
    let Some(row) = JournalRow::load(conn, journal)? else { return Ok(None) };
    let sql = "SELECT min(first_seq) FROM segment WHERE journal = ? AND first_seq >= ?";
    let first: Option<i64> =
        conn.prepare_cached(sql)?.query_row((row.id, crate::schema::signed(from)), |found| found.get(0))?;
    let Some(first) = first.map(unsigned) else { return Ok(None) };
    let verified = segment::at(conn, &row, first).and_then(|found| {
        let Some(found) = found else { return Ok(()) };
        let records = found.records(conn, &row.journal)?;
        report.read.segments += 1;
        report.read.records += records.len() as u64;
        report.read.bytes += found.size;
        if segment::walls(&records) == (found.min_wall, found.max_wall) {
            Ok(())
        } else {
            Err(stray(&row, found.range, "a segment is noted under another time range than its records have"))
        }
    });
    report.damage(row.journal, SeqRange::only(first), verified)?;
    Ok(Some(first + 1))
}
