//! What `status` shows of the engine: where the session stands, and each lane's ledger.

use millrace_model::{Lane, Ledger};
use serde::Serialize;

use crate::Engine;
use crate::session::State;

/// A picture of the engine at one moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Status {
    /// Which life of the data directory is written to.
    pub incarnation: String,
    /// `offline`, `dialling`, `greeting`, `open` or `closing`.
    pub session: &'static str,
    /// The hub of the open session; empty when there is none.
    pub hub: String,
    /// Its region.
    pub region: String,
    /// Why there is no session, when there is none.
    pub trouble: Option<String>,
    /// Whether the hub owes acks for what was sent.
    pub unanswered: bool,
    /// The fence of the session.
    pub fence: u64,
    /// Each lane, all incarnations together.
    pub lanes: Vec<LaneStatus>,
    /// All lanes together.
    pub ledger: Ledger,
    /// Whether the ledger adds up.
    pub balanced: bool,
    /// Bytes that the store takes, and may take.
    pub disk_used_bytes: u64,
    /// The budget.
    pub disk_budget_bytes: u64,
    /// Bytes written to flash since the process began.
    pub disk_written_bytes: u64,
    /// Whether publications of a lane are held back because the store is full.
    pub blocked: bool,
    /// What a new disk gets back from the hubs.
    pub restoring: RestoreStatus,
    /// What comes back of what damage took here.
    pub regaining: RegainStatus,
    /// Whether a new incarnation is being filled from an old one.
    pub recovering: bool,
    /// Credit left with the hub, bytes.
    pub credit_bytes: u64,
    /// Whether the backlog waits for bandwidth: a window, a metered road, or an empty bucket.
    pub paused: bool,
}

/// How far history has come back from the hubs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct RestoreStatus {
    /// `none`: nothing is wanted, or was there; `waiting`: for a hub, or behind what goes first; `running`; `resting`: the hubs are asked
    /// again later for what they could not bring; `done`.
    pub state: &'static str,
    /// Records that came.
    pub records: u64,
    /// Bytes of them, as they travelled.
    pub bytes: u64,
    /// Records that the hub has, and that have not come; more may lack elsewhere.
    pub left_records: u64,
    /// Bytes of those that still may come, about.
    pub left_bytes: u64,
    /// Bytes that may come in all.
    pub limit_bytes: u64,
}

/// How far what damage took here has come back from the hubs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct RegainStatus {
    /// `none`: nothing is lacking; `waiting`: `held_up` says for what; `running`; `done`.
    pub state: &'static str,
    /// Why it waits.
    pub held_up: Option<&'static str>,
    /// Records that came back since the process began.
    pub records: u64,
    /// Records that the hub has, as far as is known, and that have not come.
    pub left_records: u64,
}

/// One lane.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LaneStatus {
    /// Its name.
    pub lane: Lane,
    /// Its count.
    pub ledger: Ledger,
    /// Last record of the current incarnation.
    pub head: u64,
}

impl Engine {
    /// A picture of the engine now.
    #[must_use]
    pub fn status(&self) -> Status {
        let lanes: Vec<_> = Lane::ALL
            .into_iter()
            .map(|lane| {
                let of_lane = self.shelves.values().filter(|shelf| shelf.journal.lane == lane);
                let ledger = of_lane.map(|shelf| shelf.ledger).fold(Ledger::default(), |sum, one| sum + one);
                let head = self.shelves.get(&self.current(lane)).map_or(0, |shelf| shelf.head);
                LaneStatus { lane, ledger, head }
            })
            .collect();
        let ledger = lanes.iter().fold(Ledger::default(), |sum, lane| sum + lane.ledger);
        let open = self.session.is_open();
        Status {
            incarnation: self.incarnation.to_string(),
            session: match self.session.state {
                State::Offline { .. } => "offline",
                State::Dialling => "dialling",
                State::Greeting { .. } => "greeting",
                State::Open => "open",
                State::Closing => "closing",
            },
            hub: if open { self.session.hub.clone() } else { String::new() },
            region: if open { self.session.region.clone() } else { String::new() },
            trouble: self.session.trouble.clone().filter(|_| !open),
            unanswered: self.answer_due().is_some(),
            fence: self.session.fence,
            lanes,
            balanced: ledger.balances(),
            ledger,
            disk_used_bytes: self.usage.used_bytes,
            disk_budget_bytes: self.config.disk_budget_bytes,
            disk_written_bytes: self.usage.written_bytes,
            blocked: self.intake.is_blocked(),
            restoring: self.restore_status(),
            regaining: self.regain_status(),
            recovering: self.recovery.is_at_work(),
            credit_bytes: self.shipping.credit.left(),
            paused: self.metered || self.bucket.rate().is_some(),
        }
    }
}
