//! Walking segments and tails of many journals in the order of time.
//!
//! Segments of one journal overlap in time when clocks jump, so each journal's segments are walked in classes of similar
//! length ([`crate::segment::CLASS_SPANS`]): within a class, no segment reaches further than its class allows beyond the place
//! where it begins, so the walk knows what can still come. Peeking at the next segment reads the time index only.
//!
//! Promise: memory grows with the number of journals asked for, not with their segments.
//! Absent: which records of a segment are wanted ([`crate::query`]).

use std::collections::BTreeMap;

use millrace_model::{Seq, SeqRange, Wall};
use rusqlite::{Connection, OptionalExtension};

use crate::append::SEQ_MAX;
use crate::error::Fault;
use crate::row::JournalRow;
use crate::schema::{signed, unsigned};
use crate::segment::CLASS_SPANS;

/// Something to read.
pub(crate) enum Source {
    /// The records of one segment, and its earliest and latest arrival.
    Segment(SeqRange, (Wall, Wall)),
    /// The tail rows.
    Tail(SeqRange),
}

/// What a stream will give next.
enum Next {
    Segment { min: i64, max: i64, first: Seq },
    Tail,
}

/// The segments of one class of one journal, or its tail.
struct Stream {
    journal: usize,
    class: i64,
    next: Next,
}

pub(crate) struct Sweep {
    low: i64,
    high: i64,
    newest_first: bool,
    journals: Vec<std::rc::Rc<JournalRow>>,
    /// By the earliest (or, newest first, latest) arrival that the stream can still give, turned so that the first comes
    /// first.
    streams: BTreeMap<(i64, usize), Stream>,
    made: usize,
}

impl Sweep {
    /// A walk through `bounds`, both ends included.
    pub(crate) const fn new((low, high): (Wall, Wall), newest_first: bool) -> Self {
        Self {
            low: low.0,
            high: high.0,
            newest_first,
            journals: Vec::new(),
            streams: BTreeMap::new(),
            made: 0,
        }
    }

    /// Adds a journal's segments and tail.
    pub(crate) fn add(&mut self, conn: &Connection, row: JournalRow) -> Result<(), Fault> {
        let place = self.journals.len();
        self.journals.push(std::rc::Rc::new(row));
        let Some(row) = self.journals.get(place).cloned() else { return Ok(()) };
        for class in
            (0..).zip(CLASS_SPANS).map(|(class, _)| class).filter(|class| row.classes & (1 << class) != 0)
        {
            let start =
                if self.newest_first { (self.high, i64::MAX, i64::MAX) } else { (i64::MIN, i64::MIN, 0) };
            self.follow(conn, &row, place, class, start)?;
        }
        if let Some((low, high)) = row.tail_walls
            && row.tail_rows > 0
            && low.0 <= self.high
            && high.0 >= self.low
        {
            let reach = if self.newest_first { high.0.min(self.high) } else { low.0.max(self.low) };
            self.push(reach, Stream { journal: place, class: 0, next: Next::Tail });
        }
        Ok(())
    }

    fn push(&mut self, reach: i64, stream: Stream) {
        let order = if self.newest_first { !reach } else { reach };
        self.streams.insert((order, self.made), stream);
        self.made += 1;
    }

    /// Looks for the next segment of a class from `start` on, in the time index alone.
    fn follow(
        &mut self,
        conn: &Connection,
        row: &JournalRow,
        journal: usize,
        class: i64,
        (min, max, first): (i64, i64, i64),
    ) -> Result<(), Fault> {
        let span =
            usize::try_from(class).ok().and_then(|at| CLASS_SPANS.get(at)).copied().unwrap_or(i64::MAX);
        let lowest = self.low.saturating_sub(span);
        // The class says how far a segment may reach, so everything that begins before `lowest` has ended.
        let sql = if self.newest_first {
            "SELECT min_wall, max_wall, first_seq FROM segment INDEXED BY segment_time \
             WHERE journal = ?1 AND class = ?2 AND min_wall >= ?3 AND (min_wall, max_wall, first_seq) <= (?4, ?5, ?6) \
             AND max_wall >= ?7 AND min_wall <= ?8 ORDER BY min_wall DESC, max_wall DESC, first_seq DESC LIMIT 1"
        } else {
            "SELECT min_wall, max_wall, first_seq FROM segment INDEXED BY segment_time \
             WHERE journal = ?1 AND class = ?2 AND min_wall >= ?3 AND (min_wall, max_wall, first_seq) >= (?4, ?5, ?6) \
             AND max_wall >= ?7 AND min_wall <= ?8 ORDER BY min_wall, max_wall, first_seq LIMIT 1"
        };
        let found: Option<(i64, i64, i64)> = conn
            .prepare_cached(sql)?
            .query_row((row.id, class, lowest, min, max, first, self.low, self.high), |found| {
                Ok((found.get(0)?, found.get(1)?, found.get(2)?))
            })
            .optional()?;
        let Some((min, max, first)) = found else { return Ok(()) };
        let reach =
            if self.newest_first { min.saturating_add(span).min(self.high) } else { min.max(self.low) };
        let first = unsigned(first);
        self.push(reach, Stream { journal, class, next: Next::Segment { min, max, first } });
        Ok(())
    }

    /// The first arrival that anything still to come can have; `None` when nothing is to come.
    pub(crate) fn edge(&self) -> Option<Wall> {
        let (order, _) = self.streams.keys().next()?;
        Some(Wall(if self.newest_first { !order } else { *order }))
    }

    /// The next thing to read, and whose it is. `None` means: look at the edge again.
    pub(crate) fn next(
        &mut self,
        conn: &Connection,
    ) -> Result<Option<(std::rc::Rc<JournalRow>, Source)>, Fault> {
        let Some((_, stream)) = self.streams.pop_first() else { return Ok(None) };
        let Some(row) = self.journals.get(stream.journal).cloned() else { return Ok(None) };
        match stream.next {
            Next::Tail => {
                let range = SeqRange::new(row.floor, row.head.clamp(row.floor, SEQ_MAX));
                Ok(range.map(|range| (row, Source::Tail(range))))
            }
            Next::Segment { min, max, first } => {
                let after = if self.newest_first { signed(first) - 1 } else { signed(first) + 1 };
                self.follow(conn, &row, stream.journal, stream.class, (min, max, after))?;
                let segment = crate::segment::at(conn, &row, first)?;
                Ok(segment.map(|found| (row, Source::Segment(found.range, (found.min_wall, found.max_wall)))))
            }
        }
    }
}
