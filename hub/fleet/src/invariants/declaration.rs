//! P2: what an agent evicts or refuses is declared at the hub. A declaration may say too much: one that was evicted
//! before its ack came is made again. It never says too little.

use super::{Verdict, Violation};
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
