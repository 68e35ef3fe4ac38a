//! An ack at level quorum says that a majority of replicas has flushed the records, in lives of their stores that are full: of the
//! replicas, and of the replicas to be while the partition moves. Lives before those that are committed count for nothing. What was damaged
//! since counts: with one disk damaged at a time the others still have it ([`super::loss`]). What retention let go somewhere was kept for as
//! long as it was to be.

use millrace_hub_engine::Placed;
use millrace_model::coverage::covered;
use millrace_model::{JournalId, NodeId, Partition, RangeSet};

use super::{Verdict, Violation};
use crate::cluster::truth::Truth;

/// A hub that knows `placed` tells an agent that `ranges` are on a quorum.
///
/// # Errors
/// When they are not.
pub fn told(truth: &Truth, placed: &Placed, journal: &JournalId, ranges: &RangeSet) -> Verdict {
    let partition = Partition::of(&journal.device);
    let Some(assignment) = placed.placement.of(partition) else { return Ok(()) };
    let comes = |node: &NodeId| assignment.joining.contains(node) && !assignment.replicas.contains(node);
    let flushed = |node: &NodeId| match placed.hubs.get(node) {
        Some(standing) if standing.full || comes(node) => truth.flushed_by(*node, standing.store, journal),
        _ => RangeSet::new(),
    };
    for replicas in [&assignment.replicas, &assignment.target] {
        let sets: Vec<RangeSet> = replicas.iter().map(flushed).collect();
        let safe = covered(&sets.iter().collect::<Vec<_>>(), replicas.len() / 2 + 1);
        let unsafe_ones = ranges.difference(&safe).difference(&truth.aged(journal));
        if !replicas.is_empty() && !unsafe_ones.is_empty() {
            let what = format!(
                "hub {} tells that {journal} {unsafe_ones} is on a quorum of {replicas:?}, and it is not",
                placed.me
            );
            return Err(Violation::new("quorum", what));
        }
    }
    Ok(())
}
