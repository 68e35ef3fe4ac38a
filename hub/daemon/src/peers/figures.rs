//! The figures of the links between hubs.
//!
//! Promise: labels come from small fixed sets.

use millrace_host::metrics::{Counter, Family, Gauge, LabelSet, Metrics, NameTaken};
use millrace_wire::CallKind;

use super::CallError;

/// By what a call was about, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, LabelSet)]
pub(crate) struct ByCall {
    kind: &'static str,
    /// `answered`, `refused`, `failed` (it may have had an effect), `unreachable` (it did not leave), `abandoned`.
    outcome: &'static str,
}

/// The figures. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    made: Family<ByCall, Counter>,
    served: Family<ByCall, Counter>,
    /// My connections that stand.
    pub(crate) connected: Gauge,
    /// Times that one of them was lost.
    pub(crate) lost: Counter,
}

impl Figures {
    pub(crate) fn register(&self, metrics: &Metrics) -> Result<(), NameTaken> {
        metrics.register("peer_calls_made", "Calls to other hubs, by kind and outcome", self.made.clone())?;
        metrics.register(
            "peer_calls_served",
            "Calls of other hubs, by kind and outcome",
            self.served.clone(),
        )?;
        metrics.register(
            "peers_connected",
            "Other hubs that this hub is connected to",
            self.connected.clone(),
        )?;
        metrics.register("peers_lost", "Times that a connection to another hub ended", self.lost.clone())?;
        Ok(())
    }

    pub(crate) fn made<T>(&self, kind: CallKind, result: &Result<T, CallError>) {
        let outcome = match result {
            Ok(_) => "answered",
            Err(CallError::Refused(_)) => "refused",
            Err(CallError::Failed(_)) => "failed",
            Err(CallError::Unreachable(_)) => "unreachable",
        };
        self.made.get_or_create(&ByCall { kind: kind.name(), outcome }).inc();
    }

    pub(crate) fn served(&self, kind: CallKind, outcome: &'static str) {
        self.served.get_or_create(&ByCall { kind: kind.name(), outcome }).inc();
    }
}
