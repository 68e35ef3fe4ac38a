//! Queries: records by device, lane, topic and time, page by page.
//!
//! Promise: ordered by (arrival, journal, number) even where clocks went backwards; only segments whose time range overlaps
//! the asked one are read, and no more of those than the page needs; memory is bounded by the page. Damage hides nothing but
//! itself: the page goes on behind it and names what it had to leave out.
//! Absent: how segments are walked in the order of time ([`crate::sweep`]).

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_model::limits::SEGMENT_RECORDS_MAX;
use millrace_model::{DeviceId, JournalId, Kind, Lane, Record, Seq, SeqRange, Wall};
use rusqlite::Connection;

use crate::cursor::{Cursor, Key};
use crate::error::{Fault, ReadError};
use crate::row::JournalRow;
use crate::sweep::{Source, Sweep};
use crate::{load, tail};
use millrace_model::hash::RecordChecker;

/// Rows of one page.
pub const QUERY_ROWS_MAX: usize = 10_000;

/// Bytes of the records of one page, about; one record is returned however large it is.
pub const QUERY_BYTES_MAX: usize = 8 << 20;

/// Records that one page looks at before it returns what it has, with a cursor to go on: a filter that matches nothing
/// must not hold a connection for minutes.
const EXAMINED_MAX: u64 = 1 << 20;

/// Damaged places that one page lists; more are only counted.
pub const QUERY_DAMAGES_MAX: usize = 1_000;

/// Which end of time comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// Earliest arrival first.
    #[default]
    OldestFirst,
    /// Latest arrival first.
    NewestFirst,
}

/// What is asked for. [`Query::default`] asks for all readings, oldest first.
#[derive(Clone, PartialEq, Debug)]
pub struct Query {
    /// Only these devices.
    pub devices: Option<Vec<DeviceId>>,
    /// Only these lanes.
    pub lanes: Option<Vec<Lane>>,
    /// Only topics that one of these MQTT filters covers; empty: all.
    pub topics: Vec<String>,
    /// Only these kinds; empty: all.
    pub kinds: Vec<Kind>,
    /// Only what arrived then or later.
    pub from: Option<Wall>,
    /// Only what arrived before then.
    pub to: Option<Wall>,
    /// Which end comes first.
    pub order: Order,
    /// Rows of a page, at most [`QUERY_ROWS_MAX`]; 0 counts as 1.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            devices: None,
            lanes: None,
            topics: Vec::new(),
            kinds: vec![Kind::DATA],
            from: None,
            to: None,
            order: Order::OldestFirst,
            limit: 100,
            cursor: None,
        }
    }
}

/// One record and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Whose it is.
    pub journal: JournalId,
    /// Its number there.
    pub seq: Seq,
    /// The record.
    pub record: Record,
}

/// Records that a page should have looked at and could not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Whose.
    pub journal: JournalId,
    /// Which ones; the first of them where only that is known.
    pub range: SeqRange,
    /// What does not fit, in words.
    pub what: String,
}

/// A page of rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The rows, in the order asked for. May be empty although `next` is there: then much was looked at and nothing matched.
    pub rows: Vec<Row>,
    /// Where to go on; `None` when there was nothing more.
    pub next: Option<Cursor>,
    /// Segments whose bodies were read.
    pub segments_read: u64,
    /// Records that were looked at.
    pub rows_examined: u64,
    /// What was left out because it is damaged, whether it would have matched or not; the first thousand places, in the
    /// order of the walk. [`crate::Store::quarantine`] takes it out of the way.
    pub damaged: Vec<Damage>,
    /// How many damaged places there were.
    pub damages: u64,
}

/// The rows found so far: always all of those that come before the ceiling.
struct Gathering<'a> {
    query: &'a Query,
    limit: usize,
    newest_first: bool,
    /// Both ends included.
    bounds: (Wall, Wall),
    /// Place in the order → the record; the order is turned round for newest first.
    rows: BTreeMap<Place, Record>,
    bytes: usize,
    /// The first place that did not fit.
    ceiling: Option<Place>,
    page: Page,
}

/// A place in the order asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Up(Key),
    Down(std::cmp::Reverse<Key>),
}

impl Place {
    const fn key(&self) -> Key {
        match self {
            Self::Up(key) | Self::Down(std::cmp::Reverse(key)) => *key,
        }
    }
}

pub(crate) fn run(
    conn: &Connection,
    query: &Query,
    journals: impl IntoIterator<Item = JournalRow>,
) -> Result<Page, ReadError> {
    run_within(conn, query, journals, EXAMINED_MAX)
}

fn run_within(
    conn: &Connection,
    query: &Query,
    journals: impl IntoIterator<Item = JournalRow>,
    examined_max: u64,
) -> Result<Page, ReadError> {
    let wanted = |row: &JournalRow| {
        query.devices.as_ref().is_none_or(|some| some.contains(&row.journal.device))
            && query.lanes.as_ref().is_none_or(|some| some.contains(&row.journal.lane))
    };
    let mut gathering = Gathering::new(query);
    let Some(bounds) = gathering.narrowed() else { return Ok(gathering.page) };
    gathering.bounds = bounds;
    let mut sweep = Sweep::new(bounds, gathering.newest_first);
    for row in journals.into_iter().filter(wanted) {
        sweep.add(conn, row)?;
    }
    while let Some(edge) = sweep.edge() {
        if gathering.is_complete(edge) || gathering.gives_up(edge, examined_max) {
            break;
        }
        let step = sweep.next(conn).and_then(|found| match found {
            Some((row, source)) => gathering.read(conn, &row, &source),
            None => Ok(()),
        });
        gathering.note(step)?;
    }
    Ok(gathering.finish())
}

impl<'a> Gathering<'a> {
    fn new(query: &'a Query) -> Self {
        Self {
            query,
            limit: query.limit.clamp(1, QUERY_ROWS_MAX),
            newest_first: query.order == Order::NewestFirst,
            bounds: (Wall(i64::MIN), Wall(i64::MAX)),
            rows: BTreeMap::new(),
            bytes: 0,
            ceiling: None,
            page: Page {
                rows: Vec::new(),
                next: None,
                segments_read: 0,
                rows_examined: 0,
                damaged: Vec::new(),
                damages: 0,
            },
        }
    }

    /// The time range that is left to look at, both ends included; `None` when it is empty.
    fn narrowed(&self) -> Option<(Wall, Wall)> {
        let mut low = self.query.from.unwrap_or(Wall(i64::MIN));
        let mut high = match self.query.to {
            None => Wall(i64::MAX),
            Some(to) => Wall(to.0.checked_sub(1)?),
        };
        if let Some(Cursor(key)) = &self.query.cursor {
            if self.newest_first {
                high = high.min(key.wall);
            } else {
                low = low.max(key.wall);
            }
        }
        (low <= high).then_some((low, high))
    }

    const fn place(&self, key: Key) -> Place {
        if self.newest_first { Place::Down(std::cmp::Reverse(key)) } else { Place::Up(key) }
    }

    /// The first place that a record arriving at `edge` may have.
    const fn first_at(&self, edge: Wall) -> Place {
        self.place(if self.newest_first { Key::after(edge) } else { Key::before(edge) })
    }

    /// Whether nothing at or behind `edge` can still come before the ceiling.
    fn is_complete(&self, edge: Wall) -> bool {
        self.ceiling.is_some_and(|ceiling| ceiling <= self.first_at(edge))
    }

    /// Whether enough was looked at; everything before `edge` is then final, and the next page goes on from there.
    fn gives_up(&mut self, edge: Wall, examined_max: u64) -> bool {
        let place = self.first_at(edge);
        let moved = match &self.query.cursor {
            Some(Cursor(key)) => place > self.place(*key),
            None => true,
        };
        if self.page.rows_examined < examined_max || !moved {
            return false;
        }
        self.lower(place);
        self.page.next = Some(Cursor(place.key()));
        true
    }

    /// Nothing at or behind `ceiling` belongs to this page.
    fn lower(&mut self, ceiling: Place) {
        self.ceiling = Some(self.ceiling.map_or(ceiling, |old| old.min(ceiling)));
        for (_, record) in self.rows.split_off(&ceiling) {
            self.bytes = self.bytes.saturating_sub(record.weight());
        }
    }

    fn read(&mut self, conn: &Connection, row: &JournalRow, source: &Source) -> Result<(), Fault> {
        let checker = RecordChecker::new(&row.journal);
        match *source {
            Source::Segment(range, (earliest, latest)) => {
                // The walk knows only how far its class can reach; the segment itself may end before the page begins.
                if self.is_complete(if self.newest_first { latest } else { earliest }) {
                    return Ok(());
                }
                self.page.segments_read += 1;
                load::each(conn, row, range, |seq, record| {
                    self.take(&row.journal, seq, &record);
                    Ok(true)
                })
            }
            Source::Tail(range) => tail::scan(conn, row.id, range, false, |raw| {
                match tail::verify(&row.journal, &checker, &raw) {
                    Ok(found) => self.take(&row.journal, found.seq, &found.record),
                    damaged => self.note(damaged.map(drop))?,
                }
                Ok(true)
            })
            .map_err(|fault| fault.located(row.journal, range)),
        }
    }

    /// Keeps damage for the page to name; anything else goes on as an error.
    fn note(&mut self, step: Result<(), Fault>) -> Result<(), Fault> {
        let (journal, range, what) = match step {
            Err(Fault::Damaged { journal, range, what }) => (journal, range, what),
            other => return other,
        };
        // Reading it took its time: a store full of damage must not hold a connection for minutes either.
        self.page.rows_examined += range.count().min(SEGMENT_RECORDS_MAX as u64);
        self.page.damages += 1;
        if self.page.damaged.len() < QUERY_DAMAGES_MAX {
            self.page.damaged.push(Damage { journal, range, what });
        }
        Ok(())
    }

    fn take(&mut self, journal: &JournalId, seq: Seq, record: &Record) {
        self.page.rows_examined += 1;
        let place = self.place(Key { wall: record.wall, journal: *journal, seq });
        let behind_cursor = self.query.cursor.as_ref().is_none_or(|Cursor(key)| place > self.place(*key));
        let in_time = self.bounds.0 <= record.wall && record.wall <= self.bounds.1;
        if !in_time || !behind_cursor || self.ceiling.is_some_and(|ceiling| place >= ceiling) {
            return;
        }
        let kinds = &self.query.kinds;
        let topics = &self.query.topics;
        if !(kinds.is_empty() || kinds.contains(&record.kind))
            || !(topics.is_empty() || topics.iter().any(|filter| record.topic.matches(filter)))
        {
            return;
        }
        self.bytes += record.weight();
        // A payload shares the bytes of its whole segment; a row must not keep those alive.
        let own = Record { payload: Bytes::copy_from_slice(&record.payload), ..record.clone() };
        self.rows.insert(place, own);
        while self.rows.len() > self.limit || (self.bytes > QUERY_BYTES_MAX && self.rows.len() > 1) {
            let Some((last, _)) = self.rows.last_key_value() else { break };
            let last = *last;
            self.lower(last);
        }
    }

    fn finish(mut self) -> Page {
        let last = self.rows.last_key_value().map(|(place, _)| place.key());
        if self.page.next.is_none() && self.ceiling.is_some() {
            self.page.next = last.map(Cursor);
        }
        self.page.rows = self
            .rows
            .into_iter()
            .map(|(place, record)| {
                let Key { journal, seq, .. } = place.key();
                Row { journal, seq, record }
            })
            .collect();
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Author, Options, Store};
    use millrace_model::store::Change;
    use millrace_model::{Incarnation, Topic};

    #[test]
    fn a_page_that_has_looked_at_enough_goes_on_where_it_stopped() {
        let author =
            Author { device: DeviceId::from_bytes([1; 16]), incarnation_if_new: Incarnation::new(1) };
        let mut store = Store::in_memory(&Options::agent(author)).unwrap();
        for batch in 0..20 {
            let record = |n: i64| {
                let topic = Topic::new(if n % 100 == 0 { "rare" } else { "common" }).unwrap();
                // Every second batch stands still in time.
                let wall = if batch % 2 == 0 { batch * 1_000 } else { batch * 1_000 + n };
                Record::data(topic, Bytes::new(), Wall(wall), 1)
            };
            let records = (0..300).map(record).collect();
            store.commit(1, &[Change::Append { lane: Lane::Normal, records }]).unwrap();
        }
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let mut query = Query { topics: vec!["rare".into()], order, limit: 50, ..Query::default() };
            let (mut seqs, mut pages) = (Vec::new(), 0);
            loop {
                let page = run_within(&store.conn, &query, store.journals.values().cloned(), 700).unwrap();
                seqs.extend(page.rows.iter().map(|row| row.seq));
                pages += 1;
                query.cursor = page.next;
                if query.cursor.is_none() {
                    break;
                }
            }
            let mut expected: Vec<Seq> = (0..60).map(|n| n * 100 + 1).collect();
            if order == Order::NewestFirst {
                expected.reverse();
            }
            assert_eq!(seqs, expected);
            assert!(pages > 5, "{pages} pages");
        }
    }
}
