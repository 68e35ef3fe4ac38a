//! P8: what retention let go does not come back: floors only grow, and nothing stands below one.

use millrace_model::store::JournalState;
use millrace_model::{JournalId, NodeId, RangeSet, Seq};

use super::{Verdict, Violation};
use crate::cluster::truth::Truth;

/// A hub stored records: none of them stood below what its disk had let go.
///
/// # Errors
/// When one did.
pub fn stored(truth: &Truth, node: NodeId, journal: &JournalId, ranges: &RangeSet) -> Verdict {
    let floor = floor_of(truth, node, journal);
    match ranges.first().filter(|first| *first < floor) {
        Some(first) => {
            back(node, journal, &format!("{first} came back, and it kept what begins with {floor}"))
        }
        None => Ok(()),
    }
}

/// What a hub's store says of its journals.
///
/// # Errors
/// When a floor went down, or anything stands below one.
pub fn stands(truth: &Truth, node: NodeId, states: &[JournalState]) -> Verdict {
    for state in states {
        let floor = floor_of(truth, node, &state.journal);
        if state.floor < floor {
            return back(
                node,
                &state.journal,
                &format!("the floor went from {floor} down to {}", state.floor),
            );
        }
        if let Some(first) = state.present.first().filter(|first| *first < state.floor) {
            return back(node, &state.journal, &format!("{first} stands below the floor {}", state.floor));
        }
    }
    Ok(())
}

fn floor_of(truth: &Truth, node: NodeId, journal: &JournalId) -> Seq {
    truth.floors.get(&node).and_then(|floors| floors.get(journal)).copied().unwrap_or(1)
}

fn back(node: NodeId, journal: &JournalId, what: &str) -> Verdict {
    Err(Violation::new("trimmed", format!("hub {node}, {journal}: {what}")))
}
