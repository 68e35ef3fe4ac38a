//! P3: the hub says that it holds a record only when the record is flushed.

use millrace_model::{JournalId, RangeSet};

use super::{Verdict, Violation};
use crate::model::Model;

/// The hub says that `ranges` are safe; `or_declared` when it may also say so of declared losses.
///
/// # Errors
/// When one is not on its disk.
pub fn says(model: &Model, journal: &JournalId, ranges: &RangeSet, or_declared: bool) -> Verdict {
    let held = model.hub.get(journal);
    for seq in ranges.iter().flat_map(|range| range.first()..=range.last()) {
        let here = held.is_some_and(|held| held.contains_key(&seq));
        let declared = or_declared && model.is_declared(journal, seq);
        if !(here || declared) {
            let what = format!("the hub says that it holds {journal} {seq}, and it is not on its disk");
            return Err(Violation::new("hub_ack", what));
        }
    }
    Ok(())
}
