//! P3: an agent writes down an ack, and trims, only what the hub really holds, the very same.

use millrace_model::{JournalId, RangeSet, RecordCheck, Seq};

use super::{Verdict, Violation};
use crate::model::{Mirror, Model};

/// An agent's store counts `ranges` as acknowledged from now on.
///
/// # Errors
/// When the hub holds something else there, or nothing.
pub fn acknowledged(model: &Model, mirror: &Mirror, journal: &JournalId, ranges: &RangeSet) -> Verdict {
    let Some(held) = mirror.get(journal) else { return Ok(()) };
    for (seq, entry) in ranges.iter().flat_map(|range| held.range(range.first()..=range.last())) {
        if !model.at_hub(journal, *seq, entry.check) && !model.is_declared(journal, *seq) {
            return Err(lost(journal, *seq, "counted as acknowledged", model));
        }
    }
    Ok(())
}

/// Records left an agent's store; at most `evicted` of them may be unknown to the hub.
///
/// # Errors
/// When more are.
pub fn gone(model: &Model, journal: &JournalId, gone: &[(Seq, RecordCheck)], evicted: u64) -> Verdict {
    let unknown: Vec<Seq> = gone
        .iter()
        .filter(|(seq, check)| !model.at_hub(journal, *seq, *check) && !model.is_declared(journal, *seq))
        .map(|(seq, _)| *seq)
        .collect();
    match unknown.first() {
        Some(first) if unknown.len() as u64 > evicted => Err(lost(journal, *first, "trimmed", model)),
        _ => Ok(()),
    }
}

fn lost(journal: &JournalId, seq: Seq, done: &str, model: &Model) -> Violation {
    let there = model.hub.get(journal).is_some_and(|held| held.contains_key(&seq));
    let hub = if there { "another record there" } else { "nothing there" };
    Violation::new("trim", format!("{journal} {seq} was {done}, and the hub holds {hub}"))
}

/// An agent's store counts `ranges` as acknowledged, and the hubs told it that `told` are on a quorum.
///
/// # Errors
/// When it counts what nobody told it.
pub fn told(journal: &JournalId, ranges: &RangeSet, told: &RangeSet) -> Verdict {
    let unheard = ranges.difference(told);
    if unheard.is_empty() {
        return Ok(());
    }
    Err(Violation::new(
        "trim",
        format!("{journal} {unheard} was counted as acknowledged, and no hub said so"),
    ))
}
