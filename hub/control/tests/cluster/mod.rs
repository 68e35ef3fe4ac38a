//! A cluster in one process under simulated time: nodes over a network that breaks on command.
//!
//! Promise: delays, losses and the choices of a scenario are drawn from one seed. Messages that are under way when a link is
//! cut are lost; a request that was delivered takes its course even when nobody waits for its answer any more.
//! Absent: byte-for-byte repeatability; tokio's own scheduling is not seeded.
#![allow(dead_code, unreachable_pub)]

pub mod history;
#[path = "../operating/mod.rs"]
mod operating;
pub mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millrace_hub_control::kv::Store;
use millrace_hub_control::{
    Call, Control, Level, Member, NodeId, OpenError, Options, Role, Seat, Transport, TransportError,
};
use tokio::time::{Instant, sleep};

pub const EPOCH: u64 = 7;

/// Damages the last pieces of snapshots to a node on their way.
pub struct Spoil {
    pub to: NodeId,
    /// How many more.
    pub left: u32,
}

/// What a test may change.
pub struct State {
    pub nodes: BTreeMap<NodeId, Control>,
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub stalled: BTreeSet<NodeId>,
    /// Whose connections the others cannot tell from a stranger's.
    pub strangers: BTreeSet<NodeId>,
    pub loss: f64,
    /// Requests with more bytes are lost.
    pub bytes_max: usize,
    /// Bytes of the largest request.
    pub bytes_seen: usize,
    pub delay_ms: (u64, u64),
    pub spoil: Option<Spoil>,
    rng: fastrand::Rng,
    leaders: BTreeMap<u64, NodeId>,
}

/// The network, and the nodes in it.
#[derive(Clone)]
pub struct Cluster {
    state: Arc<Mutex<State>>,
    directory: Arc<tempfile::TempDir>,
    pub options: Options,
    /// Whether nodes have threads of their own, as in production: only in real time.
    pub threads: bool,
}

struct Port {
    cluster: Cluster,
    me: NodeId,
}

/// Memory, where there is a file system of it: simulated time does not wait for disks.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How many seeds a scenario runs under; `MILLRACE_SEEDS` asks for more.
pub fn seeds(usual: u64) -> u64 {
    std::env::var("MILLRACE_SEEDS").map_or(usual, |text| text.parse().unwrap())
}

pub fn member(id: NodeId) -> Member {
    Member {
        incarnation: 1_000 + id,
        address: format!("hub{id}:7443"),
        region: format!("region{}", id % 3),
        witness: false,
    }
}

impl Cluster {
    pub fn new(seed: u64, options: Options) -> Self {
        let state = State {
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            strangers: BTreeSet::new(),
            loss: 0.0,
            bytes_max: usize::MAX,
            bytes_seen: 0,
            delay_ms: (1, 4),
            spoil: None,
            rng: fastrand::Rng::with_seed(seed),
            leaders: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), directory: Arc::new(directory()), options, threads: false }
    }

    /// Opens nodes 1 to `count` and founds a cluster of them.
    pub async fn founded(seed: u64, count: u64, options: Options) -> Self {
        Self::new(seed, options).found(count).await
    }

    pub async fn found(self, count: u64) -> Self {
        let cluster = self;
        for id in 1..=count {
            cluster.open(id).await;
        }
        let members = (1..=count).map(|id| (id, member(id))).collect();
        cluster.node(1).found(members).await.unwrap();
        cluster.wait_for_leader().await;
        cluster.settle().await;
        cluster
    }

    pub fn seat(&self, id: NodeId) -> Seat {
        let seed = self.with(|state| state.rng.u64(..));
        Seat {
            id,
            incarnation: 1_000 + id,
            epoch: EPOCH,
            directory: self.directory.path().join(format!("node{id}")),
            seed,
            inline: !self.threads,
        }
    }

    pub async fn try_open(&self, seat: Seat) -> Result<Control, OpenError> {
        let port = Arc::new(Port { cluster: self.clone(), me: seat.id });
        Control::open(seat, self.options.clone(), port).await
    }

    pub async fn open(&self, id: NodeId) {
        // Tasks of a node that was closed may hold its files for a moment.
        for _ in 0..100 {
            match self.try_open(self.seat(id)).await {
                Ok(control) => {
                    self.with(|state| state.nodes.insert(id, control));
                    return;
                }
                Err(OpenError::Log(error)) if error.to_string().contains("in use") => {
                    sleep(Duration::from_millis(100)).await;
                }
                Err(error) => panic!("node {id}: {error}"),
            }
        }
        panic!("node {id} stays in use");
    }

    pub async fn close(&self, id: NodeId) {
        let control = self.with(|state| state.nodes.remove(&id)).unwrap();
        control.close().await;
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub fn node(&self, id: NodeId) -> Control {
        self.with(|state| state.nodes.get(&id).cloned()).unwrap()
    }

    pub fn nodes(&self) -> Vec<(NodeId, Control)> {
        self.with(|state| state.nodes.iter().map(|(id, node)| (*id, node.clone())).collect())
    }

    /// Cuts every link between the two sides.
    pub fn part(&self, one: &[NodeId], other: &[NodeId]) {
        for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
            self.cut_one_way(a, b);
            self.cut_one_way(b, a);
        }
    }

    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.with(|state| state.cut.insert((from, to)));
    }

    /// Holds back everything from and to a node, until [`Cluster::heal`].
    pub fn stall(&self, id: NodeId) {
        self.with(|state| state.stalled.insert(id));
    }

    pub fn heal(&self) {
        self.with(|state| {
            state.cut.clear();
            state.stalled.clear();
            state.strangers.clear();
            state.loss = 0.0;
            state.bytes_max = usize::MAX;
        });
    }

    pub fn lose(&self, loss: f64) {
        self.with(|state| state.loss = loss);
    }

    /// The node that leads with a majority.
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |(id, node): (NodeId, Control)| (node.leader() == Some(id)).then_some(id);
        self.nodes().into_iter().find_map(leads)
    }

    pub async fn wait_for_leader(&self) -> NodeId {
        self.wait_for("a leader", || self.leader()).await
    }

    pub async fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{what} does not come");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until all nodes have applied the same entries.
    pub async fn settle(&self) {
        self.wait_for("agreement", || {
            let applied: BTreeSet<_> = self
                .nodes()
                .iter()
                .map(|(_, node)| (node.metrics().applied, node.metrics().last_log))
                .collect();
            let one = applied.iter().next().copied();
            (applied.len() == 1 && one.is_some_and(|(applied, last)| applied == last)).then_some(())
        })
        .await;
    }

    /// Invariant: the same entries lead to the same state at every node.
    pub async fn agree(&self) {
        self.settle().await;
        let mut states: Vec<Store> = Vec::new();
        for (_, node) in self.nodes() {
            states.push(node.read(Level::Local, Clone::clone).await.unwrap().value);
        }
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]));
    }

    /// Invariant: a term has one leader. Call it often.
    pub fn check_leaders(&self) {
        for (id, node) in self.nodes() {
            let metrics = node.metrics();
            assert_ne!(metrics.role, Role::Stopped, "node {id} has stopped");
            if metrics.role == Role::Leader {
                let known = self.with(|state| *state.leaders.entry(metrics.term).or_insert(id));
                assert_eq!(known, id, "two leaders in term {}", metrics.term);
            }
        }
    }
}

/// Whether a request carries a piece of a snapshot: its kind stands behind a version and five numbers (`envelope.rs`).
fn is_snapshot(request: &[u8]) -> bool {
    let ends = request.iter().enumerate().skip(1).filter(|(_, byte)| **byte < 0x80);
    ends.map(|(at, _)| at).nth(4).and_then(|end| request.get(end + 1)) == Some(&3)
}

impl Port {
    /// The time on the way, unless the message is lost.
    fn travel(&self, from: NodeId, to: NodeId) -> Option<Duration> {
        self.cluster.with(|state| {
            let (least, most) = state.delay_ms;
            let delay = Duration::from_micros(state.rng.u64(least * 1_000..=most * 1_000));
            let loss = state.loss;
            let lost = state.cut.contains(&(from, to)) || state.rng.f64() < loss;
            (!lost).then_some(delay)
        })
    }

    /// The request as it arrives. Damage hits the last byte of a snapshot's piece; a flag stands behind it.
    fn deliver(&self, to: NodeId, request: Bytes) -> Bytes {
        self.cluster.with(|state| match &mut state.spoil {
            Some(spoil) if spoil.to == to && spoil.left > 0 && is_snapshot(&request) => {
                spoil.left -= 1;
                let mut bytes = request.to_vec();
                let last = bytes.len() - 2;
                bytes[last] ^= 1;
                bytes.into()
            }
            _ => request,
        })
    }

    async fn carry(&self, from: NodeId, to: NodeId) {
        match self.travel(from, to) {
            Some(delay) => sleep(delay).await,
            None => std::future::pending().await,
        }
        while self.cluster.with(|state| state.stalled.contains(&from) || state.stalled.contains(&to)) {
            sleep(Duration::from_millis(20)).await;
        }
        if self.cluster.with(|state| state.cut.contains(&(from, to))) {
            std::future::pending::<()>().await;
        }
    }
}

impl Transport for Port {
    fn call<'a>(&'a self, node: NodeId, member: &'a Member, request: Bytes) -> Call<'a> {
        let (cluster, me, address) = (self.cluster.clone(), self.me, member.address.clone());
        // A task of its own: what was sent arrives, also when the sender gives up.
        let task = tokio::spawn(async move {
            let port = Port { cluster, me };
            let fits = port.cluster.with(|state| {
                state.bytes_seen = state.bytes_seen.max(request.len());
                request.len() <= state.bytes_max
            });
            if !fits {
                std::future::pending::<()>().await;
            }
            port.carry(me, node).await;
            let target = port.cluster.with(|state| state.nodes.get(&node).cloned());
            let target = target.ok_or(TransportError::Unreachable(address))?;
            let known = port.cluster.with(|state| !state.strangers.contains(&me));
            let answer = target.receive(known.then_some(me), port.deliver(node, request)).await;
            drop(target);
            port.carry(node, me).await;
            Ok(answer)
        });
        Box::pin(
            async move { task.await.unwrap_or_else(|error| Err(TransportError::Failed(error.to_string()))) },
        )
    }
}
