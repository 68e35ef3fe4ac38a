//! P2: what an agent evicts or refuses is declared at the hub. A declaration may say too much: one that was evicted
//! before its ack came is made again. It never says too little.

use millrace_hub_engine::placement::Placement;
use millrace_model::{NodeId, Partition, RangeSet};

use super::agreement::Copy;
use super::{Verdict, Violation};
use crate::cluster::truth::Truth;
use crate::model::Model;

/// Everything has converged.
///
/// # Errors
/// When a loss was not declared.
pub fn all_declared(model: &Model) -> Verdict {
    for (journal, evicted) in model.evicted.iter().filter(|(journal, _)| !model.is_broken(journal)) {
        let nothing = millrace_model::RangeSet::new();
        let silent = evicted.difference(model.declared.get(journal).unwrap_or(&nothing));
        if !silent.is_empty() {
            let what = format!("{journal} evicted {silent:?} and the hub never heard of it");
            return Err(Violation::new("declaration", what));
        }
    }
    for (journal, rejected) in model.rejected.iter().filter(|(journal, _)| !model.is_broken(journal)) {
        let declared = model.declared_rejected.get(journal).copied().unwrap_or(0);
        if declared < *rejected {
            let what = format!("{journal} refused {rejected} publications, the hub heard of {declared}");
            return Err(Violation::new("declaration", what));
        }
    }
    Ok(())
}

/// Everything has converged among several hubs: what damage took from a device before it had heard that it is safe is at the hubs, or they
/// know that it is lost.
///
/// # Errors
/// When a loss was not declared.
pub fn of_damage(truth: &Truth, placement: &Placement, copies: &[(NodeId, &Copy)]) -> Verdict {
    for (journal, slipped) in truth.devices.values().flat_map(|device| &device.slipped) {
        let Some(assignment) = placement.of(Partition::of(&journal.device)) else { continue };
        let mut known = truth.aged(journal);
        for (_, copy) in copies.iter().filter(|(node, _)| assignment.replicas.contains(node)) {
            if let Some(state) = copy.states.get(journal) {
                [&state.present, &state.declared].into_iter().for_each(|ranges| known.extend(ranges));
            }
        }
        let silent: RangeSet = slipped.difference(&known);
        if !silent.is_empty() {
            let what = format!("damage took {journal} {silent} from its device, and no hub heard of it");
            return Err(Violation::new("declaration", what));
        }
    }
    Ok(())
}
