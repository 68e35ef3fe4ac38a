//! The promises, one file each. Each is a question that the world asks at the right moment.
//!
//! | promise | where promised | module | asked |
//! |---|---|---|---|
//! | P1 told only what is durable | agent `intake` | [`puback`] | at every acknowledgement |
//! | P1 what is durable survives a power cut | `millrace-journal` `commit` | [`survival`] | at every start |
//! | P2 losses are declared | agent `retention`, journal `gaps` | [`declaration`] | at the end |
//! | P2, P4 what was accepted is at the hub once | agent `shipping`, hub `reception` | [`arrival`] | at the end |
//! | P3 no ack before the flush | hub `reception` | [`hub_ack`] | at every ack and Welcome |
//! | P3 no trim before the ack | agent `retention`, journal `trim` | [`trim`] | at every commit of an agent |
//! | P4 one content for each place | journal `receive`, agent `recovery` | [`content`] | at every commit, and at the end |
//! | P5 in order, holes only where declared | journal `append`, agent `intake` | [`order`] | at every commit, and at the end |
//! | P9 rollbacks and clones are noticed | hub `greeting`, agent `recovery` | [`branches`] | at the end |
//! | the ledger balances | journal `row`, agent `shelf` | [`ledger`] | at every commit of an agent |
//! | sealed once, the same everywhere | journal `seal`, agent `shipping` | [`seals`] | at the end |
//! | after healing everything converges | all | [`convergence`] | after healing |
//! | P3 an ack at level quorum is on a majority of full disks | hub `replication` | [`quorum`] | at every ack and Welcome of several hubs |
//! | no acked reading is lost with one disk | hub `replication`, `placement` | [`loss`] | when a disk is lost, and at the end |
//! | nothing is declared as lost that a hub has | agent `epoch`, hub `greeting` | [`loss`] | when it is declared |
//! | every reading is on every replica | hub `replication` | [`replicas`] | at the end |
//! | P8 copies become alike again, without a command: at hubs, and at the device and its hub | hub `mending`, `repair`, agent `regaining` | [`agreement`] | at the end of several hubs |
//! | P8 what was let go does not come back | journal `trim`, hub `repair`, agent `regaining` | [`trimmed`] | at every commit of several hubs and their agents, at every start |
//! | P8 corrupt data is never served | journal `load`, `query` | [`served`] | whenever several hubs read, and an agent gets records back |
//! | P8 repair moves what differs alone | hub `mending`, `replication` | [`thrift`] | whenever a hub or a device asks for records, or a hub reads some for another |
//! | P8 only what is damaged is moved aside | journal `quarantine` | [`aside`] | whenever something is |
//! | nobody spins | both engines' `poll_timeout` | [`wakefulness`] | at every wake-up |

pub mod agreement;
pub mod arrival;
pub mod aside;
pub mod branches;
pub mod content;
pub mod convergence;
pub mod declaration;
pub mod hub_ack;
pub mod ledger;
pub mod loss;
pub mod order;
pub mod puback;
pub mod quorum;
pub mod replicas;
pub mod seals;
pub mod served;
pub mod survival;
pub mod thrift;
pub mod trim;
pub mod trimmed;
pub mod wakefulness;

use std::fmt;

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which invariant saw it.
    pub invariant: &'static str,
    /// What it saw.
    pub what: String,
}

impl Violation {
    /// `invariant` saw `what`.
    #[must_use]
    pub fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.invariant, self.what)
    }
}

/// What an invariant says.
pub type Verdict = Result<(), Violation>;
