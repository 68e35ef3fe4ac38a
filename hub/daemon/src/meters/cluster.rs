//! The figures of the cluster, as this hub sees it.
//!
//! Promise: labels are states of hubs and numbers of hubs, both decided; a hub that is owed nothing any more is not listed.
//! Absent: gossip (`peers::gossip`), the links (`peers::figures`).

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_host::metrics::{Family, Gauge, LabelSet, Metrics, NameTaken};
use millrace_hub_control::{Control, Role};
use millrace_hub_engine::{Debt, Fullness};
use millrace_model::NodeId;

use crate::cluster::Table;
use crate::cluster::record::HubState;

/// By how far a hub has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash, LabelSet)]
pub struct ByState {
    /// `joining`, `member` or `leaving`.
    pub state: &'static str,
}

/// By hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash, LabelSet)]
pub struct ByNode {
    /// Its number, as `n3`.
    pub node: String,
}

/// The figures. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClusterMeters {
    quorum: Gauge,
    leads: Gauge,
    lost: Gauge,
    joint: Gauge,
    term: Gauge,
    age: Gauge<f64, AtomicU64>,
    members: Family<ByState, Gauge>,
    full: Gauge,
    unsynced: Gauge,
    lacking: Gauge,
    owed: Family<ByNode, Gauge>,
    creditors: Arc<Mutex<BTreeSet<NodeId>>>,
}

impl ClusterMeters {
    /// All at zero.
    ///
    /// # Errors
    /// When two have one name: a fault in the program.
    pub fn new(metrics: &Metrics) -> Result<Self, NameTaken> {
        Ok(Self {
            quorum: metrics.gauge("cluster_quorum", "Whether decisions can be made from here")?,
            leads: metrics.gauge("cluster_leads", "Whether this hub leads the decisions")?,
            lost: metrics.gauge("cluster_lost", "Whether this hub belongs to its cluster no more")?,
            joint: metrics.gauge("cluster_joint", "Whether a change of the voters is half done")?,
            term: metrics.gauge("cluster_term", "Term of the decisions: it rises with each election")?,
            age: metrics.register(
                "cluster_age_seconds",
                "Since when this hub has not heard of its leader, or, leading itself, of a majority",
                Gauge::default(),
            )?,
            members: metrics.gauges("cluster_members", "Hubs in the table, by state")?,
            full: metrics
                .gauge("cluster_store_full", "Whether this hub's store is decided to be full and counts")?,
            unsynced: metrics
                .gauge("cluster_unsynced_partitions", "Partitions of this hub that are not synced")?,
            lacking: metrics
                .gauge("cluster_lacking_records", "Records that others told of and that are not here")?,
            owed: metrics
                .gauges("cluster_owed_records", "Records that this hub owes another one, by its number")?,
            creditors: Arc::default(),
        })
    }

    /// How things stand in the consensus and in the table. `full`: whether the table calls this hub's present store full.
    pub fn stand(&self, control: &Control, table: &Table, lost: bool, full: bool) {
        let metrics = control.metrics();
        self.quorum.set(i64::from(control.quorum().is_ok()));
        self.leads.set(i64::from(metrics.role == Role::Leader));
        self.lost.set(i64::from(lost));
        self.joint.set(i64::from(metrics.joint));
        self.term.set(i64::try_from(metrics.term).unwrap_or(i64::MAX));
        self.age.set(metrics.age.as_secs_f64());
        self.full.set(i64::from(full));
        for state in [HubState::Joining, HubState::Member, HubState::Leaving] {
            let count = table.records().filter(|record| record.state == state).count();
            self.members.get_or_create(&ByState { state: state.name() }).set(signed(count as u64));
        }
    }

    /// What is missing here, and elsewhere.
    pub fn replicate(&self, fullness: Fullness, owed: &[Debt]) {
        let unsynced = fullness.partitions.saturating_sub(fullness.synced);
        self.unsynced.set(signed(unsynced as u64));
        self.lacking.set(signed(fullness.lacking));
        let by = |node: &NodeId| ByNode { node: node.to_string() };
        let now: BTreeSet<NodeId> = owed.iter().map(|debt| debt.node).collect();
        let mut creditors = self.creditors.lock().unwrap_or_else(PoisonError::into_inner);
        for node in creditors.difference(&now) {
            self.owed.remove(&by(node));
        }
        for debt in owed {
            self.owed.get_or_create(&by(&debt.node)).set(signed(debt.records));
        }
        *creditors = now;
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use millrace_host::Clock;
    use millrace_model::Wall;

    use super::*;
    use crate::registry::tests::lone;

    #[tokio::test]
    async fn a_hub_that_left_is_listed_no_more_and_a_hub_alone_has_its_quorum() {
        let dir = tempfile::tempdir().unwrap();
        let registry = lone(dir.path()).await;
        let cluster = registry.cluster();
        let metrics = Metrics::new("millrace_hub", Clock::manual(Wall(0)).0);
        let meters = ClusterMeters::new(&metrics).unwrap();
        meters.stand(cluster.control(), &cluster.table(), false, true);
        let debt =
            |node| Debt { node: NodeId(node), connected: true, full: true, records: 7, bytes_under_way: 0 };
        let fullness = Fullness { partitions: 256, synced: 250, lacking: 12 };
        meters.replicate(fullness, &[debt(2), debt(3)]);
        meters.replicate(fullness, &[debt(3)]);
        let text = metrics.render();
        for line in [
            "millrace_hub_cluster_quorum 1",
            "millrace_hub_cluster_leads 1",
            "millrace_hub_cluster_lost 0",
            "millrace_hub_cluster_age_seconds 0.0",
            "millrace_hub_cluster_members{state=\"member\"} 1",
            "millrace_hub_cluster_store_full 1",
            "millrace_hub_cluster_unsynced_partitions 6",
            "millrace_hub_cluster_lacking_records 12",
            "millrace_hub_cluster_owed_records{node=\"n3\"} 7",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("n2"), "{text}");
        cluster.close().await;
    }
}
