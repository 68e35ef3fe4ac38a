//! The place of this hub in its cluster: what of it makes the hub ready or not.
//!
//! Absent: what follows from it ([`crate::health`], [`crate::pulse`]).

use millrace_hub_control::Role;
use millrace_model::NodeId;

use crate::cluster::record::HubState;
use crate::cluster::{Cluster, Table, belonging};
use crate::health::InCluster;
use crate::peers::Peers;
use crate::pulse::{Need, Pulse};

/// How this hub stands in its cluster now.
pub(super) fn in_cluster(cluster: &Cluster, peers: &Peers) -> InCluster {
    let (control, me) = (cluster.control(), cluster.me());
    let quorum = control.quorum();
    let stopped = control.metrics().role == Role::Stopped;
    let votes = control.members().iter().any(|member| member.id == me.0 && member.votes);
    let answers: Vec<_> = peers.links().into_iter().map(|link| link.refused).collect();
    let lost = belonging::is_lost(&cluster.table(), me, quorum.is_ok(), &answers);
    InCluster {
        control: stopped.then(|| "it has stopped taking part in the cluster's decisions".to_owned()),
        lost,
        vote: match quorum {
            _ if lost => None,
            _ if !votes => Some("this hub is a witness, and has no vote yet".to_owned()),
            Err(error) => Some(format!("this hub is a witness, and there is nothing to vote on: {error}")),
            Ok(()) => None,
        },
    }
}

/// Says whether this hub is a member of its cluster.
pub(super) fn note_place(pulse: &Pulse, cluster: &Cluster, table: &Table) {
    pulse.lacks(Need::Table, no_member(table, cluster.me()).map(str::to_owned));
}

/// Why `me` is no member of its cluster, as the table knows it. Before it is in the table it knows of no device, and every one would be
/// refused; before it is a member agents are not told of it. How full its store is does not matter: what it takes it passes on.
fn no_member(table: &Table, me: NodeId) -> Option<&'static str> {
    match table.hub(me).map(|record| record.state) {
        Some(HubState::Member | HubState::Leaving) => None,
        Some(HubState::Joining) => {
            Some("this hub is being taken in: it is a member when the others have given it its vote")
        }
        None if table.gone.contains_key(&me) => Some(belonging::LOST),
        None => Some(
            "this hub is not in the table of its cluster yet: the others take it in when a majority of them is reached \
             from here; `millrace-hub members` at one of them shows how far it is",
        ),
    }
}

#[cfg(test)]
mod tests {
    use millrace_link::KeyHash;
    use millrace_model::{HubId, Incarnation, Wall};

    use super::*;
    use crate::cluster::Dated;
    use crate::cluster::record::{GoneRecord, HubRecord, StoreRecord};

    const ME: NodeId = NodeId(2);

    fn record(state: HubState, full: bool) -> HubRecord {
        HubRecord {
            node: ME,
            hub: HubId::default(),
            name: "hub-2".into(),
            region: "south".into(),
            addresses: Vec::new(),
            witness: false,
            control: Incarnation::new(1),
            store: Some(StoreRecord { incarnation: Incarnation::new(7), full }),
            state,
            joined_at: Wall(0),
            key: KeyHash::from_bytes([2; 32]),
        }
    }

    #[test]
    fn a_hub_is_ready_when_it_is_a_member_full_or_not_and_says_before_and_after_what_it_is() {
        let mut table = Table::default();
        let says = |table: &Table| no_member(table, ME).unwrap_or_default();
        assert!(says(&table).contains("not in the table"));
        let mut record = record(HubState::Joining, false);
        table.hubs.insert(ME, Dated { value: record.clone(), revision: 1 });
        assert!(says(&table).contains("being taken in"));
        record.state = HubState::Member;
        table.hubs.insert(ME, Dated { value: record, revision: 2 });
        assert_eq!(no_member(&table, ME), None);
        table.hubs.clear();
        table.gone.insert(ME, GoneRecord { hub: HubId::default(), name: "hub-2".into(), at: Wall(0) });
        assert!(says(&table).contains("removed from its cluster"));
    }

    #[test]
    fn what_the_table_says_of_a_store_counts_for_the_life_that_it_speaks_of() {
        let mut table = Table::default();
        table.hubs.insert(ME, Dated { value: record(HubState::Member, true), revision: 1 });
        let full = |life| table.store_of(ME, Some(Incarnation::new(life))).is_some_and(|store| store.full);
        assert_eq!((full(7), full(8)), (true, false));
        assert_eq!(table.store_of(ME, None), None, "a witness has none");
    }
}
