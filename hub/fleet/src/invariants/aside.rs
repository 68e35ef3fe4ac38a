//! P8: only what is damaged is moved aside: nothing sound is taken away because something near it is not.

use millrace_model::{JournalId, NodeId, RangeSet};

use super::{Verdict, Violation};
use crate::cluster::truth::Truth;

/// A device moved records aside.
///
/// # Errors
/// When any of them was sound.
pub fn moved_by_device(truth: &Truth, place: usize, journal: &JournalId, ranges: &RangeSet) -> Verdict {
    let sound = ranges.difference(&truth.unsound(journal));
    if sound.is_empty() {
        return Ok(());
    }
    Err(Violation::new("aside", format!("agent {place} moved {journal} {sound} aside, which was sound")))
}

/// A hub moved records aside.
///
/// # Errors
/// When any of them was sound.
pub fn moved(truth: &Truth, node: NodeId, journal: &JournalId, ranges: &RangeSet) -> Verdict {
    let sound = truth.sound(node, journal).intersection(ranges);
    if sound.is_empty() {
        return Ok(());
    }
    Err(Violation::new("aside", format!("hub {node} moved {journal} {sound} aside, which was sound")))
}
