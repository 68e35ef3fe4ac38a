//! What the engine is told of the cluster: who keeps what, and whose store is full.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_host::Shutdown;
use millrace_hub_engine::{Event, HubStanding, Placed};
use millrace_model::{Incarnation, NodeId};
use tokio::sync::watch;

use super::upkeep::Own;
use super::{Cluster, Table};
use crate::driver::DriverHandle;
use crate::driver::input::Input;

/// The table in the engine's words. A hub whose store was never opened keeps nothing yet.
#[must_use]
pub fn placed(table: &Table, me: NodeId, store: Incarnation, epoch: u64) -> Placed {
    let standing = |record: &super::record::HubRecord| {
        let store = record.store.filter(|_| !record.witness)?;
        let (hub, region) = (record.hub, record.region.clone());
        Some((record.node, HubStanding { hub, region, store: store.incarnation, full: store.full }))
    };
    let hubs: BTreeMap<NodeId, HubStanding> = table.records().filter_map(standing).collect();
    Placed { me, store, epoch, placement: table.placement.value.clone(), hubs }
}

/// Tells the driver, at the start and whenever it changes, until the shutdown.
pub async fn run(cluster: Cluster, mut own: watch::Receiver<Own>, driver: DriverHandle, shutdown: Shutdown) {
    let mut tables = cluster.tables();
    let mut told = None;
    loop {
        let table = Arc::clone(&tables.borrow_and_update());
        // A witness keeps nothing, and its engine decides nothing.
        let Some(store) = own.borrow_and_update().store else { return };
        let now = placed(&table, cluster.me(), store, cluster.epoch());
        // A hub that was not taken in yet is alone in what it does.
        if table.hub(cluster.me()).is_some() && told.as_ref() != Some(&now) {
            told = Some(now.clone());
            if !driver.tell(Input::Event(Event::Placed(Box::new(now)))).await {
                return;
            }
        }
        tokio::select! {
            changed = tables.changed() => if changed.is_err() { return },
            // The sender lives as long as the hub.
            _ = own.changed() => {}
            () = shutdown.triggered() => return,
        }
    }
}
