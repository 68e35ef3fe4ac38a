//! P8: nothing is served that differs from what its author wrote: to people, to agents, to other hubs.

use std::collections::BTreeMap;

use millrace_model::{JournalId, RecordCheck, Seq};

use super::{Verdict, Violation};

/// Somebody is given records, here named by the checks of what is handed over.
///
/// # Errors
/// When one is not what was written.
pub fn as_written<'a>(
    written: &BTreeMap<(JournalId, Seq), RecordCheck>,
    journal: &JournalId,
    given: impl IntoIterator<Item = &'a (Seq, RecordCheck)>,
) -> Verdict {
    for (seq, check) in given {
        if written.get(&(*journal, *seq)) != Some(check) {
            let what = format!("{journal} {seq} is handed out as nobody wrote it");
            return Err(Violation::new("served", what));
        }
    }
    Ok(())
}

/// A run could not be read by whoever got it.
///
/// # Errors
/// Always.
pub fn unreadable(journal: &JournalId, first: Seq) -> Verdict {
    Err(Violation::new("served", format!("{journal} {first} is handed out and cannot be read")))
}
