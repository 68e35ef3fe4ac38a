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

/// A device got records back: none of them stood below what it had let go.
///
/// # Errors
/// When one did.
pub fn device_stored(truth: &Truth, place: usize, journal: &JournalId, ranges: &RangeSet) -> Verdict {
    let floor = truth.devices.get(&journal.device).map_or(1, |device| device.floor(journal));
    match ranges.first().filter(|first| *first < floor) {
        Some(first) => {
            let what =
                format!("agent {place}, {journal}: {first} came back, and it let all before {floor} go");
            Err(Violation::new("trimmed", what))
        }
        None => Ok(()),
    }
}

/// What a device's store says of its journals.
///
/// # Errors
/// When a floor went down, or anything stands below one.
pub fn device_stands(truth: &Truth, place: usize, states: &[JournalState]) -> Verdict {
    for state in states {
        let floor = truth.devices.get(&state.journal.device).map_or(1, |device| device.floor(&state.journal));
        let below = state.present.first().filter(|first| *first < state.floor);
        if state.floor < floor || below.is_some() {
            let what = format!(
                "agent {place}, {}: the floor is {}, it was {floor}, and below it stands {below:?}",
                state.journal, state.floor
            );
            return Err(Violation::new("trimmed", what));
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
