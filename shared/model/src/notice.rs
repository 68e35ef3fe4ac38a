//! The payloads of records that Millrace itself writes: JSON, because people and other systems read them.
//!
//! They live under topics that begin with `$millrace/`, where no sensor may publish.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Flags, Incarnation, Kind, Lane, Record, Seq, Topic, Wall};

/// The first level of Millrace's own topics.
pub const TOPIC_ROOT: &str = "$millrace";

/// A process began to write here. Its nonce makes two clones differ from their first record on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// The operating system's boot id, if it has one.
    pub boot: String,
    /// 64 random bits of this process, in hexadecimal.
    pub nonce: String,
    /// What is known of the wall clock: `synchronised` or `unknown`.
    pub clock: String,
    /// Name and version of the writing program.
    pub software: String,
    /// The incarnation before this one, when this one was begun because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Why this incarnation was begun: `new`, `rolled-back`, `forked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why records are missing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// Given up, oldest first, because the disk budget was full.
    DropOldest,
    /// Refused on arrival because the disk budget was full.
    DropNewest,
    /// Thinned to one in n on arrival because the disk budget ran low.
    Thin,
    /// Payload over its limit.
    Oversize,
    /// A topic over its limit, malformed, or one that only Millrace may use.
    Topic,
    /// Found damaged on disk, with no intact copy anywhere.
    Damaged,
    /// Acknowledged once and not kept any more, when the hubs that had it were lost and made anew.
    HubsRenewed,
}

impl GapReason {
    /// Its name in tables and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
            Self::Thin => "thin",
            Self::Oversize => "oversize",
            Self::Topic => "topic",
            Self::Damaged => "damaged",
            Self::HubsRenewed => "hubs-renewed",
        }
    }
}

/// Most records without a number that count as lost in one journal: what JSON says exactly, and far from any overflow.
pub const UNNUMBERED_MAX: u64 = 1 << 53;

/// A declared loss. Loss is never silent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// The incarnation whose journal has the gap.
    pub incarnation: Incarnation,
    /// The lane that lost records.
    pub lane: Lane,
    /// First and last sequence number of records that were stored and given up; absent when the records
    /// never had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(Seq, Seq)>,
    /// Nobody knows how many records after this number are lost: what held them was itself damaged. `count` is 0 then,
    /// there is no range, and what a hub holds beyond this number is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Seq>,
    /// How many records were lost, as far as that is known.
    pub count: u64,
    /// Why.
    pub reason: GapReason,
    /// Arrival of the first lost record, µs.
    pub from: Wall,
    /// Arrival of the last lost record, µs.
    pub to: Wall,
}

/// A record of `kind` with `notice` as its payload.
fn record<T: Serialize>(kind: Kind, name: &str, notice: &T, wall: Wall, mono: u64) -> Option<Record> {
    let topic = Topic::new(&format!("{TOPIC_ROOT}/{name}")).ok()?;
    let payload = Bytes::from(serde_json::to_vec(notice).ok()?);
    Some(Record { kind, flags: Flags::default(), topic, payload, wall, mono, source: None })
}

impl Open {
    /// The record that says so. `None` cannot happen for well-formed text and is left to the caller to refuse.
    #[must_use]
    pub fn to_record(&self, wall: Wall, mono: u64) -> Option<Record> {
        record(Kind::OPEN, "open", self, wall, mono)
    }
}

impl Gap {
    /// The record that declares it.
    #[must_use]
    pub fn to_record(&self, wall: Wall, mono: u64) -> Option<Record> {
        record(Kind::GAP, "gap", self, wall, mono)
    }

    /// How many records it declares that never had a number: rejected before they were stored. At most
    /// [`UNNUMBERED_MAX`], whatever a device says.
    #[must_use]
    pub fn unnumbered(&self) -> u64 {
        if self.range.is_some() { 0 } else { self.count.min(UNNUMBERED_MAX) }
    }

    /// The gap that `record` declares, if it is a gap record and well formed.
    #[must_use]
    pub fn from_record(record: &Record) -> Option<Self> {
        (record.kind == Kind::GAP).then(|| serde_json::from_slice(&record.payload).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_reads_back_from_its_record() {
        let gap = Gap {
            incarnation: Incarnation::new(9),
            lane: Lane::Bulk,
            range: Some((5, 9)),
            after: None,
            count: 5,
            reason: GapReason::DropOldest,
            from: Wall(1),
            to: Wall(2),
        };
        let record = gap.to_record(Wall(3), 4).unwrap();
        assert_eq!(record.topic.as_str(), "$millrace/gap");
        assert_eq!(Gap::from_record(&record), Some(gap.clone()));
        let unknown = Gap { range: None, after: Some(9), count: 0, ..gap };
        assert_eq!(Gap::from_record(&unknown.to_record(Wall(3), 4).unwrap()), Some(unknown));
        assert_eq!(Gap::from_record(&Record { kind: Kind::DATA, ..record }), None);
    }
}
