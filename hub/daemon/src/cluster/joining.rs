//! Joining: a hub that has its certificate asks to be taken in.
//!
//! ```text
//!  new hub ──Join {name, region, addresses, witness, control}──▶ any hub ──txn──▶ millrace/hubs/<node>: joining
//!          ◀── {node, epoch, seeds, CA} ──────────────────────
//! ```
//!
//! Promise: a number is given once. Asked again by the same life of the same hub, the answer is the same; another life of it
//! gets another number, and the old one is let go. The CA's key goes to hubs that keep readings, never to a witness.
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

/// Takes a hub in.
///
/// # Errors
/// [`JoinRefusal`], in words for the new hub's operator.
pub async fn answer(
    cluster: &Cluster,
    ca: Option<&CertificateAuthority>,
    caller: &Caller,
    body: &[u8],
    now: Wall,
) -> Result<Bytes, JoinRefusal> {
    let question: Question =
        serde_json::from_slice(body).map_err(|error| JoinRefusal::Malformed(error.to_string()))?;
    if ca.is_none() && !question.witness {
        return Err(JoinRefusal::Witness);
    }
    let node = take_in(cluster, caller, &question, now).await?;
    let ca_key = ca.filter(|_| !question.witness).map(CertificateAuthority::key_pem);
    let seeds = cluster.table().seeds(node);
    let joined = Joined { node, epoch: cluster.epoch(), seeds, ca_key };
    tracing::info!(%node, hub = %caller.hub, name = question.name, region = question.region, "a hub joins");
    serde_json::to_vec(&joined).map(Bytes::from).map_err(|error| JoinRefusal::Malformed(error.to_string()))
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
    let own = || table.hubs.values().filter(|record| record.value.hub == caller.hub);
    let same = own()
        .find(|record| record.value.control == question.control && record.value.state != HubState::Leaving);
    if let Some(same) = same {
        return Ok(Plan::Known(same.value.node));
    }
    let enrolled = table.enrolled.get(&caller.hub);
    if enrolled.is_none() && own().next().is_none() {
        return Err(JoinRefusal::Stranger);
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
mod tests {
    use millrace_link::KeyHash;
    use millrace_model::HubId;

    use super::*;
    use crate::cluster::record::EnrolledRecord;

    const NOW: Wall = Wall(1_800_000_000_000_000);

    fn caller(number: u8, name: &str) -> Caller {
        let (hub, key) = (HubId::from_bytes([number; 16]), KeyHash::from_bytes([number; 32]));
        Caller { hub, node: None, key, name: name.into() }
    }

    fn question(name: &str, control: u64) -> Question {
        Question {
            name: name.into(),
            region: "south".into(),
            addresses: vec!["hub-2:7443".into()],
            witness: false,
            control: Incarnation::new(control),
        }
    }

    /// What a plan leads to.
    fn carry_out(table: &mut Table, caller: &Caller, question: &Question, number: u64) -> NodeId {
        let plan = plan(table, caller, question, (NodeId(number), number), NOW).unwrap();
        let Plan::New(txn) = plan else { panic!("a new number was due") };
        for op in txn.then {
            match op {
                Op::Put { key, value, .. } => {
                    if let Some(key) = keys::Key::of(&key) {
                        table.take_in(&key, Some(&value), number);
                    }
                }
                Op::Delete { range: KeyRange::One(key), .. } => {
                    table.take_in(&keys::Key::of(&key).unwrap(), None, number);
                }
                other => panic!("{other:?}"),
            }
        }
        NodeId(number)
    }

    fn enrol(table: &mut Table, caller: &Caller, replace: Option<&str>) {
        let record = EnrolledRecord {
            key: caller.key,
            name: caller.name.clone(),
            replace: replace.map(str::to_owned),
            at: NOW,
        };
        table.enrolled.insert(caller.hub, record);
    }

    #[test]
    fn a_hub_gets_a_number_once_and_another_life_of_it_gets_another() {
        let mut table = Table::default();
        let hub = caller(2, "hub-2");
        let asked =
            |table: &Table, control| plan(table, &hub, &question("hub-2", control), (NodeId(7), 7), NOW);
        assert!(matches!(asked(&table, 1), Err(JoinRefusal::Stranger)));
        enrol(&mut table, &hub, None);
        assert_eq!(carry_out(&mut table, &hub, &question("hub-2", 1), 2), NodeId(2));
        assert!(table.enrolled.is_empty());
        assert_eq!(table.hub(NodeId(2)).unwrap().state, HubState::Joining);
        assert!(matches!(asked(&table, 1), Ok(Plan::Known(NodeId(2)))), "the answer was lost");
        carry_out(&mut table, &hub, &question("hub-2", 9), 3);
        assert_eq!(table.hub(NodeId(2)).unwrap().state, HubState::Leaving);
        assert_eq!((table.node_of(&hub.hub), table.was_removed(&hub.hub)), (Some(NodeId(3)), false));
    }

    #[test]
    fn a_taken_name_needs_a_token_that_replaces_its_holder() {
        let mut table = Table::default();
        let (old, new) = (caller(2, "hub-2"), caller(3, "hub-2"));
        enrol(&mut table, &old, None);
        carry_out(&mut table, &old, &question("hub-2", 1), 2);
        enrol(&mut table, &new, None);
        let refused = plan(&table, &new, &question("hub-2", 5), (NodeId(3), 3), NOW);
        assert!(matches!(refused, Err(JoinRefusal::Taken { node: NodeId(2), .. })));
        enrol(&mut table, &new, Some("hub-2"));
        carry_out(&mut table, &new, &question("hub-2", 5), 3);
        assert_eq!(table.hub(NodeId(2)).unwrap().state, HubState::Leaving);
        assert_eq!(table.named("hub-2").unwrap().node, NodeId(3));
    }

    #[test]
    fn an_address_belongs_to_one_hub_unless_that_hub_is_replaced() {
        let mut table = Table::default();
        let (old, new) = (caller(2, "hub-2"), caller(3, "hub-3"));
        enrol(&mut table, &old, None);
        carry_out(&mut table, &old, &question("hub-2", 1), 2);
        enrol(&mut table, &new, None);
        let asked =
            |table: &Table, question: &Question| plan(table, &new, question, (NodeId(3), 3), NOW).map(|_| ());
        let refused = asked(&table, &question("hub-3", 5)).unwrap_err();
        assert!(refused.to_string().contains("hub-2:7443 is that of hub `hub-2`"), "{refused}");
        let elsewhere = Question { addresses: vec!["hub-3:7443".into()], ..question("hub-3", 5) };
        assert!(asked(&table, &elsewhere).is_ok());
        enrol(&mut table, &new, Some("hub-2"));
        assert!(asked(&table, &question("hub-3", 5)).is_ok());
    }

    #[test]
    fn what_a_hub_says_of_itself_has_to_make_sense() {
        let mut table = Table::default();
        let hub = caller(2, "hub-2");
        enrol(&mut table, &hub, None);
        for wrong in [
            question("hub-3", 1),
            Question { region: String::new(), ..question("hub-2", 1) },
            Question { addresses: vec![], ..question("hub-2", 1) },
            Question { addresses: vec!["hub-2:0".into()], ..question("hub-2", 1) },
        ] {
            let refused = plan(&table, &hub, &wrong, (NodeId(2), 2), NOW);
            assert!(matches!(refused, Err(JoinRefusal::Unfit(_))), "{wrong:?}");
        }
    }
}
