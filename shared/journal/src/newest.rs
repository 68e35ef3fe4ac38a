//! Reading the newest first, for a device that gets its history back.
//!
//! Promise: everything handed out was verified. A sealed segment comes whole, also when only a part of it is asked for, so that it is stored
//! as it stands here. Never more than the asked bytes and one segment are in memory.
//! Absent: reading in the order of the numbers ([`crate::load`]).

use millrace_model::hash::RecordChecker;
use millrace_model::limits::SEGMENT_RECORDS_MAX;
use millrace_model::{DeviceId, JournalId, RangeSet, Record, Run, Seq, SeqRange, Wall, block};
use rusqlite::Connection;

use crate::codec::Encoder;
use crate::error::{Fault, ReadError};
use crate::reader::Reader;
use crate::row::JournalRow;
use crate::segment::{self, SegmentRow};
use crate::store::Store;
use crate::tail;

/// What a store keeps of one journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Which journal.
    pub journal: JournalId,
    /// What is here.
    pub present: RangeSet,
    /// Stored bytes, about.
    pub bytes: u64,
    /// Arrival of the newest record, by its author's clock; not earlier, perhaps later.
    pub newest: Wall,
}

/// How much one call hands out at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Portion {
    /// Bytes of bodies; the first run comes in any case.
    pub bytes_max: usize,
    /// Runs.
    pub runs_max: usize,
}

/// Runs in the making, newest first.
struct Loader<'a> {
    conn: &'a Connection,
    row: &'a JournalRow,
    runs: Vec<Run>,
    bytes: usize,
    portion: Portion,
    encoder: Encoder,
}

impl Loader<'_> {
    fn fits(&self, size: usize) -> bool {
        let has_room = self.runs.len() < self.portion.runs_max;
        self.runs.is_empty() || (has_room && self.bytes.saturating_add(size) <= self.portion.bytes_max)
    }

    fn push(&mut self, run: Run, weight: usize) {
        self.bytes = self.bytes.saturating_add(weight);
        self.runs.push(run);
    }

    /// Takes what stands at the end of `part`; returns where it begins, or nothing when it does not fit any more.
    fn last_of(&mut self, part: SeqRange) -> Result<Option<Seq>, Fault> {
        let found = segment::neighbour(self.conn, self.row, part.last(), false);
        let before = found.map_err(|fault| fault.located(self.row.journal, part))?;
        match before {
            Some(segment) if segment.range.last() >= part.last() => self.whole(&segment),
            before => {
                let behind = before.map_or(1, |segment| segment.range.last() + 1).max(part.first());
                self.rows(SeqRange::new(behind, part.last()).unwrap_or(part))
            }
        }
    }

    fn whole(&mut self, segment: &SegmentRow) -> Result<Option<Seq>, Fault> {
        if !self.fits(usize::try_from(segment.size).unwrap_or(usize::MAX)) {
            return Ok(None);
        }
        let (body, _) = segment.open(self.conn, &self.row.journal)?;
        let (name, weight) = (segment.name, body.len());
        let run = Run {
            journal: self.row.journal,
            first: name.first,
            count: name.count,
            encoding: segment.encoding,
            body,
            segment: Some(name),
        };
        self.push(run, weight);
        Ok(Some(name.first))
    }

    /// Takes as many of the last tail rows of `range` as fit, in a run no larger than a segment.
    fn rows(&mut self, range: SeqRange) -> Result<Option<Seq>, Fault> {
        let journal = self.row.journal;
        let checker = RecordChecker::new(&journal);
        // Counted as they stand here, so that what does not fit is not cut into ever smaller runs.
        let (mut records, mut weight): (Vec<Record>, usize) = (Vec::new(), 0);
        let (mut expected, mut met) = (Some(range.last()), None);
        tail::scan(self.conn, self.row.id, range, true, |raw| {
            let found = tail::verify(&journal, &checker, &raw)?;
            met = met.or(Some(found.seq));
            weight = weight.saturating_add(found.record.weight());
            let room = if records.is_empty() {
                self.fits(weight)
            } else {
                self.bytes.saturating_add(weight) <= self.portion.bytes_max
            };
            if expected != Some(found.seq) || !room || records.len() == SEGMENT_RECORDS_MAX {
                return Ok(false);
            }
            expected = found.seq.checked_sub(1);
            records.push(found.record);
            Ok(true)
        })
        .map_err(|fault| fault.located(journal, range))?;
        let count = records.len() as u64;
        if count == 0 {
            // Noted as stored, and not there: or it does not fit.
            let gone = expected == Some(range.last()) && self.fits(weight);
            let what = "a tail row is gone".to_owned();
            let first = met.map_or(range.first(), |met| met.saturating_add(1));
            let lost = SeqRange::new(first, range.last()).unwrap_or(SeqRange::only(range.last()));
            let lost = Fault::Damaged { journal, range: lost, what };
            return if gone { Err(lost) } else { Ok(None) };
        }
        records.reverse();
        let first = range.last() + 1 - count;
        let (encoding, body) = self.encoder.encode(block::encode(&records));
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.push(Run { journal, first, count, encoding, body, segment: None }, weight);
        Ok(Some(first))
    }
}

/// The newest that is here of `wanted`.
fn load(
    conn: &Connection,
    row: &JournalRow,
    wanted: &RangeSet,
    portion: Portion,
    level: i32,
) -> Result<Vec<Run>, Fault> {
    let encoder = Encoder::new(level);
    let mut loader = Loader { conn, row, runs: Vec::new(), bytes: 0, portion, encoder };
    let here = row.present.intersection(wanted);
    let mut taken = Seq::MAX;
    for stretch in here.iter().rev() {
        let mut rest = SeqRange::new(stretch.first(), stretch.last().min(taken.saturating_sub(1)));
        while let Some(part) = rest {
            let Some(first) = loader.last_of(part)? else { return Ok(loader.runs) };
            taken = first;
            rest = first.checked_sub(1).and_then(|last| SeqRange::new(part.first(), last));
        }
    }
    Ok(loader.runs)
}

/// Arrival of the newest record of a journal.
fn newest(conn: &Connection, row: &JournalRow) -> Result<Wall, Fault> {
    let sealed = match segment::neighbour(conn, row, row.head, false) {
        // It only orders journals; whoever reads the records meets the damage.
        Err(Fault::Damaged { .. }) => None,
        found => found?.map(|segment| segment.max_wall),
    };
    Ok(row.tail_walls.map(|(_, last)| last).max(sealed).unwrap_or_default())
}

impl Store {
    /// As [`Reader::newest`], over the connection that writes.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn newest(
        &self,
        journal: &JournalId,
        wanted: &RangeSet,
        portion: Portion,
    ) -> Result<Vec<Run>, ReadError> {
        self.healthy()?;
        match self.journals.get(journal) {
            Some(row) => Ok(load(&self.conn, row, wanted, portion, self.options.compression_level)?),
            None => Ok(Vec::new()),
        }
    }
}

impl Reader {
    /// What is kept of a device, one entry for each of its journals that has anything.
    ///
    /// # Errors
    /// When SQLite fails, or a journal's row is damaged.
    pub fn kept(&self, device: &DeviceId) -> Result<Vec<Kept>, ReadError> {
        self.at_one_moment(|conn| {
            let mut found = Vec::new();
            for row in JournalRow::load_all(conn, Some(device))? {
                if !row.present.is_empty() {
                    let state = row.state();
                    let newest = newest(conn, &row)?;
                    let (journal, present, bytes) = (state.journal, state.present, state.stored_bytes);
                    found.push(Kept { journal, present, bytes, newest });
                }
            }
            Ok(found)
        })
    }

    /// The newest that is here of `wanted`, newest first: segments whole and byte for byte as stored, also when only a part of one is
    /// wanted; tail rows encoded anew. At least one run when anything is here.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn newest(
        &self,
        journal: &JournalId,
        wanted: &RangeSet,
        portion: Portion,
    ) -> Result<Vec<Run>, ReadError> {
        self.at_one_moment(|conn| {
            let Some(row) = JournalRow::load(conn, journal)? else { return Ok(Vec::new()) };
            Ok(load(conn, &row, wanted, portion, self.level)?)
        })
    }
}
