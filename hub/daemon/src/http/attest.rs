//! `POST /v1/attest`: compares all that this hub and another one both keep, and makes a receipt of what is equal.
//!
//! ```text
//!  this hub ──{at, partitions: [sum, count]}──▶ the other one: compares with its own sums, signs what is equal
//!           ◀──{at, equal, counts, signature}──
//!  makes the statement itself, checks the signature over it, signs last
//! ```
//!
//! Promise: each end makes the statement of what it knows and signs nothing that it did not compare for this one question. The receipt
//! that is handed out has been checked as anybody would check it.
//! Absent: which journals differ: `millrace-hub repair` finds them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millrace_host::http::Problem;
use millrace_hub_engine::Holdings;
use millrace_link::receipt::{Receipt, Signed, checked};
use millrace_merkle::PartitionSet;
use millrace_model::partition::PARTITIONS;
use millrace_model::receipt::{Count, Holder, Party, Shared, Statement, Subject, Verdict};
use millrace_model::{HubId, NodeHash, Partition, Wall};
use millrace_wire::CallKind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::repair::node_of;
use super::{Answer, Api, stopping};
use crate::peers::Caller;

/// How long the other hub may take: it looks at every journal once.
const PATIENCE: Duration = Duration::from_secs(10);

/// With whom.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttestRequest {
    /// The hub's name.
    pub(crate) hub: String,
}

/// What another hub is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    attest: Asked,
}

/// What the asking hub has of what both keep.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    at_us: Wall,
    /// At most one for each partition.
    partitions: Vec<Weight>,
}

/// One partition, as a hub has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weight {
    partition: Partition,
    sum: NodeHash,
    count: Count,
}

/// What the other hub says.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    at_us: Wall,
    equal: Vec<Partition>,
    count: Count,
    /// The root over those that are not equal, as it has them.
    others: NodeHash,
    signature: String,
    certificate: String,
}

pub(super) async fn compare(State(api): State<Api>, Json(request): Json<AttestRequest>) -> Answer {
    let node = node_of(&api, &request.hub)?;
    let table = api.0.registry.cluster().table();
    let peer = table.hub(node).map(|record| record.hub);
    let peer = peer
        .ok_or_else(|| Problem::not_found("that hub has just left", "`millrace-hub members` lists them"))?;
    let mine = api.0.driver.holdings(node).await.ok_or_else(stopping)?;
    if mine.shared.is_empty() {
        let message = format!("this hub and {} keep nothing in common", request.hub);
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "apart",
            message,
            "`millrace-hub placement` says who keeps what",
        ));
    }
    let at_us = api.0.clock.wall();
    let weights = mine.shared.iter().map(|partition| Weight {
        partition,
        sum: NodeHash(mine.sum(partition).to_be_bytes()),
        count: mine.count(std::iter::once(partition)),
    });
    let question = Question { attest: Asked { at_us, partitions: weights.collect() } };
    let question = serde_json::to_vec(&question).map_err(|error| Problem::internal(&error))?;
    let answer = api.0.peers.call(node, CallKind::Api, Bytes::from(question), PATIENCE).await;
    let answer = answer.map_err(|error| unheard(&request.hub, &error))?;
    let said: Said = serde_json::from_slice(&answer).map_err(|error| unheard(&request.hub, &error))?;
    let equal: PartitionSet = said.equal.iter().copied().collect();
    let others: PartitionSet = mine.shared.iter().filter(|partition| !equal.contains(*partition)).collect();
    if equal.iter().any(|partition| !mine.shared.contains(partition)) {
        return Err(broken(&request.hub, &"it speaks of what it was not asked"));
    }
    let receipt = if equal.is_empty() {
        None
    } else {
        let own = api.0.endpoint.hub;
        let holders = [(own, at_us), (peer, said.at_us)];
        let counts = [mine.count(equal.iter()), said.count];
        let statement = statement(holders, &mine, &equal, counts, others.len());
        Some(signed(&api, &request.hub, peer, statement, &said)?)
    };
    let receipt = receipt.as_ref().map(Receipt::to_json).transpose();
    let receipt = receipt.map_err(|error| Problem::internal(&error))?;
    Ok(Json(json!({
        "hub": api.0.endpoint.name,
        "peer": request.hub,
        "equal": equal.len(),
        "differing": others.iter().map(|partition| partition.to_string()).collect::<Vec<_>>(),
        "owed": mine.owed,
        "roots": [mine.root(&others), said.others],
        "receipt": receipt.and_then(|text| serde_json::from_str::<Value>(&text).ok()),
    })))
}

/// Signs what the other hub has signed, if that holds.
fn signed(api: &Api, name: &str, peer: HubId, statement: Statement, said: &Said) -> Result<Receipt, Problem> {
    let identity = api.0.attesting.identity();
    let read = |text: &str| STANDARD.decode(text).map_err(|error| broken(name, &error));
    let theirs = Signed::from_parts(&read(&said.certificate)?, &read(&said.signature)?);
    let held = checked(&statement, Party::Hub(peer), &theirs, identity.ca_pem());
    held.map_err(|error| broken(name, &error))?;
    let mine = api.0.attesting.sign(&statement).map_err(|error| Problem::internal(&error))?;
    let receipt = Receipt::new(statement, [mine, theirs]);
    match receipt.check(identity.ca_pem()) {
        Ok(_) => Ok(receipt),
        Err(error) => Err(Problem::internal(&error)),
    }
}

fn statement(
    holders: [(HubId, Wall); 2],
    mine: &Holdings,
    equal: &PartitionSet,
    counts: [Count; 2],
    left_out: usize,
) -> Statement {
    let mut partitions = [0_u8; PARTITIONS / 8];
    for Partition(number) in equal.iter() {
        if let Some(byte) = partitions.get_mut(usize::from(number / 8)) {
            *byte |= 1 << (number % 8);
        }
    }
    Statement {
        verdict: Verdict::Equal,
        holders: holders.map(|(hub, at_us)| Holder { who: Party::Hub(hub), at_us }),
        about: Subject::Partitions(Shared { partitions, root: mine.root(equal), counts }),
        left_out: left_out as u64,
    }
}

/// Whether, and what, another hub asks.
pub(super) fn asked(body: &[u8]) -> Option<Asked> {
    serde_json::from_slice(body).ok().map(|question: Question| question.attest)
}

/// What another hub is answered.
pub(super) async fn for_peer(api: &Api, from: &Caller, asked: Asked) -> Result<Bytes, String> {
    let node = from.node.ok_or("only hubs of the table may ask")?;
    let ascending = asked.partitions.is_sorted_by(|one, next| one.partition < next.partition);
    if !ascending {
        return Err("partitions twice, or in disorder".to_owned());
    }
    let mine = api.0.driver.holdings(node).await.ok_or("the hub is stopping")?;
    let theirs = asked.partitions.iter();
    let equal = mine.equal(theirs.map(|weight| (weight.partition, u128::from_be_bytes(weight.sum.0))));
    let (same, others): (Vec<&Weight>, Vec<&Weight>) =
        asked.partitions.iter().partition(|weight| equal.contains(weight.partition));
    let counted = same.iter().fold(Count::default(), |sum, weight| Count {
        journals: sum.journals.saturating_add(weight.count.journals),
        records: sum.records.saturating_add(weight.count.records),
    });
    let (at_us, count) = (api.0.clock.wall(), mine.count(equal.iter()));
    let (mut signature, mut certificate) = (String::new(), String::new());
    if !equal.is_empty() {
        let holders = [(from.hub, asked.at_us), (api.0.endpoint.hub, at_us)];
        let statement = statement(holders, &mine, &equal, [counted, count], others.len());
        let part = api.0.attesting.sign(&statement)?;
        (signature, certificate) = (STANDARD.encode(part.signature()), STANDARD.encode(part.certificate()));
    }
    let others: PartitionSet = others.iter().map(|weight| weight.partition).collect();
    let said = Said {
        at_us,
        equal: equal.iter().collect(),
        count,
        others: mine.root(&others),
        signature,
        certificate,
    };
    serde_json::to_vec(&said).map(Bytes::from).map_err(|error| error.to_string())
}

fn unheard(hub: &str, why: &dyn std::fmt::Display) -> Problem {
    let message = format!("the hub {hub} does not answer: {why}");
    Problem::new(StatusCode::BAD_GATEWAY, "unheard", message, "`millrace-hub members` says who is connected")
}

fn broken(hub: &str, why: &dyn std::fmt::Display) -> Problem {
    let message = format!("the answer of the hub {hub} does not hold, and nothing was signed: {why}");
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "broken",
        message,
        "look at that hub's certificate, clock and version",
    )
}
