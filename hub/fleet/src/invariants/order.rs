//! P5: per journal in order, holes only where declared.

use std::collections::BTreeMap;

use millrace_model::JournalId;

use super::{Verdict, Violation};
use crate::model::Model;
use crate::publication::Attempt;

/// The last first attempt of each sensor in each journal.
pub type LastNumbers = BTreeMap<(JournalId, u16, u8), u32>;

/// An agent appended the record of an attempt that it had not seen before.
///
/// # Errors
/// When a later one of the same sensor already stands in that journal.
pub fn appended(last: &mut LastNumbers, journal: JournalId, attempt: Attempt) -> Verdict {
    if attempt.round > 0 {
        return Ok(());
    }
    let before = last.insert((journal, attempt.site, attempt.sensor), attempt.number);
    match before {
        Some(before) if before >= attempt.number => {
            Err(Violation::new("order", format!("{attempt} was appended after number {before}")))
        }
        _ => Ok(()),
    }
}

/// Everything has converged: journals that nobody broke have no holes but declared ones.
///
/// # Errors
/// When one has.
pub fn dense(model: &Model) -> Verdict {
    for (journal, held) in model.hub.iter().filter(|(journal, _)| !model.is_broken(journal)) {
        let mut expected = 1;
        for seq in held.keys() {
            if let Some(hole) = (expected..*seq).find(|hole| !model.is_declared(journal, *hole)) {
                return Err(Violation::new("order", format!("{journal} {hole} is missing without a word")));
            }
            expected = seq + 1;
        }
    }
    Ok(())
}
