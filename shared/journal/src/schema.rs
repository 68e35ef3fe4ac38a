//! The tables of each version, and how numbers and sets are written into them.
//!
//! Promise: what stands here is frozen; later versions are made from it by [`crate::migrations`].
//! Absent: what the columns mean together (DESIGN.md beside this crate).

use millrace_model::{RangeSet, SeqRange};

/// Stands in every Millrace journal: `Mill` in ASCII.
pub(crate) const APPLICATION_ID: u32 = 0x4d69_6c6c;

/// The tables of version 1.
///
/// Bodies stand apart from the segments that name them, so that the index of a journal is read without them.
/// `tail` has no second index: one would cost several times what the rows do.
pub(crate) const VERSION_1: &str = "
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    id           INTEGER PRIMARY KEY,
    device       BLOB    NOT NULL,
    incarnation  INTEGER NOT NULL,
    lane         INTEGER NOT NULL,
    own          INTEGER NOT NULL,
    retired      INTEGER NOT NULL,
    floor        INTEGER NOT NULL,
    head         INTEGER NOT NULL,
    head_check   INTEGER NOT NULL,
    next_ordinal INTEGER NOT NULL,
    tail_first   INTEGER NOT NULL,
    ingested     INTEGER NOT NULL,
    acked        INTEGER NOT NULL,
    evicted      INTEGER NOT NULL,
    rejected     INTEGER NOT NULL,
    tail_rows    INTEGER NOT NULL,
    tail_bytes   INTEGER NOT NULL,
    tail_min     INTEGER NOT NULL,
    tail_max     INTEGER NOT NULL,
    sealed_bytes INTEGER NOT NULL,
    classes      INTEGER NOT NULL,
    present_set  BLOB    NOT NULL,
    acked_set    BLOB    NOT NULL,
    declared_set BLOB    NOT NULL,
    checksum     INTEGER NOT NULL,
    UNIQUE (device, incarnation, lane)
) STRICT;

CREATE TABLE tail (
    journal INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    bytes   BLOB    NOT NULL,
    PRIMARY KEY (journal, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE segment (
    journal   INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    ordinal   INTEGER NOT NULL,
    class     INTEGER NOT NULL,
    min_wall  INTEGER NOT NULL,
    max_wall  INTEGER NOT NULL,
    encoding  INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    body      INTEGER NOT NULL,
    hash      BLOB    NOT NULL,
    checksum  INTEGER NOT NULL,
    PRIMARY KEY (journal, first_seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX segment_time ON segment (journal, class, min_wall, max_wall);

CREATE TABLE body (
    id    INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE gap (
    journal   INTEGER NOT NULL,
    reason    INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    from_wall INTEGER NOT NULL,
    to_wall   INTEGER NOT NULL,
    PRIMARY KEY (journal, reason, first_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE remembered (
    name     TEXT    NOT NULL PRIMARY KEY,
    value    BLOB    NOT NULL,
    checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE quarantine (
    id        INTEGER PRIMARY KEY,
    journal   INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    what      TEXT    NOT NULL,
    name      BLOB    NOT NULL,
    bytes     BLOB    NOT NULL
) STRICT;
";

/// What version 2 adds: the digest of each journal. Who fills it: [`crate::digest::rebuild_all`].
///
/// Nodes stand in the order of the last ordinal that they span, so that those over the newest segments stand together, and what the
/// floor has passed is one range. Which one of its level a node is follows from that number.
pub(crate) const VERSION_2: &str = "
CREATE TABLE digest (
    journal  INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    level    INTEGER NOT NULL,
    children BLOB    NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (journal, last, level)
) STRICT, WITHOUT ROWID;

ALTER TABLE journal ADD COLUMN root_level INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal ADD COLUMN root BLOB;
ALTER TABLE journal ADD COLUMN tail_sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal ADD COLUMN first_ordinal INTEGER NOT NULL DEFAULT 0;
";

/// Sequence numbers, ordinals and counts as SQLite keeps them. Nothing larger than 2⁶³ − 1 is let in.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Back again. A negative number cannot be written, and a checksum stands beside every one that is read.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A set as bytes: distances and lengths, LEB128 each, as on the wire.
pub(crate) fn set_to_bytes(set: &RangeSet) -> Vec<u8> {
    let (mut bytes, mut end) = (Vec::with_capacity(set.range_count() * 4), 0);
    for range in set.iter() {
        for mut value in [range.first() - end, range.last() - range.first()] {
            while value >= 0x80 {
                bytes.push((value & 0x7f) as u8 | 0x80);
                value >>= 7;
            }
            bytes.push((value & 0x7f) as u8);
        }
        end = range.last();
    }
    bytes
}

/// The set with these bytes; `None` when they are none.
pub(crate) fn set_from_bytes(bytes: &[u8]) -> Option<RangeSet> {
    let mut numbers = Vec::new();
    let (mut value, mut shift) = (0_u64, 0_u32);
    for byte in bytes {
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            numbers.push(value);
            (value, shift) = (0, 0);
        }
    }
    let mut end = 0_u64;
    let mut set = RangeSet::new();
    if shift != 0 || numbers.len() % 2 != 0 {
        return None;
    }
    for pair in numbers.chunks_exact(2) {
        let [distance, more] = pair else { return None };
        let first = end.checked_add(*distance)?;
        end = first.checked_add(*more)?;
        set.insert(SeqRange::new(first, end)?);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    proptest! {
        #[test]
        fn every_set_reads_back(ranges in proptest::collection::vec((any::<u64>(), 0_u64..9_000), 0..40)) {
            let set: RangeSet =
                ranges.into_iter().filter_map(|(first, more)| SeqRange::starting(first, more + 1)).collect();
            assert_eq!(set_from_bytes(&set_to_bytes(&set)), Some(set));
        }

        #[test]
        fn any_bytes_are_a_set_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = set_from_bytes(&bytes);
        }
    }
}
