//! Repair moves what differs and nothing else. A hub asks only for records that are not sound on its disk; what it asks for is never more than the
//! segment that is damaged, for a damaged segment is moved aside whole. And a hub reads for another one only what that one has not told it
//! that it has.
//!
//! One thing is moved twice as ever: what an agent brought here since the process began counts as being elsewhere only when it was compared
//! there (the hub's `replication`), so it may be sent to a hub that has it.

use std::collections::BTreeMap;

use millrace_model::{JournalId, NodeId, RangeSet};

use super::{Verdict, Violation};
use crate::cluster::truth::Truth;

/// What a hub told another one that it has, on the connection that stands.
pub type Told = BTreeMap<JournalId, RangeSet>;

/// A hub asks another one, or the device, for records that it says it lost.
///
/// # Errors
/// When its disk has any of them.
pub fn asks(truth: &Truth, node: NodeId, journal: &JournalId, ranges: &RangeSet) -> Verdict {
    let here = truth.sound(node, journal).intersection(ranges);
    if here.is_empty() {
        return Ok(());
    }
    Err(Violation::new("thrift", format!("hub {node} asks for {journal} {here}, which is sound on its disk")))
}

/// A device asks a hub for records that it says it lost; `sound` is what is sound on its disk.
///
/// # Errors
/// When its disk has any of them.
pub fn fetches(place: usize, journal: &JournalId, ranges: &RangeSet, sound: &RangeSet) -> Verdict {
    let here = sound.intersection(ranges);
    if here.is_empty() {
        return Ok(());
    }
    let what = format!("agent {place} asks for {journal} {here}, which is sound on its disk");
    Err(Violation::new("thrift", what))
}

/// A hub reads records for another one, which has told it what it has. `brought` is what agents brought here.
///
/// # Errors
/// When the other one has told that it has any of them, and it has.
pub fn sends(
    truth: &Truth,
    to: NodeId,
    journal: &JournalId,
    ranges: &RangeSet,
    (told, brought): (&Told, &Told),
) -> Verdict {
    let none = RangeSet::new();
    let known = told.get(journal).unwrap_or(&none).intersection(ranges);
    let known = known.difference(brought.get(journal).unwrap_or(&none));
    let known = known.intersection(&truth.sound(to, journal));
    if known.is_empty() {
        return Ok(());
    }
    let what = format!("{journal} {known} is read for hub {to}, which has said that it has it");
    Err(Violation::new("thrift", what))
}
