//! Scrub: everything that is stored is read again, a little at a time, and compared with what it was when it was stored.
//!
//! Records are not decoded: a body that hashes to its segment's name is what was sealed, and a tail row that fits its check is what was
//! written. At the end of each journal its claims are compared with its rows, and its digest with one that is reckoned from them.
//!
//! Promise: never writes; damage never stops it; where it stopped survives a restart. Each call sees one moment of the store.
//! Absent: how often ([`pass`] says it, the daemons wait), and what is done about what it finds (`Store::quarantine`, `Store::rebuild_digest`).

mod cursor;
mod pass;

use millrace_model::hash::RecordChecker;
use millrace_model::{JournalId, RangeSet, Seq, SeqRange};
use rusqlite::Connection;

pub use cursor::ScrubCursor;
use cursor::Stage;
pub use pass::{SCRUB_REST_MAX, ScrubPace, ScrubProgress};

use crate::append::SEQ_MAX;
use crate::error::{Fault, ReadError, is_corrupt};
use crate::query::Damage;
use crate::reader::Reader;
use crate::row::JournalRow;
use crate::store::Store;
use crate::{digest, quarantine, segment, tail};

/// Stored bytes that one call reads, about: while it reads, the write-ahead log cannot be begun anew.
pub const SCRUB_BYTES_MAX: u64 = 64 << 20;

/// Damaged places that one call lists. With so many it stops, and the next call goes on.
pub const SCRUB_DAMAGES_MAX: usize = 1_000;

/// What a row costs beside its bytes, in bytes that would take as long to read: a call that meets only small things ends too.
const ROW_COST: u64 = 128;

/// What a stretch of a scrub found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scrubbed {
    /// Where to go on; `None`: a whole pass is done.
    pub next: Option<ScrubCursor>,
    /// Segments whose bodies were hashed.
    pub segments: u64,
    /// Records in these segments, and in the tail rows that were checked.
    pub records: u64,
    /// Bytes of bodies and tail rows, as stored.
    pub stored_bytes: u64,
    /// The same, expanded.
    pub raw_bytes: u64,
    /// What does not fit; [`Store::quarantine`] of each takes it out of the way.
    pub damaged: Vec<Damage>,
    /// Journals whose stored digest is not the one of their rows; [`Store::rebuild_digest`] puts it right.
    pub digests: Vec<JournalId>,
    /// Rows of journals that do not even say whose they are, in words. The store that runs knows them, and does not open again as it is.
    pub unreadable: Vec<String>,
}

/// Reads on from `from` until about `bytes_max` stored bytes were read, or a whole pass is done.
pub(crate) fn run(conn: &Connection, from: ScrubCursor, bytes_max: u64) -> Result<Scrubbed, ReadError> {
    let budget = bytes_max.clamp(1, SCRUB_BYTES_MAX);
    let mut walk = Walk { conn, found: Scrubbed::default(), budget, spent: 0 };
    let mut at = Some(from);
    while let Some(place) = at.filter(|_| !walk.is_spent()) {
        at = walk.journal(place)?;
    }
    walk.found.next = at;
    Ok(walk.found)
}

struct Walk<'a> {
    conn: &'a Connection,
    found: Scrubbed,
    budget: u64,
    spent: u64,
}

impl Walk<'_> {
    const fn is_spent(&self) -> bool {
        self.spent >= self.budget || self.found.damaged.len() >= SCRUB_DAMAGES_MAX
    }

    fn read(&mut self, records: u64, stored: usize, raw: usize) {
        self.found.records += records;
        self.found.stored_bytes += stored as u64;
        self.found.raw_bytes += raw as u64;
        self.spent += stored as u64 + ROW_COST;
    }

    /// Keeps damage as a finding; anything else goes on as an error.
    fn note<T>(
        &mut self,
        row: &JournalRow,
        range: SeqRange,
        result: Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        match result.map_err(|fault| fault.located(row.journal, range)) {
            Ok(value) => Ok(Some(value)),
            Err(Fault::Damaged { journal, range, what }) => {
                self.found.damaged.push(Damage { journal, range, what });
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Goes on in a journal; returns where to go on next.
    fn journal(&mut self, from: ScrubCursor) -> Result<Option<ScrubCursor>, Fault> {
        let (id, read) = match JournalRow::load_after(self.conn, from.journal.saturating_sub(1)) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(Fault::Sql(error)) if is_corrupt(&error) => {
                self.found.unreadable.push(format!("the table of journals: {error}"));
                return Ok(None);
            }
            Err(other) => return Err(other),
        };
        let after = ScrubCursor::journal(id.saturating_add(1));
        let row = match read {
            Ok(row) => row,
            Err(fault) => {
                self.spent += ROW_COST;
                self.unreadable(id, fault)?;
                return Ok(Some(after));
            }
        };
        let stage = if id == from.journal { from.stage } else { Stage::default() };
        let stage = match stage {
            Stage::Segments(first) => self.segments(&row, first)?,
            Stage::Tail(first) => self.tail(&row, first)?,
        };
        Ok(Some(stage.map_or(after, |stage| ScrubCursor { journal: id, stage })))
    }

    /// A journal whose row does not verify. Writing it anew from the memory of the store that runs heals it: quarantine does.
    fn unreadable(&mut self, id: i64, fault: Fault) -> Result<(), Fault> {
        let what = match fault {
            Fault::Invalid(what) | Fault::Damaged { what, .. } => what,
            Fault::Sql(error) if is_corrupt(&error) => format!("row {id} of the table of journals: {error}"),
            other @ Fault::Sql(_) => return Err(other),
        };
        match (JournalRow::name_of(self.conn, id), everything(1)) {
            (Some(journal), Some(range)) => self.found.damaged.push(Damage { journal, range, what }),
            _ => self.found.unreadable.push(what),
        }
        Ok(())
    }

    fn segments(&mut self, row: &JournalRow, mut from: Seq) -> Result<Option<Stage>, Fault> {
        while !self.is_spent() {
            let Some(rest) = everything(from) else { break };
            let segment = match segment::neighbour(self.conn, row, from, true) {
                Ok(Some(segment)) => segment,
                Ok(None) => return Ok(Some(Stage::Tail(1))),
                Err(Fault::Damaged { range, what, .. }) => {
                    from = range.first().max(from).saturating_add(1);
                    self.found.damaged.push(Damage { journal: row.journal, range, what });
                    continue;
                }
                // What stands behind a page that cannot be read is not found any more.
                Err(fault) => {
                    self.note::<()>(row, rest, Err(fault))?;
                    return Ok(Some(Stage::Tail(1)));
                }
            };
            from = segment.range.first().saturating_add(1);
            let opened = segment.open(self.conn, &row.journal);
            if let Some((body, block)) = self.note(row, segment.range, opened)? {
                self.found.segments += 1;
                self.read(segment.range.count(), body.len(), block.len());
            } else {
                self.spent += segment.size + ROW_COST;
            }
        }
        Ok(Some(Stage::Segments(from)))
    }

    fn tail(&mut self, row: &JournalRow, from: Seq) -> Result<Option<Stage>, Fault> {
        let Some(rest) = everything(from) else { return self.end(row).map(|()| None) };
        let checker = RecordChecker::new(&row.journal);
        let mut stopped = None;
        let scanned = tail::scan(self.conn, row.id, rest, false, |raw| {
            if self.is_spent() {
                stopped = Some(Stage::Tail(raw.seq));
                return Ok(false);
            }
            if tail::is_sound(&checker, &raw) {
                self.read(1, raw.bytes.len(), raw.bytes.len());
            } else {
                let (journal, range, what) = (row.journal, SeqRange::only(raw.seq), tail::UNSOUND.to_owned());
                self.found.damaged.push(Damage { journal, range, what });
            }
            Ok(true)
        });
        self.note(row, rest, scanned)?;
        if stopped.is_none() {
            self.end(row)?;
        }
        Ok(stopped)
    }

    /// Everything of the journal was read: do its claims fit, and its digest?
    fn end(&mut self, row: &JournalRow) -> Result<(), Fault> {
        self.spent += ROW_COST;
        let Some(all) = everything(1) else { return Ok(()) };
        let compared = quarantine::compare(self.conn, row, all);
        if let Some(found) = self.note(row, all, compared)? {
            let extra = found.extra_segments.iter().map(|first| SeqRange::only(*first));
            let extra: RangeSet = extra.chain(found.extra_rows.iter()).collect();
            self.list(row, &found.missing, "noted as stored, and not there");
            self.list(row, &extra, "there, and not noted as stored");
        }
        let rebuilt = digest::rebuild(self.conn, row).and_then(|rebuilt| {
            // A leaf that cannot be read is damage, which was told; the digest may be right.
            Ok(rebuilt.unreadable > 0 || rebuilt.is_stored(self.conn, row)?)
        });
        if self.note(row, all, rebuilt)? == Some(false) {
            self.found.digests.push(row.journal);
        }
        Ok(())
    }

    /// Lists ranges one by one, and the last ones together when there are too many.
    fn list(&mut self, row: &JournalRow, ranges: &RangeSet, what: &str) {
        let most = SCRUB_DAMAGES_MAX.saturating_sub(self.found.damaged.len()).max(1) - 1;
        let rest = ranges.iter().nth(most).zip(ranges.last());
        let rest = rest.and_then(|(range, last)| SeqRange::new(range.first(), last));
        for range in ranges.iter().take(most).chain(rest) {
            self.found.damaged.push(Damage { journal: row.journal, range, what: what.to_owned() });
        }
    }
}

/// All numbers from one on.
const fn everything(from: Seq) -> Option<SeqRange> {
    SeqRange::new(from, SEQ_MAX)
}

impl Reader {
    /// Reads on from `from` until about `bytes_max` stored bytes (at most [`SCRUB_BYTES_MAX`]) were read or a whole pass is done, and
    /// compares them with their checks and hashes, claims with rows, digests with segments.
    ///
    /// # Errors
    /// When SQLite fails in a way that is not damage.
    pub fn scrub(&self, from: ScrubCursor, bytes_max: u64) -> Result<Scrubbed, ReadError> {
        self.at_one_moment(|conn| run(conn, from, bytes_max))
    }
}

impl Store {
    /// As [`Reader::scrub`].
    ///
    /// # Errors
    /// When SQLite fails in a way that is not damage, or the store is poisoned.
    pub fn scrub(&self, from: ScrubCursor, bytes_max: u64) -> Result<Scrubbed, ReadError> {
        self.healthy()?;
        run(&self.conn, from, bytes_max)
    }
}
