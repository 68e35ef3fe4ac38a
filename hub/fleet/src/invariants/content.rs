//! P4: each (journal, seq) has one content, bit for bit as its author committed it, in every store.

use std::collections::BTreeMap;

use millrace_model::{JournalId, RecordCheck, Seq};

use super::{Verdict, Violation};
use crate::model::Model;

/// An author wrote a record. Only where a directory was restored or cloned may there be two.
///
/// # Errors
/// When there is another one in that place.
pub fn written(model: &mut Model, journal: JournalId, seq: Seq, check: RecordCheck) -> Verdict {
    let broken = model.is_broken(&journal);
    let contents = model.written.entry((journal, seq)).or_default();
    if !contents.contains(&check) {
        contents.push(check);
    }
    if contents.len() > 1 && !broken {
        return Err(Violation::new("content", format!("{journal} {seq} was written twice")));
    }
    Ok(())
}

/// The hub stored a record.
///
/// # Errors
/// When nobody wrote it like this, or another one stood there.
pub fn stored(model: &mut Model, journal: JournalId, seq: Seq, check: RecordCheck) -> Verdict {
    if !model.written.get(&(journal, seq)).is_some_and(|contents| contents.contains(&check)) {
        return Err(Violation::new("content", format!("the hub stored {journal} {seq} as nobody wrote it")));
    }
    match model.hub.entry(journal).or_default().insert(seq, check) {
        Some(before) if before != check => {
            Err(Violation::new("content", format!("the hub replaced {journal} {seq}")))
        }
        _ => Ok(()),
    }
}

/// What a query of the whole hub finds is what was stored.
///
/// # Errors
/// When something is different, missing or more.
pub fn complete(model: &Model, found: &BTreeMap<(JournalId, Seq), RecordCheck>) -> Verdict {
    for (journal, held) in &model.hub {
        for (seq, check) in held {
            if found.get(&(*journal, *seq)) != Some(check) {
                return Err(Violation::new("content", format!("the hub no longer has {journal} {seq}")));
            }
        }
    }
    let held: usize = model.hub.values().map(BTreeMap::len).sum();
    if held != found.len() {
        let what = format!("a query finds {} records, {held} were stored", found.len());
        return Err(Violation::new("content", what));
    }
    Ok(())
}
