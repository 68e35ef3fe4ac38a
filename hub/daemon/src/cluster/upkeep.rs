//! Upkeep: what every hub says of itself in the table: its names and addresses, its store, and that it has synced.
//!
//! ```text
//!            a store that the table does not know
//!   empty ──────────────▶ syncing ──every partition of mine is synced──▶ full
//!     ▲                                                                    │
//!     └───────────────────── the store is lost: a new life ◀───────────────┘
//! ```
//!
//! Promise: a store counts as full only after the engine said that it has synced every partition of this hub, or when nobody else
//! has any of them. What was said in vain, because there was no quorum or somebody changed the same, is said again.
//! Absent: syncing (the engine).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_host::Shutdown;
use millrace_hub_control::kv::{Compare, Txn};
use millrace_hub_engine::placement::Placement;
use millrace_link::KeyHash;
use millrace_model::{Incarnation, NodeId, Partition};
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

/// Partitions that the engine has synced. Cheap to clone; at most one entry for each partition.
#[derive(Clone, Default, Debug)]
pub struct Synced(Arc<(Mutex<BTreeSet<Partition>>, Notify)>);

impl Synced {
    /// The engine says that it holds everything that enough replicas of these partitions held.
    pub fn report(&self, partitions: impl IntoIterator<Item = Partition>) {
        self.partitions().extend(partitions);
        self.0.1.notify_one();
    }

    /// The store is another one.
    pub fn forget(&self) {
        self.partitions().clear();
    }

    fn partitions(&self) -> std::sync::MutexGuard<'_, BTreeSet<Partition>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What counts under this placement: a partition that was given up has to be synced anew.
    fn of(&self, placement: &Placement, me: NodeId) -> BTreeSet<Partition> {
        let mine = shares(placement, me);
        let mut synced = self.partitions();
        synced.retain(|partition| mine.contains(partition));
        synced.clone()
    }
}

/// The partitions that a hub keeps, or is about to.
#[must_use]
pub fn shares(placement: &Placement, node: NodeId) -> BTreeSet<Partition> {
    let has =
        placement.assignments().filter(|(_, assignment)| assignment.recipients().any(|one| one == node));
    has.map(|(partition, _)| partition).collect()
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
pub fn due(table: &Table, me: NodeId, own: &Own, synced: &BTreeSet<Partition>) -> Option<Due> {
    let known = table.hub(me)?;
    let mut record = HubRecord {
        region: own.region.clone(),
        addresses: own.addresses.clone(),
        key: own.key,
        store: own.store.map(|store| standing(table, known, store, synced)),
        ..known.clone()
    };
    if table.named(&own.name).is_none() {
        record.name.clone_from(&own.name);
    }
    if record != *known {
        return Some(Due::Record(Box::new(record)));
    }
    let mut placement = table.placement.value.clone();
    let mut changed = false;
    for partition in synced {
        changed |= placement.joined(*partition, me);
    }
    changed.then_some(Due::Placement(placement))
}

/// How this hub's store stands.
fn standing(
    table: &Table,
    known: &HubRecord,
    incarnation: Incarnation,
    synced: &BTreeSet<Partition>,
) -> StoreRecord {
    let was_full = known.store.is_some_and(|store| store.full && store.incarnation == incarnation);
    if was_full {
        return StoreRecord { incarnation, full: true };
    }
    let placement = &table.placement.value;
    let mine = shares(placement, known.node);
    let others = |partition: &Partition| {
        let assignment = placement.of(*partition);
        assignment.is_some_and(|assignment| assignment.replicas.iter().any(|node| *node != known.node))
    };
    let nobody_else = !mine.is_empty() && !mine.iter().any(others);
    // A member that keeps nothing has nothing to wait for.
    let settled = known.state == HubState::Member && placement.version > 0 && placement.moving() == 0;
    let has_all = if mine.is_empty() { settled } else { mine.is_subset(synced) };
    StoreRecord { incarnation, full: nobody_else || has_all }
}

/// Says it, until the shutdown.
pub async fn run(
    cluster: Cluster,
    mut own: watch::Receiver<Own>,
    synced: Synced,
    places: Places,
    shutdown: Shutdown,
) {
    let mut tables = cluster.tables();
    let mut seeds = None;
    loop {
        let table = Arc::clone(&tables.borrow_and_update());
        let now = own.borrow_and_update().clone();
        keep_seeds(&places, &table, cluster.me(), &mut seeds).await;
        let has = synced.of(&table.placement.value, cluster.me());
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
    fn said(table: &mut Table, own: &Own, synced: &BTreeSet<Partition>) -> StoreRecord {
        while let Some(due) = due(table, ME, own, synced) {
            match due {
                Due::Record(record) => table.hubs.get_mut(&ME).unwrap().value = *record,
                Due::Placement(placement) => table.placement.value = placement,
            }
        }
        table.hub(ME).unwrap().store.unwrap()
    }

    #[test]
    fn the_store_of_a_hub_that_is_alone_is_full_also_after_it_was_lost() {
        let mut table = table(&[2]);
        let none = BTreeSet::new();
        assert!(said(&mut table, &own(7), &none).full);
        let lost = said(&mut table, &own(8), &none);
        assert_eq!(lost, StoreRecord { incarnation: Incarnation::new(8), full: true });
    }

    #[test]
    fn a_lost_store_counts_again_when_every_partition_is_synced() {
        let mut table = table(&[1, 2]);
        let mut synced = BTreeSet::new();
        assert!(!said(&mut table, &own(7), &synced).full);
        synced.extend(Partition::all().take(255));
        assert!(!said(&mut table, &own(7), &synced).full);
        synced.extend(Partition::all());
        assert!(said(&mut table, &own(7), &synced).full);
        assert!(
            said(&mut table, &own(7), &BTreeSet::new()).full,
            "it stays full when the process starts again"
        );
        assert!(!said(&mut table, &own(8), &BTreeSet::new()).full, "another life is another store");
    }

    #[test]
    fn a_hub_that_was_just_taken_in_joins_its_partitions_when_they_are_synced() {
        let mut table = table(&[1]);
        let newcomer = HubRecord { node: ME, name: "hub-2".into(), ..table.hub(NodeId(1)).unwrap().clone() };
        table.hubs.insert(ME, Dated { value: newcomer, revision: 2 });
        assert!(said(&mut table, &own(7), &BTreeSet::new()).full, "nothing is placed here, nothing moves");
        table.hubs.get_mut(&ME).unwrap().value.store = None;
        table.placement.value.begin(&target(&sites_of(&[1, 2]), 3));
        assert!(!said(&mut table, &own(7), &BTreeSet::new()).full);
        let all: BTreeSet<Partition> = Partition::all().collect();
        assert!(said(&mut table, &own(7), &all).full);
        assert_eq!(table.placement.value.moving(), 0);
        let reported = Synced::default();
        reported.report(all.clone());
        assert_eq!(reported.of(&table.placement.value, ME), all);
        assert_eq!(reported.of(&Placement::default(), ME), BTreeSet::new());
        assert_eq!(
            reported.of(&table.placement.value, ME),
            BTreeSet::new(),
            "what was given up is synced anew"
        );
    }

    #[test]
    fn a_name_that_another_hub_has_is_not_taken() {
        let mut table = table(&[1, 2]);
        let renamed = Own { name: "hub-1".into(), ..own(7) };
        said(&mut table, &renamed, &BTreeSet::new());
        assert_eq!(table.hub(ME).unwrap().name, "hub-2");
        let renamed = Own { name: "hub-9".into(), ..own(7) };
        said(&mut table, &renamed, &BTreeSet::new());
        assert_eq!(table.hub(ME).unwrap().name, "hub-9");
    }
}
