//! P8: nothing is served that differs from what its author wrote: to people, to agents, to other hubs.

use millrace_model::{JournalId, RecordCheck, Seq};

use super::agreement::Holder;
use super::replicas::Contents;
use super::{Verdict, Violation};
use crate::cluster::truth::Truth;

/// Somebody is given records, here named by the checks of what is handed over.
///
/// # Errors
/// When one is not what was written.
pub fn as_written<'a>(
    truth: &Truth,
    journal: &JournalId,
    given: impl IntoIterator<Item = &'a (Seq, RecordCheck)>,
) -> Verdict {
    for (seq, check) in given {
        if !truth.is_written(journal, *seq, *check) {
            let what = format!("{journal} {seq} is handed out as nobody wrote it");
            return Err(Violation::new("served", what));
        }
    }
    Ok(())
}

/// Everything that a device has, read at the end, is what it wrote.
///
/// # Errors
/// When it is not.
pub fn as_kept(truth: &Truth, holder: Holder, contents: &Contents) -> Verdict {
    match contents.iter().find(|((journal, seq), check)| !truth.is_written(journal, *seq, **check)) {
        Some(((journal, seq), _)) => {
            Err(Violation::new("served", format!("{holder} holds {journal} {seq}, which nobody wrote")))
        }
        None => Ok(()),
    }
}

/// A run could not be read by whoever got it.
///
/// # Errors
/// Always.
pub fn unreadable(journal: &JournalId, first: Seq) -> Verdict {
    Err(Violation::new("served", format!("{journal} {first} is handed out and cannot be read")))
}
