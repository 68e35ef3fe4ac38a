//! The steward: on the hub that leads, it brings consensus and placement in line with the table.
//!
//! Promise: nothing is changed that was not decided from what stands now. Keys are changed by compares with what the step was
//! decided from. The consensus knows no compares: whoever begins to lead first takes in everything that was decided before, and
//! a hub's key is read once more, linearizably, before the consensus is changed for it. So two hubs that both think they lead do no
//! harm. A step that fails is tried again after a while and holds up no other.
//! Absent: deciding what is to be done ([`deciding`]), and what rests ([`resting`]).

pub mod deciding;
pub mod resting;

use std::time::Duration;

use millrace_host::{Clock, Shutdown};
use millrace_hub_control::kv::{Compare, KeyRange, Op, Txn};
use millrace_hub_control::{ControlError, Level, Role};
use millrace_model::NodeId;

use super::record::{GoneRecord, HubRecord, HubState};
use super::{Cluster, Table, keys};
use crate::registry::{RegistryError, put};
use deciding::{Step, steps};
use resting::Resting;

/// How often it looks when nothing has changed: members that come back are noticed by trying.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks after the cluster while this hub leads, until the shutdown.
pub async fn run(cluster: Cluster, clock: Clock, shutdown: Shutdown) {
    let mut tables = cluster.tables();
    let mut resting = Resting::default();
    // The term for which everything that was decided before it is known.
    let mut known = None;
    loop {
        tokio::select! {
            // The sender lives as long as the cluster's handle.
            _ = tables.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.triggered() => return,
        }
        while !shutdown.is_triggered() {
            let control = cluster.control();
            let metrics = control.metrics();
            if metrics.role != Role::Leader {
                break;
            }
            if known != Some(metrics.term) {
                let caught_up = tokio::select! {
                    caught_up = catch_up(&cluster) => caught_up,
                    () = shutdown.triggered() => return,
                };
                if let Err(error) = caught_up {
                    tracing::debug!(%error, "what was decided before this hub led is not known yet");
                    break;
                }
                known = Some(metrics.term);
            }
            let (now, table) = (clock.moment(), cluster.table());
            let all = steps(&table, &control.members(), metrics.joint);
            let Some(step) = resting.next(all, now) else { break };
            let taken = tokio::select! {
                taken = take(&cluster, &table, &step, &clock) => taken,
                () = shutdown.triggered() => return,
            };
            match taken {
                Ok(true) => tracing::info!(step = said(&step), "the cluster is changed"),
                // Somebody else was faster, or what is known here is late: look again, but not at once.
                Ok(false) => resting.was_late(&step, clock.moment()),
                Err(error) if resting.has_failed(&step, clock.moment()) => {
                    tracing::warn!(%error, step = said(&step), "the cluster is not changed yet, and it is tried again");
                }
                Err(error) => tracing::debug!(%error, step = said(&step), "the cluster is not changed yet"),
            }
        }
    }
}

/// Waits until this hub knows what was decided before it led: entries that it has and has not applied yet.
async fn catch_up(cluster: &Cluster) -> Result<(), ControlError> {
    let revision = cluster.control().read(Level::Linearizable, |_| ()).await?.revision;
    cluster.caught_up(revision).await;
    Ok(())
}

/// Whether the cluster's record of a hub, or that there is none, is what `table` says.
async fn is_as_known(cluster: &Cluster, table: &Table, node: NodeId) -> Result<bool, ControlError> {
    let found = cluster.control().get(&keys::hub(node), Level::Linearizable).await?.value;
    let known = table.hubs.get(&node).map(|dated| dated.revision);
    Ok(found.map(|found| found.mod_revision) == known)
}

fn said(step: &Step) -> String {
    match step {
        Step::Settle => "the change of the voters that was half done is finished".to_owned(),
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
    let done = |changed: Result<(), ControlError>| match changed {
        Ok(()) => Ok(true),
        Err(ControlError::NoMember(_)) => Ok(false),
        Err(error) => Err(RegistryError::from(error)),
    };
    if let Step::AddLearner(node, _) | Step::Promote(node) | Step::Remove(node) = step
        && !is_as_known(cluster, table, *node).await?
    {
        return Ok(false);
    }
    match step {
        Step::Settle => done(control.settle().await),
        Step::AddLearner(node, member) => done(control.add_learner(node.0, member.clone()).await),
        Step::Promote(node) => done(control.promote(node.0).await),
        Step::Remove(node) => done(control.remove(node.0).await),
        Step::Welcome(node) => {
            alter(cluster, table, *node, |record| HubRecord { state: HubState::Member, ..record }).await
        }
        Step::Place(placement) => {
            let sites = table.sites();
            let sites =
                sites.iter().filter_map(|site| Some((site.node, table.hubs.get(&site.node)?.revision)));
            let sites = sites.map(|(node, revision)| Compare::unchanged(keys::hub(node), revision));
            let mut compares: Vec<Compare> = sites.collect();
            compares.push(Compare::unchanged(keys::PLACEMENT, table.placement.revision));
            compares.push(Compare::unchanged(keys::SETTINGS, table.settings.revision));
            let then = vec![put(keys::PLACEMENT.into(), placement)?];
            Ok(cluster.decide(Txn { compares, then, otherwise: Vec::new() }).await?)
        }
        Step::Bury(node) => {
            let Some(dated) = table.hubs.get(node) else { return Ok(false) };
            let gone = GoneRecord { hub: dated.value.hub, name: dated.value.name.clone(), at: clock.wall() };
            let place = keys::hub(*node);
            let compares = vec![
                Compare::unchanged(place.clone(), dated.revision),
                Compare::unchanged(keys::PLACEMENT, table.placement.revision),
            ];
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

#[cfg(test)]
mod tests {
    use millrace_model::HubId;

    use super::*;
    use crate::registry::tests::lone;

    #[tokio::test]
    async fn a_table_that_is_late_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let registry = lone(directory.path()).await;
        let (cluster, clock) = (registry.cluster(), Clock::system());
        let late = Table::clone(&cluster.table());
        let first = late.hub(NodeId(1)).unwrap().clone();
        let (node, hub) = (NodeId(2), HubId::from_bytes([2; 16]));
        let second = HubRecord { node, hub, name: "hub-2".into(), state: HubState::Joining, ..first.clone() };
        let moved = HubRecord { region: "south".into(), ..first };
        let then = vec![put(keys::hub(node), &second).unwrap(), put(keys::hub(NodeId(1)), &moved).unwrap()];
        assert!(cluster.decide(Txn { then, ..Txn::default() }).await.unwrap());
        cluster.control().add_learner(node.0, deciding::member(&second)).await.unwrap();

        // Who knows the members and not the record takes the hub for one that nobody knows.
        let members = cluster.control().members();
        assert!(steps(&late, &members, false).contains(&Step::Remove(node)));
        let placement = late.placement.value.clone();
        for step in [Step::Remove(node), Step::Promote(node), Step::Place(placement)] {
            assert!(!take(cluster, &late, &step, &clock).await.unwrap(), "{step:?}");
        }
        let votes: Vec<bool> = cluster.control().members().iter().map(|member| member.votes).collect();
        assert_eq!(votes, [true, false]);

        catch_up(cluster).await.unwrap();
        assert!(!steps(&cluster.table(), &members, false).contains(&Step::Remove(node)));
        assert!(take(cluster, &cluster.table(), &Step::Remove(node), &clock).await.unwrap());
        assert_eq!(cluster.control().members().len(), 1);
        let again = steps(&cluster.table(), &cluster.control().members(), false);
        assert!(matches!(again.first(), Some(Step::AddLearner(NodeId(2), _))), "{again:?}");
        assert!(!take(cluster, &cluster.table(), &Step::Remove(node), &clock).await.unwrap(), "it is gone");
        cluster.close().await;
    }
}
