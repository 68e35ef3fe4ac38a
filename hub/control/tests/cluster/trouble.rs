//! Faults, one after the other, drawn from a seed.

use std::time::Duration;

use millrace_hub_control::NodeId;
use tokio::time::{Instant, sleep};

use super::{Cluster, seconds};

/// Breaks something, for a while, again and again until `end`.
pub async fn trouble(cluster: Cluster, seed: u64, end: Instant) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while Instant::now() + seconds(6) < end {
        sleep(Duration::from_millis(rng.u64(500..2_500))).await;
        let ids: Vec<NodeId> = cluster.nodes().into_iter().map(|(id, _)| id).collect();
        let victim = rng.choice(&ids).copied().unwrap();
        let leader = cluster.leader().unwrap_or(victim);
        let others = |id| ids.iter().copied().filter(|other| *other != id).collect::<Vec<_>>();
        match rng.u8(..7) {
            0 => cluster.part(&[leader], &others(leader)),
            1 => cluster.part(&[victim], &others(victim)),
            2 => others(leader).into_iter().for_each(|other| cluster.cut_one_way(leader, other)),
            3 => others(victim).into_iter().for_each(|other| cluster.cut_one_way(other, victim)),
            4 => cluster.stall(leader),
            5 => cluster.lose(0.2),
            _ => {
                cluster.close(victim).await;
                sleep(Duration::from_millis(rng.u64(100..3_000))).await;
                cluster.open(victim).await;
            }
        }
        sleep(Duration::from_millis(rng.u64(500..4_000))).await;
        cluster.heal();
    }
}
