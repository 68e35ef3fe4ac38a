//! With one disk lost or damaged at a time, every record that an agent was told to be on a quorum is still on some disk, sound, or was kept
//! for as long as it was to be.

use millrace_model::{JournalId, RangeSet, SeqRange};

use super::{Verdict, Violation};
use crate::cluster::truth::Truth;

/// A disk was lost, or everything has come to rest.
///
/// # Errors
/// When a record is on no disk any more.
pub fn none(truth: &Truth) -> Verdict {
    for (journal, acked) in &truth.acked {
        let mut here = RangeSet::new();
        for disk in truth.disks.values() {
            here.extend(disk.get(journal).unwrap_or(&RangeSet::new()));
        }
        let lost = acked.difference(&here).difference(&truth.aged(journal));
        if !lost.is_empty() {
            return Err(Violation::new(
                "loss",
                format!("{journal} {lost} was safe, and is on no disk any more"),
            ));
        }
    }
    Ok(())
}

/// An agent declares that these records were lost with the hubs.
///
/// # Errors
/// When a hub has any of them.
pub fn declared(truth: &Truth, journal: &JournalId, range: SeqRange) -> Verdict {
    for (node, disk) in &truth.disks {
        let here = disk.get(journal).map(|here| here.within(range)).unwrap_or_default();
        if !here.is_empty() {
            return Err(Violation::new(
                "loss",
                format!("{journal} {here} is declared as lost, and hub {node} has it"),
            ));
        }
    }
    Ok(())
}
