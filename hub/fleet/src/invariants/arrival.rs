//! P2 and P4: after healing, every accepted attempt is at the hub exactly once, unless its loss was declared, or it was only
//! on a disk that was wiped or rolled back.

use std::collections::BTreeMap;

use super::{Verdict, Violation};
use crate::model::{Model, Told};
use crate::publication::Attempt;

/// Everything has converged; `at_hub` counts the attempts that a query finds at the hub.
///
/// # Errors
/// When one is missing or doubled.
pub fn exactly_once(model: &Model, at_hub: &BTreeMap<Attempt, u32>) -> Verdict {
    for (attempt, found) in at_hub {
        let allowed = 1 + model.copies.get(attempt).copied().unwrap_or(0);
        if *found > allowed {
            let places = model.places.get(attempt);
            let what = format!("{attempt} is at the hub {found} times, stored at {places:?}");
            return Err(Violation::new("arrival", what));
        }
    }
    for (attempt, _) in model.told.iter().filter(|(_, told)| **told == Told::Stored) {
        let excused = model.excused.contains_key(attempt);
        if at_hub.contains_key(attempt) || excused {
            continue;
        }
        let places = model.places.get(attempt);
        let declared =
            places.is_some_and(|places| places.iter().any(|(journal, seq)| model.is_declared(journal, *seq)));
        if !declared {
            let what = format!("{attempt} was acknowledged and is not at the hub; stored at {places:?}");
            return Err(Violation::new("arrival", what));
        }
    }
    Ok(())
}
