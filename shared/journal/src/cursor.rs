//! Where a page of a query ended, as opaque text.
//!
//! Promise: it names a place in the order of records, not a row of a table, so records that arrive meanwhile neither shift nor
//! repeat anything. Absent: what was asked; a cursor is used with the same query that returned it.
//!
//! ```text
//! text := "1" ("." part)*
//! ```

use std::fmt;
use std::str::FromStr;

use millrace_model::{DeviceId, Incarnation, JournalId, Lane, Seq, Wall};
use serde::{Deserialize, Serialize};

use crate::error::ReadError;

/// Of a text that is no cursor, what the error shows.
const REFUSED_CHARS_MAX: usize = 120;

/// The place of a record in the order of queries: arrival, then journal, then number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) wall: Wall,
    pub(crate) journal: JournalId,
    pub(crate) seq: Seq,
}

impl Key {
    /// Before every record that arrived at `wall`.
    pub(crate) const fn before(wall: Wall) -> Self {
        let journal = JournalId {
            device: DeviceId::from_bytes([0; 16]),
            incarnation: Incarnation::new(0),
            lane: Lane::Urgent,
        };
        Self { wall, journal, seq: 0 }
    }

    /// After every record that arrived at `wall`.
    pub(crate) const fn after(wall: Wall) -> Self {
        let journal = JournalId {
            device: DeviceId::from_bytes([0xff; 16]),
            incarnation: Incarnation::new(u64::MAX),
            lane: Lane::Bulk,
        };
        Self { wall, journal, seq: Seq::MAX }
    }
}

/// Where the next page begins. Ordered as records are, so that pages of several stores can be put together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cursor(pub(crate) Key);

impl Cursor {
    /// The place of one record: a page that went no further ends here.
    #[must_use]
    pub const fn at(wall: Wall, journal: JournalId, seq: Seq) -> Self {
        Self(Key { wall, journal, seq })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { wall, journal, seq } = &self.0;
        let lane = journal.lane.code();
        write!(
            out,
            "1.{:x}.{}.{}.{lane}.{seq:x}",
            wall.0.cast_unsigned(),
            journal.device,
            journal.incarnation
        )
    }
}

impl FromStr for Cursor {
    type Err = ReadError;

    fn from_str(text: &str) -> Result<Self, ReadError> {
        let key = |parts: &mut Parts<'_>| -> Option<Key> {
            let wall = Wall(u64::from_str_radix(parts.next()?, 16).ok()?.cast_signed());
            let device = parts.next()?.parse().ok()?;
            let incarnation = parts.next()?.parse().ok()?;
            let lane = Lane::from_code(parts.next()?.parse().ok()?)?;
            let seq = Seq::from_str_radix(parts.next()?, 16).ok()?;
            Some(Key { wall, journal: JournalId { device, incarnation, lane }, seq })
        };
        parsed(text, key).map(Self)
    }
}

/// The parts of a cursor's text behind its version.
pub(crate) type Parts<'a> = std::str::Split<'a, char>;

/// The place that this text names, when `place` takes all of its parts.
pub(crate) fn parsed<T>(text: &str, place: impl FnOnce(&mut Parts<'_>) -> Option<T>) -> Result<T, ReadError> {
    let mut parts = text.split('.');
    let version = parts.next();
    let found = place(&mut parts).filter(|_| version == Some("1") && parts.next().is_none());
    found.ok_or_else(|| ReadError::Cursor(text.chars().take(REFUSED_CHARS_MAX).collect()))
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for Cursor {
    type Error = ReadError;

    fn try_from(text: String) -> Result<Self, ReadError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_prints() {
        for key in
            [Key::before(Wall(-5)), Key::after(Wall(i64::MAX)), Key { seq: 77, ..Key::before(Wall(9)) }]
        {
            let text = Cursor(key).to_string();
            assert_eq!(text.parse(), Ok(Cursor(key)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_cursor() {
        for text in ["", "1", "2.0.0.0.0.0", "1.zz.00000000000000000000000000000000.0000000000000000.0.1"] {
            assert!(matches!(text.parse::<Cursor>(), Err(ReadError::Cursor(_))), "{text}");
        }
        let more = format!("{}.7", Cursor(Key::before(Wall(1))));
        assert!(more.parse::<Cursor>().is_err());
    }
}
