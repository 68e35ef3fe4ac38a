//! P1: what was flushed is there after a power cut, bit for bit, and nothing else is.

use millrace_model::SeqRange;

use millrace_journal::Store;

use super::{Verdict, Violation};
use crate::model::Mirror;

/// A store was opened again; `expected` is what it must hold.
///
/// # Errors
/// When it holds something else.
pub fn holds(who: &str, store: &Store, expected: &Mirror) -> Verdict {
    let fail = |what: String| Err(Violation::new("survival", format!("{who}: {what}")));
    for state in store.journals() {
        let nothing = std::collections::BTreeMap::new();
        let expected = expected.get(&state.journal).unwrap_or(&nothing);
        if state.present.count() != expected.len() as u64 {
            let found = state.present.count();
            return fail(format!("{} holds {found} records, {} were flushed", state.journal, expected.len()));
        }
        for range in state.present.iter() {
            let mut from = range.first();
            while let Some(rest) = SeqRange::new(from, range.last()) {
                let found = match store.checks(&state.journal, rest) {
                    Ok(found) if !found.is_empty() => found,
                    Ok(_) => return fail(format!("{} {rest} cannot be read", state.journal)),
                    Err(error) => return fail(error.to_string()),
                };
                for (seq, check) in &found {
                    if expected.get(seq).map(|entry| entry.check) != Some(*check) {
                        return fail(format!("{} {seq} is not what was flushed", state.journal));
                    }
                }
                from = found.last().map_or(range.last(), |(seq, _)| *seq) + 1;
            }
        }
    }
    let found: Vec<_> = store.journals().iter().map(|state| state.journal).collect();
    match expected.iter().find(|(journal, held)| !held.is_empty() && !found.contains(journal)) {
        Some((journal, _)) => fail(format!("{journal} is gone")),
        None => Ok(()),
    }
}
