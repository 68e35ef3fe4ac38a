//! Hello, Welcome, Goodbye: how a session begins and ends.

use millrace_model::{AckLevel, Fence, HubId, Incarnation, Lane, RangeSet, RecordCheck, Seq, Wall};
use serde::{Deserialize, Serialize};

/// What an agent has. Its device is who its certificate says; a frame never names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Name and version of the agent's program.
    pub software: String,
    /// The incarnation that it writes to.
    pub incarnation: Incarnation,
    /// How durable a record must be before the agent wants to hear of it.
    pub level: AckLevel,
    /// Its journals, those of older incarnations too as long as they hold anything.
    pub journals: Vec<JournalSummary>,
}

/// One journal of an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JournalSummary {
    /// The life of the data directory that wrote it.
    pub incarnation: Incarnation,
    /// Its lane.
    pub lane: Lane,
    /// First record that is still kept.
    pub floor: Seq,
    /// Last record that was ever written; 0 when there is none.
    pub head: Seq,
    /// The check of the record at `head`, when it is kept.
    pub head_check: Option<RecordCheck>,
}

/// The hub takes the agent in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The fence of this session: the newest one wins.
    pub session: Fence,
    /// Who the hub is.
    pub hub: HubId,
    /// The hub's name.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Its wall clock: advice to people, never compared.
    pub time: Wall,
    /// What it holds of the device's journals: of each that Hello named, in that order.
    pub holdings: Vec<Holding>,
    /// Bytes of record bodies that the agent may send before it hears more.
    pub credit: u64,
    /// All hubs that the agent may turn to.
    pub hubs: Vec<HubEndpoint>,
    /// How often the cluster was made anew after a disaster. A higher one than the agent has seen: the hubs may have lost what
    /// they acknowledged, and the holdings of a hub that is `complete` say what.
    #[serde(default)]
    pub epoch: u64,
    /// Whether the holdings are what the hubs hold: this one keeps the readings of the device, and its store is full. What another one
    /// lacks the hubs may have all the same.
    #[serde(default)]
    pub complete: bool,
    /// Whether it answers Recall and Fetch.
    #[serde(default)]
    pub recalls: bool,
}

/// What a hub holds of one journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// The life of the data directory that wrote it.
    pub incarnation: Incarnation,
    /// Its lane.
    pub lane: Lane,
    /// What the agent need not send: flushed here, trimmed here, or declared lost.
    pub held: RangeSet,
    /// The last record held; 0 when there is none.
    pub head: Seq,
    /// The check of the record at `head`, for the agent to compare with its own.
    pub head_check: Option<RecordCheck>,
    /// What the comparison of both heads says.
    pub verdict: Verdict,
    /// Of `held`, what is as durable as Hello asked for. The rest need not be sent, and is acknowledged when it is.
    #[serde(default)]
    pub safe: RangeSet,
}

/// What a hub makes of a journal in a Hello.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// The hub's copy is a part of the agent's, as far as heads can tell.
    Continues,
    /// The hub holds records past the agent's head: the agent's disk went back in time.
    RolledBack,
    /// The hub holds another record at the agent's head: two writers used one name.
    Forked,
}

/// How to reach a hub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HubEndpoint {
    /// Which hub.
    pub hub: HubId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// `host:port`, in the order to be tried.
    pub addresses: Vec<String>,
    /// How busy it says it is, in thousandths.
    #[serde(default)]
    pub load_permille: u16,
    /// It wants no agents: it is about to stop, or not well.
    #[serde(default)]
    pub draining: bool,
    /// Whether it keeps the readings of the device that is told.
    #[serde(default)]
    pub replica: bool,
}

/// The hubs have changed: where the agent may turn to from now on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hubs {
    /// All of them.
    pub hubs: Vec<HubEndpoint>,
}

/// The last frame of a session, from either side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why.
    pub code: GoodbyeCode,
    /// Why, for people: names the place and the fix.
    pub reason: String,
    /// Milliseconds to wait before coming back; 0 leaves it to the peer.
    pub retry_after_ms: u64,
}

/// Why a session ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum GoodbyeCode {
    /// The process stops in good order.
    Shutdown,
    /// A newer session of the same device and incarnation took over.
    Superseded,
    /// The device's certificate was revoked.
    Revoked,
    /// The peer broke the protocol; the reason says where.
    Protocol,
    /// The device is over its quota.
    Quota,
    /// The hub cannot take readings now: its disk is full or its store failed.
    Unavailable,
    /// Another hub is better; the hub list says which.
    Moved,
}
