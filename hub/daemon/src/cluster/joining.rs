//! Joining: a hub that has its certificate asks to be taken in.
//!
//! ```text
//!  new hub ──Join {name, region, addresses, witness, control}──▶ any hub ──txn──▶ millrace/hubs/<node>: joining
//!          ◀── {node, epoch, seeds, CA} ──────────────────────
//! ```
//!
//! Promise: a number is given once. Asked again by the same life of the same hub, the answer is the same; another life of it
//! gets another number, and the old one is let go; one that was removed needs a token. The CA's key goes to hubs that keep
//! readings, never to a witness, and which of the two a hub is its token decides, once.
//! Absent: who may connect at all (the registry's admission), adding it to the consensus ([`super::steward`]).

use bytes::Bytes;
use millrace_hub_control::kv::{Compare, KeyRange, Op, Txn};
use millrace_hub_control::{ControlError, Level};
use millrace_link::CertificateAuthority;
use millrace_model::{Incarnation, NodeId, Wall};
use serde::{Deserialize, Serialize};

use super::record::{HubRecord, HubState};
use super::{Cluster, TRIES_MAX, Table, keys};
use crate::config::valid_address;
use crate::peers::Caller;
use crate::registry::{RegistryError, put};

/// Addresses of one hub; as many as a join token carries.
const ADDRESSES_MAX: usize = millrace_link::token::TOKEN_ADDRESSES_MAX;

/// What a new hub says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Question {
    /// Its name: that of its certificate.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Where others reach it, `host:port`.
    pub addresses: Vec<String>,
    /// Whether it only votes.
    #[serde(default)]
    pub witness: bool,
    /// Which life of its decisions' directory.
    pub control: Incarnation,
}

/// What it is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// Its number.
    pub node: NodeId,
    /// How often the cluster was made anew.
    pub epoch: u64,
    /// Where the other hubs are reached.
    pub seeds: Vec<String>,
    /// The CA's private key, for a hub that keeps readings.
    #[serde(default)]
    pub ca_key: Option<String>,
}

/// Why a hub is not taken in, for its program. Ones that are not known here came from a newer hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// What it asks for cannot be granted, now or later.
    Refused,
    /// This hub cannot take it in; another one may.
    AskAnother,
    /// Nothing was decided, or nobody knows whether it was: asked again, the answer is the same or better.
    TryAgain,
    /// A code of a newer hub.
    #[serde(other)]
    Unknown,
}

/// What a hub that asks to join is answered. A number stands there, or a refusal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum JoinReply {
    /// It is taken in.
    Joined(Joined),
    /// It is not.
    Refused {
        /// Why, for its program.
        code: RefusalCode,
        /// Why, for its operator.
        text: String,
    },
}

/// Why a hub is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum JoinRefusal {
    /// What it said cannot be read.
    #[error("the request to join cannot be read: {0}")]
    Malformed(String),
    /// What it said of itself cannot be.
    #[error("{0}")]
    Unfit(String),
    /// Nobody enrolled it here.
    #[error("this hub was not enrolled here: join with a token of `millrace-hub token create --hub`")]
    Stranger,
    /// An operator let it go.
    #[error(
        "this hub was removed from the cluster: join with an empty directory and a token of \
         `millrace-hub token create --hub`"
    )]
    Removed,
    /// It was let in as a witness, and asks for more.
    #[error(
        "this hub was let in as a witness: join with --witness, or with a token of `millrace-hub token create --hub`"
    )]
    OnlyWitness,
    /// It was let in to keep readings.
    #[error(
        "this hub was let in to keep readings: join without --witness, or with a token of \
         `millrace-hub token create --hub --witness`"
    )]
    NoWitness,
    /// Another hub has its name.
    #[error(
        "the name `{name}` belongs to hub {node}: join under another, or with a token of \
         `millrace-hub token create --hub --replace {name}`"
    )]
    Taken {
        /// The name.
        name: String,
        /// Whose it is.
        node: NodeId,
    },
    /// Another hub is reached there.
    #[error(
        "the address {address} is that of hub `{name}`: give this one an address of its own, or make its token with \
         `millrace-hub token create --hub --replace {name}`"
    )]
    AddressTaken {
        /// The address.
        address: String,
        /// The hub that is reached there.
        name: String,
    },
    /// A witness has no CA to hand over.
    #[error("this hub is a witness and cannot take in a hub that keeps readings: ask another hub")]
    Witness,
    /// The cluster cannot decide it now.
    #[error(transparent)]
    Undecided(#[from] ControlError),
    /// Too many joined at once, or a record cannot be written.
    #[error(transparent)]
    Record(#[from] RegistryError),
}

impl JoinRefusal {
    const fn code(&self) -> RefusalCode {
        match self {
            Self::Witness => RefusalCode::AskAnother,
            Self::Undecided(ControlError::Refused(_) | ControlError::TooLarge { .. }) => RefusalCode::Refused,
            Self::Undecided(_) | Self::Record(RegistryError::Contended | RegistryError::Control(_)) => {
                RefusalCode::TryAgain
            }
            _ => RefusalCode::Refused,
        }
    }
}

/// Takes a hub in, or says why not: a [`JoinReply`] as JSON.
///
/// # Errors
/// When the reply cannot be written: a fault in the program.
pub async fn answer(
    cluster: &Cluster,
    ca: Option<&CertificateAuthority>,
    caller: &Caller,
    body: &[u8],
    now: Wall,
) -> Result<Bytes, serde_json::Error> {
    let reply = match decide(cluster, ca, caller, body, now).await {
        Ok(joined) => JoinReply::Joined(joined),
        Err(refusal) => {
            tracing::warn!(hub = %caller.hub, name = caller.name, %refusal, "a hub was not taken in");
            JoinReply::Refused { code: refusal.code(), text: refusal.to_string() }
        }
    };
    serde_json::to_vec(&reply).map(Bytes::from)
}

async fn decide(
    cluster: &Cluster,
    ca: Option<&CertificateAuthority>,
    caller: &Caller,
    body: &[u8],
    now: Wall,
) -> Result<Joined, JoinRefusal> {
    let question: Question =
        serde_json::from_slice(body).map_err(|error| JoinRefusal::Malformed(error.to_string()))?;
    if ca.is_none() && !question.witness {
        return Err(JoinRefusal::Witness);
    }
    let node = take_in(cluster, caller, &question, now).await?;
    let ca_key = ca.filter(|_| !question.witness).map(CertificateAuthority::key_pem);
    let seeds = cluster.table().seeds(node);
    tracing::info!(%node, hub = %caller.hub, name = question.name, region = question.region, "a hub joins");
    Ok(Joined { node, epoch: cluster.epoch(), seeds, ca_key })
}

async fn take_in(
    cluster: &Cluster,
    caller: &Caller,
    question: &Question,
    now: Wall,
) -> Result<NodeId, JoinRefusal> {
    for _ in 0..TRIES_MAX {
        let next = cluster.control().get(keys::NEXT_NODE.as_bytes(), Level::Linearizable).await?.value;
        let next = next.unwrap_or_default();
        let text = std::str::from_utf8(&next.value).unwrap_or_default();
        // Every hub that joins raises it, so what else has to be known is as new as it.
        cluster.caught_up(next.mod_revision).await;
        let number = NodeId(text.parse().unwrap_or(1).max(1));
        match plan(&cluster.table(), caller, question, (number, next.mod_revision), now)? {
            Plan::Known(node) => return Ok(node),
            Plan::New(txn) => {
                if cluster.decide(txn).await? {
                    return Ok(number);
                }
            }
        }
    }
    Err(RegistryError::Contended.into())
}

enum Plan {
    /// It was taken in before.
    Known(NodeId),
    /// How to take it in.
    New(Txn),
}

fn plan(
    table: &Table,
    caller: &Caller,
    question: &Question,
    (number, revision): (NodeId, u64),
    now: Wall,
) -> Result<Plan, JoinRefusal> {
    check(caller, question)?;
    let own = || table.records().filter(|record| record.hub == caller.hub);
    let staying = || own().filter(|record| record.state != HubState::Leaving);
    let enrolled = table.enrolled.get(&caller.hub);
    // What it is was decided when it was let in: a witness that asks as another is not to get the CA's key.
    let former = staying().next().map(|record| record.witness);
    let kind = enrolled.and_then(|enrolled| enrolled.witness).or(former);
    match kind {
        Some(true) if !question.witness => return Err(JoinRefusal::OnlyWitness),
        Some(false) if question.witness => return Err(JoinRefusal::NoWitness),
        _ => {}
    }
    if let Some(same) = staying().find(|record| record.control == question.control) {
        return Ok(Plan::Known(same.node));
    }
    if enrolled.is_none() && former.is_none() {
        // One that leaves was removed by an operator, and its certificate is good for a while still.
        return Err(if own().next().is_some() { JoinRefusal::Removed } else { JoinRefusal::Stranger });
    }
    let replace = enrolled.and_then(|enrolled| enrolled.replace.as_deref());
    let mut txn = Txn {
        compares: vec![Compare::unchanged(keys::NEXT_NODE, revision)],
        then: vec![Op::put(keys::NEXT_NODE, (number.0 + 1).to_string())],
        otherwise: Vec::new(),
    };
    for record in table.hubs.values().filter(|record| record.value.state != HubState::Leaving) {
        let old = &record.value;
        let goes = old.hub == caller.hub || replace == Some(old.name.as_str());
        if !goes && old.name == question.name {
            return Err(JoinRefusal::Taken { name: old.name.clone(), node: old.node });
        }
        let taken = question.addresses.iter().find(|address| old.addresses.contains(*address));
        if let Some(address) = taken.filter(|_| !goes) {
            return Err(JoinRefusal::AddressTaken { address: address.clone(), name: old.name.clone() });
        }
        if goes {
            let key = keys::hub(old.node);
            txn.compares.push(Compare::unchanged(key.clone(), record.revision));
            txn.then.push(put(key, &HubRecord { state: HubState::Leaving, ..old.clone() })?);
        }
    }
    let record = HubRecord {
        node: number,
        hub: caller.hub,
        name: question.name.clone(),
        region: question.region.clone(),
        addresses: question.addresses.clone(),
        witness: question.witness,
        control: question.control,
        store: None,
        state: HubState::Joining,
        joined_at: now,
        key: caller.key,
    };
    txn.then.push(put(keys::hub(number), &record)?);
    txn.then.push(Op::delete(KeyRange::one(keys::enrolled_hub(&caller.hub))));
    Ok(Plan::New(txn))
}

fn check(caller: &Caller, question: &Question) -> Result<(), JoinRefusal> {
    let unfit = |what: String| Err(JoinRefusal::Unfit(what));
    if question.name != caller.name {
        return unfit(format!("the certificate is of `{}`, not of `{}`", caller.name, question.name));
    }
    if !millrace_link::ca::valid_name(&question.region) {
        return unfit(format!("`{}` cannot be a region", question.region));
    }
    if question.addresses.is_empty() || question.addresses.len() > ADDRESSES_MAX {
        return unfit(format!("a hub has 1 to {ADDRESSES_MAX} addresses"));
    }
    let wrong = |address: &&String| !valid_address(address) || address.ends_with(":0");
    match question.addresses.iter().find(wrong) {
        Some(wrong) => unfit(format!("`{wrong}` is not an address at which other hubs reach this one")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
