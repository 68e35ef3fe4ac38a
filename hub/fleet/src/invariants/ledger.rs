//! The ledger balances at every commit, and the engine counts what its store counts.

use millrace_agent_engine::Status;
use millrace_model::store::JournalState;
use millrace_model::{JournalId, Lane, Ledger, RangeSet};

use super::{Verdict, Violation};

/// A commit was made.
///
/// # Errors
/// When a journal's ledger does not add up, or does not fit what is there.
pub fn balances(states: &[JournalState]) -> Verdict {
    for state in states {
        let ledger = state.ledger;
        let pending = state.present.difference(&state.acked).count();
        if !ledger.balances() || ledger.pending != pending {
            let what = format!("{}: {ledger:?}, and {pending} records wait for an ack", state.journal);
            return Err(Violation::new("ledger", what));
        }
    }
    Ok(())
}

/// Damage took `lost`, of which no ack was known, and the store counts `evicted` of them.
///
/// # Errors
/// When it counts something else.
pub fn evicted(journal: &JournalId, lost: &RangeSet, evicted: u64) -> Verdict {
    if lost.count() == evicted {
        return Ok(());
    }
    let what = format!("{journal} lost {lost}, which no hub has said to have, and counts {evicted} of it");
    Err(Violation::new("ledger", what))
}

/// The engine was told of a commit. It may know of acks that are not written down yet; and among several hubs, where acks are taken back when
/// hubs lost what they had, of those that are not taken back on disk yet (`reclaims`).
///
/// # Errors
/// When it counts something else.
pub fn agrees(status: &Status, states: &[JournalState], reclaims: bool) -> Verdict {
    for lane in Lane::ALL {
        let store = states.iter().filter(|state| state.journal.lane == lane);
        let store = store.fold(Ledger::default(), |sum, state| sum + state.ledger);
        let engine = status.lanes.iter().find(|status| status.lane == lane).map(|status| status.ledger);
        let engine = engine.unwrap_or_default();
        let same = (engine.ingested, engine.evicted, engine.rejected, engine.acked + engine.pending)
            == (store.ingested, store.evicted, store.rejected, store.acked + store.pending);
        if !same || (engine.acked < store.acked && !reclaims) {
            let what = format!("{lane}: the engine counts {engine:?}, the store {store:?}");
            return Err(Violation::new("ledger", what));
        }
    }
    Ok(())
}
