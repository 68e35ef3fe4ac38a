//! Clients that use the cluster and write down what they saw.

use std::time::Duration;

use millrace_sim::linear;
use tokio::time::{Instant, sleep};

use super::Cluster;
use super::operating::{operate, read};

#[derive(Clone)]
pub struct History {
    start: Instant,
    seen: linear::History,
}

impl History {
    pub fn new() -> Self {
        Self { start: Instant::now(), seen: linear::History::new() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    /// One client at one node after the other, until `end`.
    pub async fn client(self, cluster: Cluster, number_of: u64, seed: u64, keys: u8, end: Instant) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut written = number_of << 32;
        while Instant::now() < end {
            let nodes = cluster.nodes();
            let (_, node) = &nodes[rng.usize(..nodes.len())];
            let key = rng.u8(..keys);
            written += 1;
            operate(node, &mut rng, &self.seen, (number_of, key, written), || self.now()).await;
            sleep(Duration::from_millis(rng.u64(1..60))).await;
        }
    }

    /// Reads everything once more, at every node.
    pub async fn read_all(&self, cluster: &Cluster, keys: u8) {
        for (id, node) in cluster.nodes() {
            for key in 0..keys {
                assert!(read(&node, &self.seen, 0, key, || self.now()).await, "node {id} cannot be read");
            }
        }
    }

    /// How many operations were acknowledged, after checking that they can be explained.
    pub fn check(&self) -> usize {
        let verdict = self.seen.judge();
        assert!(verdict.is_linearizable(), "{verdict}");
        verdict.acknowledged
    }
}
