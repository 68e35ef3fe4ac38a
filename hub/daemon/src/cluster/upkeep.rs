//! Upkeep: what every hub says of itself in the table: its names and addresses, its store, and that it has synced.
//!
//! ```text
//!            a store that the table does not know
//!   empty ──────────────▶ syncing ──every partition of mine is synced──▶ full
//!     ▲                                                                    │
//!     └───────────────────── the store is lost: a new life ◀───────────────┘
//! ```
//!
//! Promise: a store counts as full only after the engine said that it has synced every partition of this hub, as they are assigned now,
//! or when nobody else has or gets any of them. What was said in vain, because there was no quorum or somebody changed the same, is
//! said again.
//! Absent: syncing, and what of it counts (the engine).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_host::Shutdown;
use millrace_hub_control::kv::{Compare, Txn};
use millrace_hub_engine::placement::Placement;
use millrace_hub_engine::{Synced, upkeep};
use millrace_link::KeyHash;
use millrace_model::{Incarnation, NodeId};
use tokio::sync::{Notify, watch};

use super::record::{HubRecord, HubState, StoreRecord};
use super::{Cluster, Table, keys};
use crate::places::Places;
use crate::registry::{RegistryError, put};

/// How long it waits before it says again what was not heard.
const AGAIN: Duration = Duration::from_secs(1);

/// What this hub is, as only it knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Own {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Where others reach it.
    pub addresses: Vec<String>,
    /// The key of its certificate.
    pub key: KeyHash,
    /// Which life of its store; a witness has none.
    pub store: Option<Incarnation>,
}

/// What the engine last said that it has synced. Cheap to clone; at most one entry for each partition.
#[derive(Clone, Default, Debug)]
pub struct Reported(Arc<(Mutex<Synced>, Notify)>);

impl Reported {
    /// The engine says what it has synced: that, and no more. What it said before is over.
    pub fn report(&self, synced: Synced) {
        *self.last() = synced;
        self.0.1.notify_one();
    }

    /// The store is another one.
    pub fn forget(&self) {
        *self.last() = Synced::default();
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Synced> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be said next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Due {
    /// This hub's record.
    Record(Box<HubRecord>),
    /// The placement, with what this hub has synced.
    Placement(Placement),
}

/// What this hub has to say, if the table does not know it yet.
#[must_use]
pub fn due(table: &Table, me: NodeId, own: &Own, synced: &Synced) -> Option<Due> {
    let known = table.hub(me)?;
    let placement = &table.placement.value;
    let store = own.store.map(|incarnation| {
        let was_full = known.store == Some(StoreRecord { incarnation, full: true });
        let settled = known.state == HubState::Member;
        let counting = synced.counting(placement, me, incarnation);
        StoreRecord { incarnation, full: was_full || upkeep::is_full(placement, me, &counting, settled) }
    });
    let mut record = HubRecord {
        region: own.region.clone(),
        addresses: own.addresses.clone(),
        key: own.key,
        store,
        ..known.clone()
    };
    if table.named(&own.name).is_none() {
        record.name.clone_from(&own.name);
    }
    if record != *known {
        return Some(Due::Record(Box::new(record)));
    }
    let counting = synced.counting(placement, me, own.store?);
    upkeep::joined(placement, me, &counting).map(Due::Placement)
}

/// Says it, until the shutdown.
pub async fn run(
    cluster: Cluster,
    mut own: watch::Receiver<Own>,
    synced: Reported,
    places: Places,
    shutdown: Shutdown,
) {
    let mut tables = cluster.tables();
    let mut seeds = None;
    loop {
        let table = Arc::clone(&tables.borrow_and_update());
        let now = own.borrow_and_update().clone();
        keep_seeds(&places, &table, cluster.me(), &mut seeds).await;
        let has = synced.last().clone();
        let again = match due(&table, cluster.me(), &now, &has) {
            None => false,
            Some(due) => {
                let said = say(&cluster, &table, due).await;
                said.inspect_err(|error| tracing::debug!(%error, "what this hub says of itself waits")).ok()
                    != Some(true)
            }
        };
        tokio::select! {
            // The senders live as long as the hub.
            _ = tables.changed() => {}
            _ = own.changed() => {}
            () = synced.0.1.notified() => {}
            () = tokio::time::sleep(AGAIN), if again => {}
            () = shutdown.triggered() => return,
        }
    }
}

async fn say(cluster: &Cluster, table: &Table, due: Due) -> Result<bool, RegistryError> {
    let me = keys::hub(cluster.me());
    let Some(dated) = table.hubs.get(&cluster.me()) else { return Ok(false) };
    // Both stand on each other: a store is full for a placement, and a partition synced by a store.
    let compares = vec![
        Compare::unchanged(me.clone(), dated.revision),
        Compare::unchanged(keys::PLACEMENT, table.placement.revision),
    ];
    let then = match &due {
        Due::Record(record) => {
            let before = dated.value.store.map(|store| store.incarnation);
            let mut then = vec![put(me, record)?];
            if before.is_some() && before != record.store.map(|store| store.incarnation) {
                // Whoever still counts by the version before would count the former life with it.
                let mut placement = table.placement.value.clone();
                placement.raise();
                then.push(put(keys::PLACEMENT.into(), &placement)?);
            }
            then
        }
        Due::Placement(placement) => vec![put(keys::PLACEMENT.into(), placement)?],
    };
    Ok(cluster.decide(Txn { compares, then, otherwise: Vec::new() }).await?)
}

/// Keeps where the others are reached, for the day on which nothing else is left.
async fn keep_seeds(places: &Places, table: &Table, me: NodeId, kept: &mut Option<Vec<String>>) {
    let seeds = table.seeds(me);
    if table.hub(me).is_none() || kept.as_ref() == Some(&seeds) {
        return;
    }
    let (places, new) = (places.clone(), seeds.clone());
    let written = tokio::task::spawn_blocking(move || match places.read_seat()? {
        Some(seat) if seat.seeds != new => places.write_seat(&crate::places::SeatFile { seeds: new, ..seat }),
        _ => Ok(()),
    });
    match written.await {
        Ok(Ok(())) => *kept = Some(seeds),
        Ok(Err(error)) => tracing::warn!(%error, "where other hubs are reached could not be kept"),
        Err(error) => tracing::error!(%error, "where other hubs are reached could not be kept"),
    }
}

#[cfg(test)]
mod tests {
    use millrace_hub_engine::placement::{Site, target};
    use millrace_model::{HubId, Wall};

    use super::*;
    use crate::cluster::table::Dated;

    const ME: NodeId = NodeId(2);

    fn own(store: u64) -> Own {
        Own {
            name: "hub-2".into(),
            region: "south".into(),
            addresses: vec!["hub-2:7443".into()],
            key: KeyHash::from_bytes([2; 32]),
            store: Some(Incarnation::new(store)),
        }
    }

    fn table(sites: &[u64]) -> Table {
        let record = |node: u64| HubRecord {
            node: NodeId(node),
            hub: HubId::from_bytes([2; 16]),
            name: format!("hub-{node}"),
            region: "south".into(),
            addresses: vec![format!("hub-{node}:7443")],
            witness: false,
            control: Incarnation::new(node),
            store: None,
            state: HubState::Member,
            joined_at: Wall(0),
            key: KeyHash::from_bytes([2; 32]),
        };
        let mut table = Table::default();
        for node in sites {
            table.hubs.insert(NodeId(*node), Dated { value: record(*node), revision: 1 });
        }
        table.placement.value.begin(&target(&sites_of(sites), 3));
        table
    }

    fn sites_of(nodes: &[u64]) -> Vec<Site> {
        nodes.iter().map(|node| Site { node: NodeId(*node), region: "south".into() }).collect()
    }

    /// Says everything that is due; how the store stands then.
    fn said(table: &mut Table, own: &Own, synced: &Synced) -> StoreRecord {
        while let Some(due) = due(table, ME, own, synced) {
            match due {
                Due::Record(record) => table.hubs.get_mut(&ME).unwrap().value = *record,
                Due::Placement(placement) => table.placement.value = placement,
            }
        }
        table.hub(ME).unwrap().store.unwrap()
    }

    /// What an engine says that has synced the first `count` partitions, as they are assigned now.
    fn synced(table: &Table, store: u64, count: usize) -> Synced {
        let all = table.placement.value.assignments();
        let partitions = all.take(count).map(|(partition, assignment)| (partition, assignment.since));
        Synced { store: Incarnation::new(store), partitions: partitions.collect() }
    }

    fn nothing() -> Synced {
        Synced::default()
    }

    #[test]
    fn the_store_of_a_hub_that_is_alone_is_full_also_after_it_was_lost() {
        let mut table = table(&[2]);
        assert!(said(&mut table, &own(7), &nothing()).full);
        let lost = said(&mut table, &own(8), &nothing());
        assert_eq!(lost, StoreRecord { incarnation: Incarnation::new(8), full: true });
    }

    #[test]
    fn a_hub_that_was_alone_and_is_wiped_while_another_joins_it_learns_from_that_one_first() {
        let mut table = table(&[2]);
        assert!(said(&mut table, &own(7), &nothing()).full);
        table.placement.value.begin(&target(&sites_of(&[1, 2]), 3));
        assert!(!said(&mut table, &own(8), &nothing()).full, "what was acked since is on the other one, too");
        let all = synced(&table, 8, 256);
        assert!(said(&mut table, &own(8), &all).full);
    }

    #[test]
    fn a_lost_store_counts_again_when_every_partition_is_synced() {
        let mut table = table(&[1, 2]);
        assert!(!said(&mut table, &own(7), &nothing()).full);
        let most = synced(&table, 7, 255);
        assert!(!said(&mut table, &own(7), &most).full);
        let all = synced(&table, 7, 256);
        assert!(said(&mut table, &own(7), &all).full);
        assert!(said(&mut table, &own(7), &nothing()).full, "it stays full when the process starts again");
        assert!(!said(&mut table, &own(8), &all).full, "what another life synced is not on this store");
    }

    #[test]
    fn a_hub_that_was_just_taken_in_joins_its_partitions_when_they_are_synced() {
        let mut table = table(&[1]);
        let newcomer = HubRecord { node: ME, name: "hub-2".into(), ..table.hub(NodeId(1)).unwrap().clone() };
        table.hubs.insert(ME, Dated { value: newcomer, revision: 2 });
        assert!(said(&mut table, &own(7), &nothing()).full, "nothing is placed here, nothing moves");
        table.hubs.get_mut(&ME).unwrap().value.store = None;
        table.placement.value.begin(&target(&sites_of(&[1, 2]), 3));
        assert!(!said(&mut table, &own(7), &nothing()).full);
        let all = synced(&table, 7, 256);
        assert!(said(&mut table, &own(7), &all).full);
        assert_eq!(table.placement.value.moving(), 0);
    }

    #[test]
    fn what_was_synced_when_a_hub_joined_is_not_said_again_when_the_partition_shrinks() {
        let mut table = table(&[1, 3]);
        let newcomer = HubRecord { node: ME, ..table.hub(NodeId(1)).unwrap().clone() };
        table.hubs.insert(ME, Dated { value: newcomer, revision: 2 });
        table.placement.value.begin(&target(&sites_of(&[1, 2, 3]), 3));
        let once = synced(&table, 7, 256);
        assert!(said(&mut table, &own(7), &once).full);
        assert_eq!(table.placement.value.moving(), 0, "it joined");
        // Hub 3 leaves: what is on it and on hub 1 alone has to come here first.
        table.placement.value.begin(&target(&sites_of(&[1, 2]), 3));
        assert_eq!(due(&table, ME, &own(7), &once), None, "it has not synced since");
        let anew = synced(&table, 7, 256);
        said(&mut table, &own(7), &anew);
        let joining = table.placement.value.assignments().map(|(_, of)| of.joining.clone());
        assert!(joining.into_iter().all(|joining| joining == [NodeId(1)].into()), "now it has");
    }

    #[test]
    fn a_report_of_the_engine_takes_the_place_of_the_one_before() {
        let table = table(&[1, 2]);
        let reported = Reported::default();
        reported.report(synced(&table, 7, 256));
        reported.report(synced(&table, 7, 3));
        assert_eq!(*reported.last(), synced(&table, 7, 3));
        reported.forget();
        assert_eq!(*reported.last(), nothing());
    }

    #[test]
    fn a_name_that_another_hub_has_is_not_taken() {
        let mut table = table(&[1, 2]);
        let renamed = Own { name: "hub-1".into(), ..own(7) };
        said(&mut table, &renamed, &nothing());
        assert_eq!(table.hub(ME).unwrap().name, "hub-2");
        let renamed = Own { name: "hub-9".into(), ..own(7) };
        said(&mut table, &renamed, &nothing());
        assert_eq!(table.hub(ME).unwrap().name, "hub-9");
    }
}
