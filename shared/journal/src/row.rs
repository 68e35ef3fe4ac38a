//! What the store knows about one journal: kept in memory, written with every commit that changes it.
//!
//! Promise: a checksum over all of it stands in the same row, so that no flipped bit moves a floor, a count or a set.
//! Memory grows with the number of holes, not with the number of records.

use millrace_merkle::LEVELS_MAX;
use millrace_model::digest::{Root, Summary};
use millrace_model::hash::RecordChecker;
use millrace_model::store::JournalState;
use millrace_model::{
    DeviceId, Incarnation, JournalId, Lane, Ledger, NodeHash, RangeSet, RecordCheck, Seq, SeqRange, Wall,
};
use rusqlite::{Connection, Row};

use crate::digest::Pending;
use crate::error::Fault;
use crate::schema::{set_from_bytes, set_to_bytes, signed, unsigned};

const KEY: &str = "id, device, incarnation, lane";
const STATE: &str = "own, retired, floor, head, head_check, next_ordinal, tail_first, ingested, acked, evicted, \
     rejected, tail_rows, tail_bytes, tail_min, tail_max, sealed_bytes, classes, present_set, acked_set, declared_set, \
     checksum, root_level, root, tail_sum, first_ordinal";

/// The row's own number, and what stands in it if that verifies.
pub(crate) type Numbered = (i64, Result<JournalRow, Fault>);

/// One journal.
#[derive(Clone, Debug)]
pub(crate) struct JournalRow {
    pub(crate) id: i64,
    pub(crate) journal: JournalId,
    /// Whether this store appends (or appended) to it.
    pub(crate) own: bool,
    pub(crate) retired: bool,
    pub(crate) floor: Seq,
    pub(crate) head: Seq,
    /// Check of the record at `head`, whether or not that is still here.
    pub(crate) head_check: RecordCheck,
    pub(crate) next_ordinal: u64,
    pub(crate) tail_first: Seq,
    pub(crate) ingested: u64,
    pub(crate) acked_count: u64,
    pub(crate) evicted: u64,
    pub(crate) rejected: u64,
    pub(crate) tail_rows: u64,
    pub(crate) tail_bytes: u64,
    /// Earliest and latest arrival among the tail rows; may be wider than they are, never narrower.
    pub(crate) tail_walls: Option<(Wall, Wall)>,
    pub(crate) sealed_bytes: u64,
    /// Which span classes its segments ever had, one bit each.
    pub(crate) classes: i64,
    pub(crate) present: RangeSet,
    pub(crate) acked: RangeSet,
    pub(crate) declared: RangeSet,
    /// The top of the digest's tree.
    pub(crate) root: Root,
    /// Sum of the checks of all tail rows, modulo 2⁶⁴.
    pub(crate) tail_sum: u64,
    /// Segments with smaller ordinals lie below the floor, for certain.
    pub(crate) first_ordinal: u64,
    /// What this commit changes in the digest; nothing between two commits.
    pub(crate) pending: Pending,
}

impl JournalRow {
    /// A journal without records.
    pub(crate) fn new(id: i64, journal: JournalId, own: bool) -> Self {
        Self {
            id,
            journal,
            own,
            retired: false,
            floor: 1,
            head: 0,
            head_check: RecordCheck(0),
            next_ordinal: 0,
            tail_first: 1,
            ingested: 0,
            acked_count: 0,
            evicted: 0,
            rejected: 0,
            tail_rows: 0,
            tail_bytes: 0,
            tail_walls: None,
            sealed_bytes: 0,
            classes: 0,
            present: RangeSet::new(),
            acked: RangeSet::new(),
            declared: RangeSet::new(),
            root: Root::default(),
            tail_sum: 0,
            first_ordinal: 0,
            pending: Pending::default(),
        }
    }

    /// Whether it came back from the hubs: an older life of this store's author wrote it, on a disk that is gone.
    pub(crate) const fn is_restored(&self) -> bool {
        self.retired && !self.own
    }

    /// How many records are here and not known to be at the hubs.
    pub(crate) fn pending(&self) -> u64 {
        if self.own { self.unacked(&self.present) } else { 0 }
    }

    /// How many of `set` are not known to be at the hubs.
    pub(crate) fn unacked(&self, set: &RangeSet) -> u64 {
        set.count().saturating_sub(set.intersection(&self.acked).count())
    }

    /// How many of `range` are here and not known to be at the hubs.
    pub(crate) fn unacked_in(&self, range: SeqRange) -> u64 {
        self.unacked(&self.present.within(range))
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger {
            ingested: self.ingested,
            acked: self.acked_count,
            pending: self.pending(),
            evicted: self.evicted,
            rejected: self.rejected,
        }
    }

    pub(crate) const fn summary(&self) -> Summary {
        Summary { root: self.root, tail: self.tail_sum }
    }

    pub(crate) fn state(&self) -> JournalState {
        JournalState {
            journal: self.journal,
            retired: self.retired,
            restored: self.is_restored(),
            floor: self.floor,
            head: self.head,
            head_check: self.present.contains(self.head).then_some(self.head_check),
            present: self.present.clone(),
            acked: self.acked.clone(),
            declared: self.declared.clone(),
            tail_first: self.tail_first,
            next_ordinal: self.next_ordinal,
            first_ordinal: self.first_ordinal,
            summary: self.summary(),
            ledger: self.ledger(),
            stored_bytes: self.sealed_bytes.saturating_add(self.tail_bytes),
        }
    }

    /// Counts `set` as known to be at the hubs; returns how many that are news.
    pub(crate) fn acknowledge(&mut self, set: &RangeSet) -> u64 {
        let news = self.unacked(set);
        self.acked.extend(set);
        self.acked_count = self.acked_count.saturating_add(news);
        news
    }

    /// Counts what of `set` is here as waiting for the hubs again.
    pub(crate) fn reclaim(&mut self, set: &RangeSet) {
        let back = self.present.intersection(&self.acked).intersection(set);
        self.acked.subtract(&back);
        self.acked_count = self.acked_count.saturating_sub(back.count());
    }

    /// Widens the time range of the tail.
    pub(crate) fn widen_tail(&mut self, wall: Wall) {
        let (low, high) = self.tail_walls.unwrap_or((wall, wall));
        self.tail_walls = Some((low.min(wall), high.max(wall)));
    }

    /// Takes `rows` tail rows of `bytes` bytes, whose checks have this `sum`, off the count.
    pub(crate) fn shrink_tail(&mut self, rows: u64, bytes: u64, sum: u64) {
        self.tail_rows = self.tail_rows.saturating_sub(rows);
        self.tail_bytes = self.tail_bytes.saturating_sub(bytes);
        self.tail_sum = self.tail_sum.wrapping_sub(sum);
        if self.tail_rows == 0 {
            (self.tail_bytes, self.tail_walls, self.tail_sum) = (0, None, 0);
        }
    }

    fn numbers(&self) -> [i64; 18] {
        let (low, high) = self.tail_walls.unwrap_or((Wall(0), Wall(-1)));
        [
            i64::from(self.own),
            i64::from(self.retired),
            signed(self.floor),
            signed(self.head),
            self.head_check.0.cast_signed(),
            signed(self.next_ordinal),
            signed(self.tail_first),
            signed(self.ingested),
            signed(self.acked_count),
            signed(self.evicted),
            signed(self.rejected),
            signed(self.tail_rows),
            signed(self.tail_bytes),
            low.0,
            high.0,
            signed(self.sealed_bytes),
            self.classes,
            self.id,
        ]
    }

    /// What version 1 keeps of a journal, as bytes.
    fn basis(&self, sets: [&[u8]; 3]) -> Vec<u8> {
        let mut bytes = b"journal".to_vec();
        self.numbers().iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        for set in sets {
            bytes.extend_from_slice(&(set.len() as u64).to_be_bytes());
            bytes.extend_from_slice(set);
        }
        bytes
    }

    fn checksum_of(&self, bytes: &[u8]) -> i64 {
        // Records begin at 1, so no record's check is computed under 0.
        RecordChecker::new(&self.journal).check(0, bytes).0.cast_signed()
    }

    fn checksum(&self, sets: [&[u8]; 3]) -> i64 {
        let mut bytes = self.basis(sets);
        bytes.push(self.root.level);
        bytes.push(u8::from(self.root.hash.is_some()));
        self.root.hash.iter().for_each(|hash| bytes.extend_from_slice(&hash.0));
        for number in [self.tail_sum, self.first_ordinal] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        self.checksum_of(&bytes)
    }

    /// Writes it, inside the caller's transaction.
    pub(crate) fn save(&self, conn: &Connection) -> Result<(), Fault> {
        let sets = [&self.present, &self.acked, &self.declared].map(set_to_bytes);
        let [present, acked, declared] = &sets;
        let checksum = self.checksum([present, acked, declared]);
        let marks =
            "?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27,?28,?29";
        let update = format!(
            "UPDATE journal SET ({STATE}) = ({marks}) WHERE id = ?1 AND ?2 = device AND ?3 = incarnation AND ?4 = lane"
        );
        let insert = format!("INSERT INTO journal ({KEY}, {STATE}) VALUES (?1,?2,?3,?4,{marks})");
        for sql in [update, insert] {
            let mut statement = conn.prepare_cached(&sql)?;
            statement.raw_bind_parameter(1, self.id)?;
            statement.raw_bind_parameter(2, &self.journal.device.as_bytes()[..])?;
            statement.raw_bind_parameter(3, self.journal.incarnation.bits().cast_signed())?;
            statement.raw_bind_parameter(4, self.journal.lane.code())?;
            for (place, number) in (5_usize..).zip(self.numbers().iter().take(17)) {
                statement.raw_bind_parameter(place, *number)?;
            }
            for (place, set) in (22_usize..).zip(&sets) {
                statement.raw_bind_parameter(place, set)?;
            }
            statement.raw_bind_parameter(25, checksum)?;
            statement.raw_bind_parameter(26, self.root.level)?;
            statement.raw_bind_parameter(27, self.root.hash.map(|hash| hash.0))?;
            statement.raw_bind_parameter(28, self.tail_sum.cast_signed())?;
            statement.raw_bind_parameter(29, signed(self.first_ordinal))?;
            if statement.raw_execute()? > 0 {
                break;
            }
        }
        Ok(())
    }

    /// All journals, checked; with `device`, only that device's.
    pub(crate) fn load_all(conn: &Connection, device: Option<&DeviceId>) -> Result<Vec<Self>, Fault> {
        let filter = if device.is_some() { "WHERE device = ?1" } else { "WHERE ?1 IS NULL" };
        let mut statement =
            conn.prepare_cached(&format!("SELECT {KEY}, {STATE} FROM journal {filter} ORDER BY id"))?;
        let mut rows = statement.query([device.map(DeviceId::as_bytes)])?;
        let mut journals = Vec::new();
        while let Some(row) = rows.next()? {
            journals.push(Self::read(row, Self::checksum)?);
        }
        Ok(journals)
    }

    /// All journals of a store that had version 1 and has the columns of later versions, checked as version 1 did.
    pub(crate) fn load_all_of_version_1(conn: &Connection) -> Result<Vec<Self>, Fault> {
        let mut statement = conn.prepare(&format!("SELECT {KEY}, {STATE} FROM journal ORDER BY id"))?;
        let mut rows = statement.query([])?;
        let mut journals = Vec::new();
        while let Some(row) = rows.next()? {
            journals.push(Self::read(row, |found, sets| found.checksum_of(&found.basis(sets)))?);
        }
        Ok(journals)
    }

    /// The journal in the first row behind `id`, checked, and where that row stands.
    pub(crate) fn load_after(conn: &Connection, id: i64) -> Result<Option<Numbered>, Fault> {
        let sql = format!("SELECT {KEY}, {STATE} FROM journal WHERE id > ? ORDER BY id LIMIT 1");
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some((row.get(0)?, Self::read(row, Self::checksum))))
    }

    /// Whose the row with this id says that it is, whether or not it verifies.
    pub(crate) fn name_of(conn: &Connection, id: i64) -> Option<JournalId> {
        let sql = format!("SELECT {KEY} FROM journal WHERE id = ?");
        conn.prepare_cached(&sql).ok()?.query_row([id], |row| Ok(Self::key(row))).ok()?.ok()
    }

    /// One journal, checked.
    pub(crate) fn load(conn: &Connection, journal: &JournalId) -> Result<Option<Self>, Fault> {
        let sql =
            format!("SELECT {KEY}, {STATE} FROM journal WHERE device = ? AND incarnation = ? AND lane = ?");
        let mut statement = conn.prepare_cached(&sql)?;
        let key = (journal.device.as_bytes(), journal.incarnation.bits().cast_signed(), journal.lane.code());
        let mut rows = statement.query(key)?;
        rows.next()?.map(|row| Self::read(row, Self::checksum)).transpose()
    }

    fn key(row: &Row<'_>) -> Result<JournalId, Fault> {
        let lane = u8::try_from(row.get::<_, i64>(3)?).ok().and_then(Lane::from_code);
        Ok(JournalId {
            device: DeviceId::from_bytes(row.get(1)?),
            incarnation: Incarnation::new(row.get::<_, i64>(2)?.cast_unsigned()),
            lane: lane.ok_or_else(|| Fault::Invalid("no such lane".into()))?,
        })
    }

    /// Reads a row against the checksum that `expected` reckons.
    fn read(row: &Row<'_>, expected: impl Fn(&Self, [&[u8]; 3]) -> i64) -> Result<Self, Fault> {
        let number = |place: usize| row.get::<_, i64>(place);
        let count = |place: usize| row.get::<_, i64>(place).map(unsigned);
        let damaged = |what: &str| {
            Fault::Invalid(format!("row {} of the table of journals: {what}", row.get(0).unwrap_or(0_i64)))
        };
        let journal = Self::key(row).map_err(|fault| match fault {
            Fault::Invalid(what) => damaged(&what),
            other => other,
        })?;
        let sets: [Vec<u8>; 3] = [row.get(21)?, row.get(22)?, row.get(23)?];
        let set = |bytes: &[u8]| set_from_bytes(bytes).ok_or_else(|| damaged("a set is malformed"));
        let [present, acked, declared] = &sets;
        let (low, high) = (number(17)?, number(18)?);
        let level = u8::try_from(number(25)?).ok().filter(|level| *level <= LEVELS_MAX);
        let root = Root {
            level: level.ok_or_else(|| damaged("no such level"))?,
            hash: row.get::<_, Option<_>>(26)?.map(NodeHash),
        };
        let found = Self {
            id: number(0)?,
            journal,
            own: number(4)? != 0,
            retired: number(5)? != 0,
            floor: count(6)?,
            head: count(7)?,
            head_check: RecordCheck(number(8)?.cast_unsigned()),
            next_ordinal: count(9)?,
            tail_first: count(10)?,
            ingested: count(11)?,
            acked_count: count(12)?,
            evicted: count(13)?,
            rejected: count(14)?,
            tail_rows: count(15)?,
            tail_bytes: count(16)?,
            tail_walls: (low <= high).then_some((Wall(low), Wall(high))),
            sealed_bytes: count(19)?,
            classes: number(20)?,
            present: set(present)?,
            acked: set(acked)?,
            declared: set(declared)?,
            root,
            tail_sum: number(27)?.cast_unsigned(),
            first_ordinal: count(28)?,
            pending: Pending::default(),
        };
        if expected(&found, [present, acked, declared]) != number(24)? {
            return Err(damaged("its checksum does not fit"));
        }
        Ok(found)
    }
}
