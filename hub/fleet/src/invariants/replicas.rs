//! At the end every replica of a partition holds every reading of it that nobody let go, the very same.

use std::collections::BTreeMap;

use millrace_hub_engine::placement::Placement;
use millrace_model::{JournalId, NodeId, Partition, RecordCheck, Seq};

use super::{Verdict, Violation};
use crate::cluster::truth::Truth;

/// What stands in a hub's store.
pub type Contents = BTreeMap<(JournalId, Seq), RecordCheck>;

/// Everything has converged; `contents` were read from the stores.
///
/// # Errors
/// When a reading that its author did not declare as lost is missing on a replica, or is another one there.
pub fn alike(truth: &Truth, placement: &Placement, contents: &BTreeMap<NodeId, Contents>) -> Verdict {
    for ((journal, seq), check) in &truth.written {
        if truth.may_lack(journal, *seq) || truth.let_go.get(journal).is_some_and(|floor| seq < floor) {
            continue;
        }
        let Some(assignment) = placement.of(Partition::of(&journal.device)) else { continue };
        for node in &assignment.replicas {
            let lost = truth.damaged.get(node).and_then(|damaged| damaged.get(journal));
            if lost.is_some_and(|lost| lost.contains(*seq)) {
                continue;
            }
            let found = contents.get(node).and_then(|held| held.get(&(*journal, *seq)));
            let counted = truth.setbacks.counted.get(&(*journal, *seq));
            let same = match (found, counted) {
                // What a device counted as acknowledged is there as it was then.
                (Some(found), Some(counted)) if !truth.setbacks.is_forked(journal) => found == counted,
                (Some(found), _) => found == check || truth.is_written(journal, *seq, *found),
                (None, _) => false,
            };
            if !same {
                let what = if found.is_some() { "holds another" } else { "lacks" };
                return Err(Violation::new("replicas", format!("hub {node} {what} {journal} {seq}")));
            }
        }
    }
    for (node, held) in contents {
        if let Some(((journal, seq), _)) =
            held.iter().find(|((journal, seq), check)| !truth.is_written(journal, *seq, **check))
        {
            return Err(Violation::new(
                "replicas",
                format!("hub {node} holds {journal} {seq}, which nobody wrote"),
            ));
        }
    }
    Ok(())
}
