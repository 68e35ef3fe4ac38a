//! The statement of a receipt: two holders have the very same records. What both sign stands here, byte for byte.
//!
//! ```text
//! statement := version(=1) verdict(=1, equal) holder holder left_out:u64 subject        all numbers big-endian
//! holder    := kind(0 device, 1 hub) id:16 at:i64 (microseconds since 1970, by its own clock)
//! subject   := 0 count:u16 (journal:25 floor:u64 head:u64 count:u64 rooted(0|1) root:16 tail:u64)*   of the first holder, a device
//!            | 1 partitions:32 root:16 (journals:u64 records:u64)*2                                    what two hubs both keep
//! ```
//!
//! Promise: one statement has one form; two statements that differ in anything have different bytes.
//! Absent: signatures and the file (`millrace-link`), and how it was found that records are equal (the daemons).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::unhex;
use crate::limits::RECEIPT_JOURNALS_MAX;
use crate::{DeviceId, HubId, JournalId, NodeHash, Seq, Wall};

/// The version of the statement's bytes.
pub const STATEMENT_VERSION: u8 = 1;

/// What two holders say together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// What was found.
    pub verdict: Verdict,
    /// Who says it: the one that asked first.
    pub holders: [Holder; 2],
    /// Of what.
    pub about: Subject,
    /// Journals, or partitions, that the one that asked has too and of which nothing is said.
    pub left_out: u64,
}

/// What was found. Only equality is worth two signatures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Both have the very same records.
    Equal,
}

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Who it is, as its certificate names it.
    pub who: Party,
    /// When it said so, by its own clock.
    pub at_us: Wall,
}

/// What can hold records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// A device.
    Device(DeviceId),
    /// A hub.
    Hub(HubId),
}

impl fmt::Display for Party {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id) => write!(out, "device {id}"),
            Self::Hub(id) => write!(out, "hub {id}"),
        }
    }
}

/// What the statement speaks of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Journals of the device that asked, ascending.
    Journals(Vec<Standing>),
    /// All journals of some partitions, at two hubs.
    Partitions(Shared),
}

/// What both have of one journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Which journal.
    pub journal: JournalId,
    /// The higher of both floors: what lies below it is not compared record by record.
    pub floor: Seq,
    /// The last record that is spoken of.
    pub head: Seq,
    /// Records from floor to head that are at both.
    pub count: u64,
    /// The root over all sealed segments, also those that were let go; `None`: none was ever sealed.
    pub root: Option<NodeHash>,
    /// Sum of the checks of the rows from floor to head that are in no segment yet, modulo 2⁶⁴.
    #[serde(with = "hex_u64")]
    pub tail: u64,
}

/// What two hubs both keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// One bit for each partition, the lowest bit of the first byte is the first.
    #[serde(with = "hex_bytes")]
    pub partitions: [u8; 32],
    /// The root over all journals of these partitions, at both.
    pub root: NodeHash,
    /// What each of the two has of them above its own floors, in the order of the holders.
    pub counts: [Count; 2],
}

/// How much it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Journals with at least one record.
    pub journals: u64,
    /// Records.
    pub records: u64,
}

/// Why a statement cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It speaks of nothing.
    #[error("it speaks of no journal and no partition")]
    Empty,
    /// A device can have no more journals.
    #[error("it speaks of more than {RECEIPT_JOURNALS_MAX} journals")]
    TooMany,
    /// Journals twice, or in disorder.
    #[error("its journals are not in order")]
    Order,
    /// The holders do not fit what it speaks of.
    #[error("those who say it cannot say this of each other")]
    Holders,
    /// A journal of somebody else.
    #[error("it speaks of a journal that is not the device's")]
    Foreign,
    /// More records than numbers, or a floor past the head.
    #[error("a journal in it has more records than numbers")]
    Count,
}

impl Statement {
    /// Whether it can be one: in form, not in truth.
    ///
    /// # Errors
    /// What is impossible in it.
    pub fn check(&self) -> Result<(), StatementError> {
        match (&self.about, self.holders.map(|holder| holder.who)) {
            (Subject::Journals(journals), [Party::Device(device), Party::Hub(_)]) => {
                of_device(&device, journals)
            }
            (Subject::Partitions(shared), [Party::Hub(one), Party::Hub(other)]) if one != other => {
                if shared.partitions == [0; 32] { Err(StatementError::Empty) } else { Ok(()) }
            }
            _ => Err(StatementError::Holders),
        }
    }

    /// The bytes that both sign, behind their context. At most [`RECEIPT_JOURNALS_MAX`] journals have a place.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { verdict: Verdict::Equal, holders, about, left_out } = self;
        let mut out = vec![STATEMENT_VERSION, 1];
        for Holder { who, at_us } in holders {
            let (kind, id) = match who {
                Party::Device(id) => (0, id.as_bytes()),
                Party::Hub(id) => (1, id.as_bytes()),
            };
            out.push(kind);
            out.extend(id);
            out.extend(at_us.0.to_be_bytes());
        }
        out.extend(left_out.to_be_bytes());
        match about {
            Subject::Journals(journals) => {
                out.push(0);
                out.extend(u16::try_from(journals.len()).unwrap_or(u16::MAX).to_be_bytes());
                journals.iter().for_each(|standing| standing.put(&mut out));
            }
            Subject::Partitions(Shared { partitions, root, counts }) => {
                out.push(1);
                out.extend(partitions);
                out.extend(root.0);
                for Count { journals, records } in counts {
                    out.extend(journals.to_be_bytes());
                    out.extend(records.to_be_bytes());
                }
            }
        }
        out
    }

    /// Records that it speaks of; between two hubs those of the one that has fewer of them still.
    #[must_use]
    pub fn records(&self) -> u64 {
        match &self.about {
            Subject::Journals(journals) => {
                journals.iter().fold(0, |sum, standing| sum.saturating_add(standing.count))
            }
            Subject::Partitions(shared) => {
                let [one, other] = shared.counts;
                one.records.min(other.records)
            }
        }
    }
}

impl Standing {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.journal.to_bytes());
        for number in [self.floor, self.head, self.count] {
            out.extend(number.to_be_bytes());
        }
        out.push(u8::from(self.root.is_some()));
        out.extend(self.root.map_or([0; _], |root| root.0));
        out.extend(self.tail.to_be_bytes());
    }
}

fn of_device(device: &DeviceId, journals: &[Standing]) -> Result<(), StatementError> {
    if journals.is_empty() {
        return Err(StatementError::Empty);
    }
    if journals.len() > RECEIPT_JOURNALS_MAX {
        return Err(StatementError::TooMany);
    }
    if !journals.is_sorted_by(|one, next| one.journal < next.journal) {
        return Err(StatementError::Order);
    }
    if journals.iter().any(|standing| standing.journal.device != *device) {
        return Err(StatementError::Foreign);
    }
    let possible = |standing: &Standing| {
        let numbers = standing.head.checked_sub(standing.floor).map_or(0, |more| more.saturating_add(1));
        standing.count <= numbers && standing.floor.saturating_sub(1) <= standing.head
    };
    if journals.iter().all(possible) { Ok(()) } else { Err(StatementError::Count) }
}

/// A number that JSON readers would round, as text.
mod hex_u64 {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let bytes = super::unhex(&String::deserialize(from)?);
        bytes
            .map(u64::from_be_bytes)
            .ok_or_else(|| serde::de::Error::custom("expected 16 hexadecimal digits"))
    }
}

/// Bytes as text.
mod hex_bytes {
    use std::fmt::Write;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(64);
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        super::unhex(&String::deserialize(from)?)
            .ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, Lane};

    const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);
    const HUB: HubId = HubId::from_bytes([2; 16]);

    fn standing(lane: Lane) -> Standing {
        let journal = JournalId { device: DEVICE, incarnation: Incarnation::new(0xabc), lane };
        Standing { journal, floor: 3, head: 9, count: 7, root: Some(NodeHash([4; 16])), tail: u64::MAX - 1 }
    }

    fn statement() -> Statement {
        let holder = |who, at| Holder { who, at_us: Wall(at) };
        Statement {
            verdict: Verdict::Equal,
            holders: [
                holder(Party::Device(DEVICE), 1_790_000_000_000_000),
                holder(Party::Hub(HUB), 1_790_000_000_000_007),
            ],
            about: Subject::Journals(vec![standing(Lane::Urgent), standing(Lane::Normal)]),
            left_out: 1,
        }
    }

    fn between_hubs() -> Statement {
        let mut partitions = [0; 32];
        partitions[0] = 5;
        let shared = Shared {
            partitions,
            root: NodeHash([6; 16]),
            counts: [Count { journals: 2, records: 1_000 }, Count { journals: 2, records: 900 }],
        };
        let hub = |byte| Holder { who: Party::Hub(HubId::from_bytes([byte; 16])), at_us: Wall(5) };
        Statement { holders: [hub(2), hub(3)], about: Subject::Partitions(shared), ..statement() }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What was signed once must read the same for ever.
    #[test]
    fn the_bytes_of_version_1_stay_what_they_are() {
        let golden = format!("{}\n{}\n", hex(&statement().to_bytes()), hex(&between_hubs().to_bytes()));
        if std::env::var_os("MILLRACE_REWRITE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/statement-v1.txt");
            std::fs::write(path, &golden).unwrap();
            return;
        }
        assert_eq!(golden, include_str!("../tests/golden/statement-v1.txt"));
    }

    #[test]
    fn a_statement_reads_back_from_json() {
        for statement in [statement(), between_hubs()] {
            assert_eq!(statement.check(), Ok(()));
            let json = serde_json::to_string(&statement).unwrap();
            assert_eq!(serde_json::from_str::<Statement>(&json).unwrap(), statement);
            let more = json.replacen('{', r#"{"and":"more","#, 1);
            assert!(serde_json::from_str::<Statement>(&more).is_err(), "nothing can be added");
        }
        assert_eq!((statement().records(), between_hubs().records()), (14, 900));
    }

    #[test]
    fn what_cannot_be_is_no_statement() {
        let with = |change: fn(&mut Vec<Standing>)| {
            let mut journals = vec![standing(Lane::Urgent), standing(Lane::Normal)];
            change(&mut journals);
            Statement { about: Subject::Journals(journals), ..statement() }.check()
        };
        assert_eq!(with(Vec::clear), Err(StatementError::Empty));
        assert_eq!(with(|all| all.reverse()), Err(StatementError::Order));
        assert_eq!(with(|all| all.truncate(1)), Ok(()));
        assert_eq!(
            with(|all| *all = vec![standing(Lane::Urgent); RECEIPT_JOURNALS_MAX + 1]),
            Err(StatementError::TooMany)
        );
        assert_eq!(
            with(|all| all.iter_mut().for_each(|one| one.journal.device = DeviceId::from_bytes([9; 16]))),
            Err(StatementError::Foreign)
        );
        assert_eq!(with(|all| all.iter_mut().for_each(|one| one.count = 8)), Err(StatementError::Count));
        assert_eq!(with(|all| all.iter_mut().for_each(|one| one.floor = 11)), Err(StatementError::Count));
        let swapped = Statement { holders: between_hubs().holders, ..statement() };
        assert_eq!(swapped.check(), Err(StatementError::Holders));
        let mut alone = between_hubs();
        alone.holders[1] = alone.holders[0];
        assert_eq!(alone.check(), Err(StatementError::Holders));
    }
}
