//! Reading ranges of a journal, for the link, for comparing, and for moving.
//!
//! Promise: everything handed out was verified; what should be here and is not counts as damage. Never more than the
//! asked bytes and one segment are in memory. Absent: queries by time and topic ([`crate::query`]).

use millrace_model::hash::RecordChecker;
use millrace_model::limits::{SEGMENT_BYTES_MAX, SEGMENT_RECORDS_MAX};
use millrace_model::{Record, RecordCheck, Run, SegmentName, Seq, SeqRange, block, canon};
use rusqlite::Connection;

use crate::codec::Encoder;
use crate::error::Fault;
use crate::row::JournalRow;
use crate::segment::{self, SegmentRow};
use crate::tail;

/// Consecutive records that are stored in one way.
enum Piece {
    /// These records of a segment.
    Sealed(SegmentRow, SeqRange),
    /// These tail rows.
    Rows(SeqRange),
}

impl Piece {
    const fn range(&self) -> SeqRange {
        match self {
            Self::Sealed(_, range) | Self::Rows(range) => *range,
        }
    }
}

/// Calls `visit` for what is here in `range`, piece by piece, oldest first, until it says `false`.
fn pieces(
    conn: &Connection,
    row: &JournalRow,
    range: SeqRange,
    mut visit: impl FnMut(Piece) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    for here in row.present.within(range).iter() {
        let mut rest = Some(here);
        while let Some(left) = rest {
            let next =
                segment::next(conn, row, left.first()).map_err(|fault| fault.located(row.journal, left))?;
            let piece = match next.filter(|next| next.range.first() <= left.last()) {
                Some(next) if next.range.first() <= left.first() => {
                    let part = next.range.intersection(left).unwrap_or(left);
                    Piece::Sealed(next, part)
                }
                Some(next) => {
                    Piece::Rows(SeqRange::new(left.first(), next.range.first() - 1).unwrap_or(left))
                }
                None => Piece::Rows(left),
            };
            rest = SeqRange::new(piece.range().last() + 1, left.last());
            if !visit(piece)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Calls `visit` for the verified tail rows of `range`, all of which must be there, until it says `false`.
pub(crate) fn rows(
    conn: &Connection,
    row: &JournalRow,
    range: SeqRange,
    mut visit: impl FnMut(tail::TailRecord) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let checker = RecordChecker::new(&row.journal);
    let mut expected = range.first();
    let mut stopped = false;
    // All that are gone side by side are one piece of damage: whoever goes around it has a limit of pieces.
    let missing = |first: Seq, last: Seq| Fault::Damaged {
        journal: row.journal,
        range: SeqRange::new(first, last).unwrap_or(SeqRange::only(first)),
        what: "a tail row is gone".to_owned(),
    };
    tail::scan(conn, row.id, range, false, |raw| {
        let found = tail::verify(&row.journal, &checker, &raw)?;
        if found.seq != expected {
            return Err(missing(expected, found.seq.saturating_sub(1)));
        }
        expected += 1;
        let more = visit(found)?;
        stopped = !more;
        Ok(more)
    })
    .map_err(|fault| fault.located(row.journal, range))?;
    if stopped || expected > range.last() { Ok(()) } else { Err(missing(expected, range.last())) }
}

/// Calls `visit` for every record here in `range`, oldest first, until it says `false`.
pub(crate) fn each(
    conn: &Connection,
    row: &JournalRow,
    range: SeqRange,
    mut visit: impl FnMut(Seq, Record) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    pieces(conn, row, range, |piece| match piece {
        Piece::Sealed(segment, part) => {
            let records = segment.records(conn, &row.journal)?;
            for (seq, record) in (segment.range.first()..).zip(records) {
                if part.contains(seq) && !visit(seq, record)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Piece::Rows(range) => {
            let mut more = true;
            rows(conn, row, range, |found| {
                more = visit(found.seq, found.record)?;
                Ok(more)
            })?;
            Ok(more)
        }
    })
}

/// The checks of the records here in `range`, oldest first, at most `limit`.
pub(crate) fn checks(
    conn: &Connection,
    row: &JournalRow,
    range: SeqRange,
    limit: usize,
) -> Result<Vec<(Seq, RecordCheck)>, Fault> {
    let checker = RecordChecker::new(&row.journal);
    let mut found = Vec::new();
    let mut bytes = Vec::new();
    pieces(conn, row, range, |piece| {
        match piece {
            Piece::Sealed(segment, part) => {
                let records = segment.records(conn, &row.journal)?;
                let wanted = (segment.range.first()..).zip(&records).filter(|(seq, _)| part.contains(*seq));
                for (seq, record) in wanted.take(limit - found.len()) {
                    bytes.clear();
                    canon::encode_into(record, &mut bytes);
                    found.push((seq, checker.check(seq, &bytes)));
                }
            }
            Piece::Rows(range) => rows(conn, row, range, |tail| {
                found.push((tail.seq, tail.check));
                Ok(found.len() < limit)
            })?,
        }
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// Runs in the making.
struct Loader<'a> {
    row: &'a JournalRow,
    runs: Vec<Run>,
    bytes: usize,
    bytes_max: usize,
    encoder: Encoder,
}

/// What is here in `range`, oldest first, as runs of about `bytes_max` bytes in all; at least one when anything is here.
pub(crate) fn load(
    conn: &Connection,
    row: &JournalRow,
    range: SeqRange,
    bytes_max: usize,
    level: i32,
) -> Result<Vec<Run>, Fault> {
    let mut loader = Loader { row, runs: Vec::new(), bytes: 0, bytes_max, encoder: Encoder::new(level) };
    pieces(conn, row, range, |piece| match piece {
        Piece::Sealed(segment, part) if part == segment.range => loader.whole(conn, &segment),
        Piece::Sealed(segment, part) => {
            let records = segment.records(conn, &row.journal)?;
            let skipped = usize::try_from(part.first() - segment.range.first()).unwrap_or(usize::MAX);
            let count = usize::try_from(part.count()).unwrap_or(usize::MAX);
            let wanted: Vec<Record> = records.into_iter().skip(skipped).take(count).collect();
            loader.part(part.first(), &wanted, Some(segment.name))
        }
        Piece::Rows(range) => loader.rows(conn, range),
    })?;
    Ok(loader.runs)
}

impl Loader<'_> {
    /// Whether `size` bytes more may be taken: the first thing always.
    fn fits(&self, size: usize) -> bool {
        self.runs.is_empty() || self.bytes.saturating_add(size) <= self.bytes_max
    }

    fn push(&mut self, run: Run) {
        self.bytes = self.bytes.saturating_add(run.body.len());
        self.runs.push(run);
    }

    fn whole(&mut self, conn: &Connection, segment: &SegmentRow) -> Result<bool, Fault> {
        if !self.fits(usize::try_from(segment.size).unwrap_or(usize::MAX)) {
            return Ok(false);
        }
        let (body, _) = segment.open(conn, &self.row.journal)?;
        self.push(Run {
            journal: self.row.journal,
            first: segment.name.first,
            count: segment.name.count,
            encoding: segment.encoding,
            body,
            segment: Some(segment.name),
        });
        Ok(true)
    }

    /// Takes as many of `records` as fit; `false` when not all did.
    fn part(&mut self, first: Seq, records: &[Record], segment: Option<SegmentName>) -> Result<bool, Fault> {
        let (mut weight, mut taken) = (0, 0);
        for record in records {
            weight += record.weight();
            if (taken == 0 && !self.fits(weight)) || (taken > 0 && !self.room(weight)) {
                break;
            }
            taken += 1;
        }
        let (some, rest) = records.split_at(taken);
        if !some.is_empty() {
            self.encode(first, some, segment);
        }
        Ok(rest.is_empty())
    }

    fn room(&self, weight: usize) -> bool {
        self.bytes.saturating_add(weight) <= self.bytes_max
    }

    fn encode(&mut self, first: Seq, records: &[Record], segment: Option<SegmentName>) {
        let (encoding, body) = self.encoder.encode(block::encode(records));
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        self.push(Run { journal: self.row.journal, first, count, encoding, body, segment });
    }

    /// Takes as many tail rows of `range` as fit, in runs no larger than a segment.
    fn rows(&mut self, conn: &Connection, range: SeqRange) -> Result<bool, Fault> {
        let mut rest = Some(range);
        while let Some(left) = rest {
            let (mut records, mut weight) = (Vec::new(), 0);
            let mut full = false;
            rows(conn, self.row, left, |found| {
                weight += found.record.weight();
                let first = records.is_empty();
                if (first && !self.fits(weight)) || (!first && !self.room(weight)) {
                    full = true;
                    return Ok(false);
                }
                if records.len() == SEGMENT_RECORDS_MAX || (weight > SEGMENT_BYTES_MAX && !first) {
                    return Ok(false);
                }
                records.push(found.record);
                Ok(true)
            })?;
            if records.is_empty() {
                return Ok(false);
            }
            self.encode(left.first(), &records, None);
            if full {
                return Ok(false);
            }
            rest = SeqRange::new(left.first() + records.len() as u64, left.last());
        }
        Ok(true)
    }
}
