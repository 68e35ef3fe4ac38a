//! Clients that use the cluster and write down what they saw.
//!
//! Promise: an operation is written down as done only when it was acknowledged, and as never done only when the cluster said
//! that it had no effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millrace_hub_control::kv::{Command, Compare, Op, Outcome, Relation, Target, Txn};
use millrace_hub_control::{ControlError, Level, NodeId};
use tokio::time::{Instant, sleep};

use super::Cluster;
use super::linear::{Act, Operation, is_linearizable};

#[derive(Clone)]
pub struct History {
    start: Instant,
    operations: Arc<Mutex<BTreeMap<u8, Vec<Operation>>>>,
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().unwrap())
}

fn text(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

impl History {
    pub fn new() -> Self {
        Self { start: Instant::now(), operations: Arc::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    fn note(&self, key: u8, act: Act, called: u64, known: bool) {
        let returned = known.then(|| self.now());
        self.operations.lock().unwrap().entry(key).or_default().push(Operation { act, called, returned });
    }

    /// One client at one node after the other, until `end`.
    pub async fn client(self, cluster: Cluster, number_of: u64, seed: u64, keys: u8, end: Instant) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut written = number_of << 32;
        while Instant::now() < end {
            let nodes = cluster.nodes();
            let (_, node) = &nodes[rng.usize(..nodes.len())];
            let key = rng.u8(..keys);
            let called = self.now();
            written += 1;
            match rng.u8(..10) {
                0..4 => {
                    if let Ok(read) = node.get(&[key], Level::Linearizable).await {
                        let found = read.value.map(|found| number(&found.value));
                        self.note(key, Act::Read(found), called, true);
                    }
                }
                4..8 => {
                    let put = Command::put(vec![key], text(written));
                    match node.propose(&put).await {
                        Ok(_) => self.note(key, Act::Write(written), called, true),
                        Err(ControlError::Unknown(_)) => self.note(key, Act::Write(written), called, false),
                        Err(_) => {}
                    }
                }
                _ => {
                    let before = node.get(&[key], Level::Local).await.unwrap().value;
                    let before = before.map(|found| number(&found.value));
                    let target = before.map_or(Target::Create(0), |value| Target::Value(text(value)));
                    let compare = Compare { key: vec![key].into(), relation: Relation::Equal, target };
                    let then = vec![Op::put(vec![key], text(written))];
                    let txn = Txn { compares: vec![compare], then, otherwise: vec![] };
                    match node.propose(&Command::Txn(txn)).await {
                        Ok(Outcome::Txn { held, .. }) => {
                            self.note(key, Act::Swap(before, written, held), called, true);
                        }
                        Ok(other) => panic!("{other:?}"),
                        Err(ControlError::Unknown(_)) => {
                            self.note(key, Act::Swap(before, written, false), called, false);
                        }
                        Err(_) => {}
                    }
                }
            }
            sleep(Duration::from_millis(rng.u64(1..60))).await;
        }
    }

    /// Reads everything once more, at every node.
    pub async fn read_all(&self, cluster: &Cluster, keys: u8) {
        for (id, node) in cluster.nodes() {
            for key in 0..keys {
                let called = self.now();
                let read = node.get(&[key], Level::Linearizable).await;
                let read = read.unwrap_or_else(|error| panic!("node {id}: {error}"));
                self.note(key, Act::Read(read.value.map(|found| number(&found.value))), called, true);
            }
        }
    }

    /// How many operations were acknowledged, after checking that they can be explained.
    pub fn check(&self) -> usize {
        let operations = self.operations.lock().unwrap();
        for (key, history) in operations.iter() {
            assert!(is_linearizable(history), "key {key} is not linearizable: {history:#?}");
        }
        operations.values().flatten().filter(|operation| operation.returned.is_some()).count()
    }

    pub fn node_ids(count: u64) -> Vec<NodeId> {
        (1..=count).collect()
    }
}
