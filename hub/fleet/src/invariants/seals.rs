//! A segment is sealed once, by its author, and is the same at every holder.

use std::collections::BTreeSet;

use millrace_model::store::SegmentInfo;

use super::{Verdict, Violation};
use crate::model::Model;

/// Everything has converged.
///
/// # Errors
/// When the hub has a segment that no author named, or lacks one that an agent still has.
pub fn same(model: &Model, hub: &[SegmentInfo], agents: &[SegmentInfo]) -> Verdict {
    let mut here = BTreeSet::new();
    for segment in hub {
        let names = model.sealed.get(&(segment.journal, segment.name.ordinal));
        if !names.is_some_and(|names| names.contains(&segment.name)) {
            let what = format!("the hub has {} {:?}, which no author sealed", segment.journal, segment.name);
            return Err(Violation::new("seals", what));
        }
        here.insert((segment.journal, segment.name));
    }
    let unbroken = agents.iter().filter(|segment| !model.is_broken(&segment.journal));
    for segment in unbroken {
        if !here.contains(&(segment.journal, segment.name)) {
            let what = format!("{} {:?} is still a tail at the hub", segment.journal, segment.name);
            return Err(Violation::new("seals", what));
        }
    }
    Ok(())
}
