//! The steward: on the hub that leads, it brings consensus and placement in line with the table.
//!
//! Promise: every change is guarded by what it was decided from, so two hubs that both think they lead do no harm. A step that
//! fails is tried again after a while and holds up no other.
//! Absent: deciding what is to be done ([`deciding`]).

pub mod deciding;

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_host::{Clock, Shutdown};
use millrace_hub_control::kv::{Compare, KeyRange, Op, Txn};
use millrace_hub_control::{ControlError, Role};
use millrace_model::{Moment, NodeId};

use super::record::{GoneRecord, HubRecord, HubState};
use super::{Cluster, Table, keys};
use crate::registry::{RegistryError, put};
use deciding::{Step, steps};

/// How often it looks when nothing has changed: members that come back are noticed by trying.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a step that failed rests: the hub is probably not reachable.
const REST: Duration = Duration::from_secs(5);

/// Looks after the cluster while this hub leads, until the shutdown.
pub async fn run(cluster: Cluster, clock: Clock, shutdown: Shutdown) {
    let mut tables = cluster.tables();
    let mut resting: BTreeMap<(u8, NodeId), Moment> = BTreeMap::new();
    loop {
        tokio::select! {
            // The sender lives as long as the cluster's handle.
            _ = tables.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.triggered() => return,
        }
        while cluster.control().metrics().role == Role::Leader && !shutdown.is_triggered() {
            let now = clock.moment();
            resting.retain(|_, until| *until > now);
            let table = cluster.table();
            let all = steps(&table, &cluster.control().members());
            let Some(step) = all.into_iter().find(|step| !resting.contains_key(&subject(step))) else {
                break;
            };
            let taken = tokio::select! {
                taken = take(&cluster, &table, &step, &clock) => taken,
                () = shutdown.triggered() => return,
            };
            match taken {
                Ok(true) => tracing::info!(step = said(&step), "the cluster is changed"),
                // Somebody else was faster, or what is known here is late: look again, but not at once.
                Ok(false) => drop(resting.insert(subject(&step), now + LOOK_EVERY)),
                Err(error) => {
                    tracing::warn!(%error, step = said(&step), "the cluster is not changed yet");
                    resting.insert(subject(&step), now + REST);
                }
            }
        }
    }
}

/// What a step is about, so that one that fails holds up no other.
const fn subject(step: &Step) -> (u8, NodeId) {
    match step {
        Step::AddLearner(node, _) | Step::Promote(node) | Step::Welcome(node) => (0, *node),
        Step::Remove(node) | Step::Bury(node) => (1, *node),
        Step::Place(_) => (2, NodeId(0)),
    }
}

fn said(step: &Step) -> String {
    match step {
        Step::AddLearner(node, _) => format!("hub {node} gets every decision"),
        Step::Promote(node) => format!("hub {node} gets its vote"),
        Step::Welcome(node) => format!("hub {node} is a member"),
        Step::Place(placement) => format!("placement {} begins", placement.version),
        Step::Remove(node) => format!("hub {node} loses its vote"),
        Step::Bury(node) => format!("hub {node} is gone"),
    }
}

/// Takes a step; `false` when what it was decided from has changed meanwhile.
async fn take(cluster: &Cluster, table: &Table, step: &Step, clock: &Clock) -> Result<bool, RegistryError> {
    let control = cluster.control();
    let done = |changed: Result<(), ControlError>| changed.map(|()| true).map_err(RegistryError::from);
    match step {
        Step::AddLearner(node, member) => done(control.add_learner(node.0, member.clone()).await),
        Step::Promote(node) => done(control.promote(node.0).await),
        Step::Remove(node) => done(control.remove(node.0).await),
        Step::Welcome(node) => {
            alter(cluster, table, *node, |record| HubRecord { state: HubState::Member, ..record }).await
        }
        Step::Place(placement) => {
            let compares = vec![Compare::unchanged(keys::PLACEMENT, table.placement.revision)];
            let then = vec![put(keys::PLACEMENT.into(), placement)?];
            Ok(cluster.decide(Txn { compares, then, otherwise: Vec::new() }).await?)
        }
        Step::Bury(node) => {
            let Some(dated) = table.hubs.get(node) else { return Ok(false) };
            let gone = GoneRecord { hub: dated.value.hub, name: dated.value.name.clone(), at: clock.wall() };
            let place = keys::hub(*node);
            let compares = vec![Compare::unchanged(place.clone(), dated.revision)];
            let then = vec![Op::delete(KeyRange::one(place)), put(keys::gone(*node), &gone)?];
            Ok(cluster.decide(Txn { compares, then, otherwise: Vec::new() }).await?)
        }
    }
}

/// Changes a hub's record, if it is still as `table` knows it.
pub(crate) async fn alter(
    cluster: &Cluster,
    table: &Table,
    node: NodeId,
    change: impl FnOnce(HubRecord) -> HubRecord,
) -> Result<bool, RegistryError> {
    let Some(dated) = table.hubs.get(&node) else { return Ok(false) };
    let place = keys::hub(node);
    let compares = vec![Compare::unchanged(place.clone(), dated.revision)];
    let then = vec![put(place, &change(dated.value.clone()))?];
    Ok(cluster.decide(Txn { compares, then, otherwise: Vec::new() }).await?)
}
