//! What a hub's engine is told of its store after a commit.

use millrace_hub_engine::{Event, Measure};
use millrace_journal::Store;

/// The state of every journal, as daemons tell it of those that a commit changed.
pub(crate) fn measured(store: Option<&Store>) -> Event {
    let states = store.map(Store::journals).unwrap_or_default();
    let measure = |state: &millrace_model::store::JournalState| Measure {
        bytes: state.stored_bytes,
        digest: state.summary,
    };
    Event::Measured { stored: states.iter().map(|state| (state.journal, measure(state))).collect() }
}
