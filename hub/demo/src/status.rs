//! What an agent says of itself.

use millrace_model::Ledger;
use serde::Deserialize;

/// `GET /status` of an agent, as far as it is needed here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AgentStatus {
    /// Its device id, 32 hexadecimal digits.
    pub device: String,
    /// Its name.
    pub name: String,
    /// Which life of the data directory is written to.
    pub incarnation: String,
    /// `offline`, `dialling`, `greeting`, `open` or `closing`.
    pub session: String,
    /// The hub that it has, or had last, a session with.
    pub hub: String,
    /// All lanes and incarnations together.
    pub ledger: Ledger,
    /// Whether the agent itself says that its ledger adds up.
    pub balanced: bool,
    /// Whether publications are held back because the store is full.
    pub blocked: bool,
    /// Whether a new incarnation is being filled from an old one.
    pub recovering: bool,
    /// Bytes that the store takes.
    pub disk_used_bytes: u64,
    /// Bytes that it may take.
    pub disk_budget_bytes: u64,
    /// Why there is no session.
    pub trouble: Option<String>,
    /// How far its history has come back.
    pub restoring: Restoring,
    /// How far what damage took there has come back.
    pub regaining: Regaining,
    /// The road, when a session is open.
    pub link: Option<LinkStatus>,
}

/// How far history has come back from the hubs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Restoring {
    /// `none`, `waiting`, `running`, `resting` or `done`.
    pub state: String,
    /// Records that came.
    pub records: u64,
}

/// How far what damage took on a device has come back from the hubs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Regaining {
    /// Records that came.
    pub records: u64,
    /// Records that are to come.
    pub left_records: u64,
}

/// The road as the agent measures it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LinkStatus {
    /// Round trip, milliseconds.
    pub rtt_ms: f64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
}

impl AgentStatus {
    /// Whether a session with the hub is open.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.session == "open"
    }

    /// Whether everything that arrived is known to be at the hub, or declared lost.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_online() && self.ledger.pending == 0 && self.adds_up() && !self.recovering
    }

    /// Whether the ledger adds up, by its own word and by ours.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.balanced && self.ledger.balances()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_settled_when_it_is_online_and_owes_nothing() {
        let text = r#"{"session":"open","balanced":true,"blocked":false,"link":{"rtt_ms":0.4},
            "ledger":{"ingested":3,"acked":2,"pending":1,"evicted":0,"rejected":0},"unknown":[1]}"#;
        let mut status: AgentStatus = serde_json::from_str(text).unwrap();
        assert!(status.is_online() && !status.is_settled());
        status.ledger.acked = 3;
        assert!(!status.is_settled(), "it does not add up");
        status.ledger.pending = 0;
        assert!(status.is_settled());
    }
}
