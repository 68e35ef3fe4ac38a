//! Sabotage: damage done to a store on purpose, below everything that the store knows of itself, as a failing disk does it.
//!
//! Promise: deterministic: what is damaged is picked by the caller, who draws from a seed. Whatever the store remembers of its journals stays
//! as it was: it must find out by itself.
//! Absent: in every program that is shipped. The feature `sabotage` is off by default, and only the simulated fleet turns it on.

use bytes::Bytes;
use millrace_model::hash::RecordChecker;
use millrace_model::{JournalId, RangeSet, Record, RecordCheck, Run, Seq, SeqRange, block, canon};
use rusqlite::Connection;

use crate::error::{CommitError, Fault, ReadError};
use crate::options::Options;
use crate::row::JournalRow;
use crate::schema::{signed, unsigned};
use crate::store::Store;
use crate::{codec, connection, segment, tail};

/// One way to damage a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harm {
    /// Neighbouring segments are gone, rows and bodies: at either end, in the middle, or all.
    LostSegments,
    /// Neighbouring tail rows are gone: at either end, in the middle, or all.
    LostRows,
    /// One bit of a body is another one.
    FlippedBody,
    /// One bit of a tail row's bytes is another one.
    FlippedRow,
    /// One bit of a node of a digest is another one. No record is damaged.
    FlippedDigest,
    /// Two segments have each other's bodies.
    SwappedBodies,
    /// A segment has a copy of another one's body.
    ReplacedBody,
}

impl Harm {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::LostSegments,
        Self::LostRows,
        Self::FlippedBody,
        Self::FlippedRow,
        Self::FlippedDigest,
        Self::SwappedBodies,
        Self::ReplacedBody,
    ];
}

/// The records of a run, as whoever gets it reads them; `None` when it is none.
#[must_use]
pub fn records_of(run: &Run) -> Option<Vec<Record>> {
    block::decode(&codec::expand(run.encoding, &run.body).ok()?).ok()
}

/// What was damaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Harmed {
    /// Which journals, and which of their records are not what they were; none when it was their digest.
    pub records: Vec<(JournalId, RangeSet)>,
}

/// Says which of so many things, at least one, it is to be.
pub type Pick<'a> = &'a mut dyn FnMut(usize) -> usize;

/// Where a segment's row stands.
#[derive(Clone, Copy)]
struct Sealed {
    journal: i64,
    first: Seq,
    count: u64,
    body: i64,
}

impl Sealed {
    fn range(&self) -> RangeSet {
        SeqRange::starting(self.first, self.count).map(RangeSet::from).unwrap_or_default()
    }
}

impl Store {
    /// Damages what is stored. `None`: there is nothing that could be damaged like this.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn harm(&mut self, harm: Harm, pick: Pick<'_>) -> Result<Option<Harmed>, ReadError> {
        self.healthy()?;
        let names: Vec<(i64, JournalId)> = self.journals.values().map(|row| (row.id, row.journal)).collect();
        Ok(do_harm(&self.conn, &names, harm, pick)?)
    }

    /// Forgets every floor, as if nothing had ever been let go: what is trimmed here may come again.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn forget_floors(&mut self) -> Result<(), CommitError> {
        let journals: Vec<JournalId> = self.journals.keys().copied().collect();
        self.transact(|work| {
            for journal in &journals {
                work.change(journal, |_, row| {
                    row.floor = 1;
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    /// The checks of the records here in `range` as their bytes would have it, whether or not they are what was stored.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn unverified_checks(
        &self,
        journal: &JournalId,
        range: SeqRange,
    ) -> Result<Vec<(Seq, RecordCheck)>, ReadError> {
        self.healthy()?;
        match self.journals.get(journal) {
            Some(row) => Ok(unverified(&self.conn, row, range)?),
            None => Ok(Vec::new()),
        }
    }
}

/// Damages an image of a store, as [`Store::image`] makes it.
///
/// # Errors
/// When it is none.
pub fn harm_image(image: &[u8], harm: Harm, pick: Pick<'_>) -> Result<(Vec<u8>, Option<Harmed>), ReadError> {
    let failed = |error: String| ReadError::Failed(error);
    let mut conn = connection::memory(&Options::hub()).map_err(|error| failed(error.to_string()))?;
    conn.deserialize_read_exact("main", image, image.len(), false).map_err(Fault::from)?;
    let rows = JournalRow::load_all(&conn, None)?;
    let names: Vec<(i64, JournalId)> = rows.iter().map(|row| (row.id, row.journal)).collect();
    let harmed = do_harm(&conn, &names, harm, pick)?;
    let mut image = conn.serialize("main").map_err(Fault::from)?.to_vec();
    // As in `Store::image`: an image has no write-ahead log.
    if let Some(versions) = image.get_mut(18..20) {
        versions.fill(1);
    }
    Ok((image, harmed))
}

fn do_harm(
    conn: &Connection,
    names: &[(i64, JournalId)],
    harm: Harm,
    pick: Pick<'_>,
) -> Result<Option<Harmed>, Fault> {
    let of = |journal: i64, ranges: RangeSet| {
        names.iter().find(|(id, _)| *id == journal).map(|(_, name)| (*name, ranges))
    };
    let told = |all: Vec<(i64, RangeSet)>| {
        let records = all.into_iter().filter_map(|(journal, ranges)| of(journal, ranges)).collect();
        Some(Harmed { records })
    };
    match harm {
        Harm::LostSegments => {
            let lost = stretch(segments(conn)?, |segment| segment.journal, pick);
            for segment in &lost {
                conn.execute("DELETE FROM body WHERE id = ?", [segment.body])?;
                let key = (segment.journal, signed(segment.first));
                conn.execute("DELETE FROM segment WHERE journal = ? AND first_seq = ?", key)?;
            }
            let ranges: RangeSet = lost.iter().flat_map(|segment| ranges(&segment.range())).collect();
            Ok(lost.first().and_then(|first| told(vec![(first.journal, ranges)])))
        }
        Harm::LostRows => {
            let lost = stretch(rows(conn)?, |(journal, _)| *journal, pick);
            for (journal, seq) in &lost {
                conn.execute("DELETE FROM tail WHERE journal = ? AND seq = ?", (journal, signed(*seq)))?;
            }
            let ranges: RangeSet = lost.iter().map(|(_, seq)| SeqRange::only(*seq)).collect();
            Ok(lost.first().and_then(|(journal, _)| told(vec![(*journal, ranges)])))
        }
        Harm::FlippedBody => {
            let Some(segment) = one(&segments(conn)?, pick) else { return Ok(None) };
            let flipped = flip(body(conn, segment)?, pick);
            conn.execute("UPDATE body SET bytes = ? WHERE id = ?", (flipped, segment.body))?;
            Ok(told(vec![(segment.journal, segment.range())]))
        }
        Harm::FlippedRow => {
            let Some((journal, seq)) = one(&rows(conn)?, pick) else { return Ok(None) };
            let key = (journal, signed(seq));
            let sql = "SELECT bytes FROM tail WHERE journal = ? AND seq = ?";
            let flipped = flip(conn.query_row(sql, key, |row| row.get(0))?, pick);
            let sql = "UPDATE tail SET bytes = ?3 WHERE journal = ?1 AND seq = ?2";
            conn.execute(sql, (journal, signed(seq), flipped))?;
            Ok(told(vec![(journal, SeqRange::only(seq).into())]))
        }
        Harm::FlippedDigest => flip_digest(conn, pick).map(|found| found.then(|| told(Vec::new())).flatten()),
        Harm::SwappedBodies => {
            let Some((a, b)) = two(&segments(conn)?, pick) else { return Ok(None) };
            let bodies = (body(conn, a)?, body(conn, b)?);
            conn.execute("UPDATE body SET bytes = ? WHERE id = ?", (bodies.1, a.body))?;
            conn.execute("UPDATE body SET bytes = ? WHERE id = ?", (bodies.0, b.body))?;
            Ok(told(vec![(a.journal, a.range()), (b.journal, b.range())]))
        }
        Harm::ReplacedBody => {
            let Some((a, b)) = two(&segments(conn)?, pick) else { return Ok(None) };
            conn.execute("UPDATE body SET bytes = ? WHERE id = ?", (body(conn, b)?, a.body))?;
            Ok(told(vec![(a.journal, a.range())]))
        }
    }
}

fn flip_digest(conn: &Connection, pick: Pick<'_>) -> Result<bool, Fault> {
    let mut nodes = conn.prepare("SELECT journal, last, level FROM digest ORDER BY journal, last, level")?;
    let found = nodes.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let found: Vec<(i64, i64, i64)> = found.collect::<Result<_, _>>()?;
    let Some(key) = one(&found, pick) else { return Ok(false) };
    let sql = "SELECT children FROM digest WHERE journal = ? AND last = ? AND level = ?";
    let flipped = flip(conn.query_row(sql, key, |row| row.get(0))?, pick);
    let sql = "UPDATE digest SET children = ?4 WHERE journal = ?1 AND last = ?2 AND level = ?3";
    conn.execute(sql, (key.0, key.1, key.2, flipped))?;
    Ok(true)
}

fn segments(conn: &Connection) -> Result<Vec<Sealed>, Fault> {
    let sql = "SELECT journal, first_seq, count, body FROM segment ORDER BY journal, first_seq";
    let mut statement = conn.prepare(sql)?;
    let found = statement.query_map([], |row| {
        let (first, count) = (unsigned(row.get(1)?), unsigned(row.get(2)?));
        Ok(Sealed { journal: row.get(0)?, first, count, body: row.get(3)? })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn rows(conn: &Connection) -> Result<Vec<(i64, Seq)>, Fault> {
    let mut statement = conn.prepare("SELECT journal, seq FROM tail ORDER BY journal, seq")?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn body(conn: &Connection, segment: Sealed) -> Result<Vec<u8>, Fault> {
    Ok(conn.query_row("SELECT bytes FROM body WHERE id = ?", [segment.body], |row| row.get(0))?)
}

fn ranges(set: &RangeSet) -> Vec<SeqRange> {
    set.iter().collect()
}

fn one<T: Copy>(all: &[T], pick: Pick<'_>) -> Option<T> {
    if all.is_empty() { None } else { all.get(pick(all.len())).copied() }
}

/// Two different ones.
fn two<T: Copy>(all: &[T], pick: Pick<'_>) -> Option<(T, T)> {
    if all.len() < 2 {
        return None;
    }
    let first = pick(all.len());
    let second = (first + 1 + pick(all.len() - 1)) % all.len();
    Some((*all.get(first)?, *all.get(second)?))
}

/// Some neighbours of one journal: the first ones, the last ones, all, or any.
fn stretch<T: Copy>(all: Vec<T>, journal: impl Fn(&T) -> i64, pick: Pick<'_>) -> Vec<T> {
    let Some(chosen) = one(&all.iter().map(&journal).collect::<Vec<_>>(), pick) else { return Vec::new() };
    let of: Vec<T> = all.into_iter().filter(|one| journal(one) == chosen).collect();
    let count = 1 + pick(of.len().min(8));
    let from = match pick(4) {
        0 => 0,
        1 => of.len() - count,
        2 => return of,
        _ => pick(of.len() - count + 1),
    };
    of.into_iter().skip(from).take(count).collect()
}

fn flip(mut bytes: Vec<u8>, pick: Pick<'_>) -> Vec<u8> {
    if !bytes.is_empty() {
        let bit = pick(bytes.len() * 8);
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }
    bytes
}

/// What the bytes say that are there, unverified; what cannot be decoded says nothing.
fn unverified(
    conn: &Connection,
    row: &JournalRow,
    range: SeqRange,
) -> Result<Vec<(Seq, RecordCheck)>, Fault> {
    let checker = RecordChecker::new(&row.journal);
    let mut found = Vec::new();
    let mut from = range.first();
    while let Ok(Some(segment)) = segment::next(conn, row, from) {
        if segment.range.first() > range.last() {
            break;
        }
        from = segment.range.last().saturating_add(1);
        let body = segment.body(conn)?.unwrap_or_else(Bytes::new);
        let records =
            codec::expand(segment.encoding, &body).ok().and_then(|block| block::decode(&block).ok());
        let numbered = (segment.range.first()..).zip(records.unwrap_or_default());
        let here = numbered.filter(|(seq, _)| range.contains(*seq));
        found.extend(here.map(|(seq, record)| (seq, checker.check(seq, &canon::encode(&record)))));
    }
    tail::scan(conn, row.id, range, false, |raw| {
        found.push((raw.seq, checker.check(raw.seq, &raw.bytes)));
        Ok(true)
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Author;
    use millrace_model::store::Change;
    use millrace_model::{DeviceId, Incarnation, Lane, Record, Topic, Wall};

    /// Three segments and three tail rows.
    fn store() -> Store {
        let author =
            Author { device: DeviceId::from_bytes([7; 16]), incarnation_if_new: Incarnation::new(1) };
        let mut store = Store::in_memory(&Options { burst_records: 8, ..Options::agent(author) }).unwrap();
        for count in [20_u64, 9, 30, 3] {
            let record = |n: u64| {
                let payload = Bytes::from(format!("reading {n} of {count}"));
                Record::data(Topic::new("a/b").unwrap(), payload, Wall(0), n)
            };
            let records = (0..count).map(record).collect();
            store.commit(1, &[Change::Append { lane: Lane::Normal, records }]).unwrap();
        }
        store
    }

    /// What a whole scrub finds: records, and digests.
    fn found(store: &Store) -> (RangeSet, usize) {
        let found = store.scrub(crate::ScrubCursor::default(), crate::SCRUB_BYTES_MAX).unwrap();
        assert_eq!(found.next, None);
        (found.damaged.iter().map(|damage| damage.range).collect(), found.digests.len())
    }

    #[test]
    fn a_scrub_finds_every_harm_and_nothing_else() {
        for harm in Harm::ALL {
            for turn in 0..40_usize {
                let mut store = store();
                let mut drawn = fastrand::Rng::with_seed(turn as u64);
                let mut pick = |below: usize| drawn.usize(..below);
                let image = store.image().unwrap();
                let harmed = store.harm(harm, &mut pick).unwrap();
                drawn = fastrand::Rng::with_seed(turn as u64);
                let (_, again) = harm_image(&image, harm, &mut |below| drawn.usize(..below)).unwrap();
                assert_eq!(harmed, again, "an image is damaged alike");
                let records: RangeSet =
                    harmed.unwrap().records.iter().flat_map(|(_, set)| ranges(set)).collect();
                let (damaged, digests) = found(&store);
                assert_eq!(damaged, records, "{harm:?}, {turn}");
                assert!(digests > 0 || !records.is_empty(), "{harm:?}, {turn}");
            }
        }
    }

    #[test]
    fn rows_that_are_gone_side_by_side_are_one_piece_of_damage() {
        let mut store = store();
        let state = store.journals().into_iter().find(|state| state.journal.lane == Lane::Normal).unwrap();
        let rows = SeqRange::new(state.tail_first, state.head).unwrap();
        store.harm(Harm::LostRows, &mut |below| below.saturating_sub(1).min(2)).unwrap().unwrap();
        let whole = SeqRange::new(1, state.head).unwrap();
        let Err(ReadError::Damaged { range, .. }) = store.load(&state.journal, whole, 1 << 20) else {
            panic!("nothing is damaged")
        };
        assert_eq!(range, rows);
        let portion = crate::Portion { bytes_max: 1 << 20, runs_max: 9 };
        let Err(ReadError::Damaged { range, .. }) = store.newest(&state.journal, &whole.into(), portion)
        else {
            panic!("nothing is damaged")
        };
        assert_eq!(range, rows);
    }

    #[test]
    fn nothing_is_harmed_where_nothing_is() {
        let mut store = Store::in_memory(&Options::hub()).unwrap();
        for harm in Harm::ALL {
            assert_eq!(store.harm(harm, &mut |_| 0).unwrap(), None);
        }
    }
}
