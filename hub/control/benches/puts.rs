//! Puts per second, and how long one takes: three nodes in one process, each with files of its own that are really flushed,
//! and a network that costs nothing but the encoding of its messages.
//!
//! `cargo bench -p millrace-hub-control --bench puts` prints a table and one line of JSON per row. `PUTS_SECONDS` (5) and
//! `PUTS_CLIENTS` (`1,64,512`) change what is measured, `PUTS_PIPELINE` how many entries are under way, `TMPDIR` where. Each client puts 128 bytes under a key of its own and
//! waits for the answer before it goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_hub_control::kv::Command;
use millrace_hub_control::{Call, Control, Member, NodeId, Options, Seat, Transport, TransportError};

type Nodes = Arc<Mutex<BTreeMap<NodeId, Control>>>;

struct Port {
    nodes: Nodes,
    me: NodeId,
}

impl Transport for Port {
    fn call<'a>(&'a self, node: NodeId, member: &'a Member, request: Bytes) -> Call<'a> {
        let target = self.nodes.lock().unwrap().get(&node).cloned();
        Box::pin(async move {
            let target = target.ok_or_else(|| TransportError::Unreachable(member.address.clone()))?;
            Ok(target.receive(Some(self.me), request).await)
        })
    }
}

async fn cluster(directory: &std::path::Path) -> Nodes {
    let nodes: Nodes = Arc::default();
    let mut options = Options::lan();
    if let Ok(pipeline) = std::env::var("PUTS_PIPELINE") {
        options.pipeline = pipeline.parse().unwrap();
    }
    let member = |id| Member { incarnation: id, address: format!("node {id}"), ..Member::default() };
    for id in 1..=3 {
        let directory = directory.join(format!("node{id}"));
        let seat = Seat { id, incarnation: id, epoch: 1, directory, seed: id, inline: false };
        let port = Arc::new(Port { nodes: Arc::clone(&nodes), me: id });
        let control = Control::open(seat, options.clone(), port).await.unwrap();
        nodes.lock().unwrap().insert(id, control);
    }
    let first = nodes.lock().unwrap()[&1].clone();
    first.found((1..=3).map(|id| (id, member(id))).collect()).await.unwrap();
    while first.leader() != Some(1) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    nodes
}

async fn client(node: Control, number: usize, end: Instant) -> Vec<u32> {
    let mut taken = Vec::new();
    let value = Bytes::from(vec![b'v'; 128]);
    while Instant::now() < end {
        let start = Instant::now();
        let key = format!("bench/{number}/{}", taken.len() % 100);
        node.propose(&Command::put(key, value.clone())).await.unwrap();
        taken.push(u32::try_from(start.elapsed().as_micros()).unwrap());
    }
    taken
}

async fn measure(nodes: &Nodes, clients: usize, at_follower: bool, length: Duration) {
    let node = nodes.lock().unwrap()[&if at_follower { 2 } else { 1 }].clone();
    let end = Instant::now() + length;
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients).map(|number| tokio::spawn(client(node.clone(), number, end))).collect();
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await.unwrap());
    }
    let seconds = start.elapsed().as_secs_f64();
    taken.sort_unstable();
    let at = |percent: usize| f64::from(taken[(taken.len() - 1) * percent / 100]) / 1_000.0;
    let (rate, p50, p99) = (taken.len() as f64 / seconds, at(50), at(99));
    let asked = if at_follower { "follower" } else { "leader" };
    println!("{clients:>8} {asked:>9} {rate:>12.0} {p50:>10.3} {p99:>10.3}");
    println!(
        "{{\"bench\":\"control-puts\",\"nodes\":3,\"clients\":{clients},\"asked\":\"{asked}\",\"puts_per_second\":{rate:.0},\
         \"p50_ms\":{p50:.3},\"p99_ms\":{p99:.3}}}"
    );
}

fn main() {
    let seconds = std::env::var("PUTS_SECONDS").map_or(5, |text| text.parse().unwrap());
    let clients = std::env::var("PUTS_CLIENTS").unwrap_or_else(|_| "1,64,512".to_owned());
    let clients: Vec<usize> = clients.split(',').map(|text| text.trim().parse().unwrap()).collect();
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let nodes = cluster(directory.path()).await;
        println!("{:>8} {:>9} {:>12} {:>10} {:>10}", "clients", "asked", "puts/s", "p50 ms", "p99 ms");
        for count in clients {
            for at_follower in [false, true] {
                measure(&nodes, count, at_follower, Duration::from_secs(seconds)).await;
            }
        }
        let all: Vec<Control> = nodes.lock().unwrap().values().cloned().collect();
        for node in all {
            node.close().await;
        }
        nodes.lock().unwrap().clear();
    });
}
