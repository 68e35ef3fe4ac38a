//! What all machines share, outside of them: who is certified, where files lie, what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use millrace_hub_control::{Control, NodeId, Role};
use millrace_link::{
    Admission, CertificateAuthority, CertificateRequest, Clock, Identity, PeerIdentity, Role as PeerRole,
    Verdict,
};
use millrace_model::{HubId, Wall};
use millrace_sim::linear::History;
use tempfile::TempDir;

const NOW_S: i64 = 1_800_000_000;
const DAY_S: i64 = 86_400;
const LIFE: Duration = Duration::from_secs(30 * 86_400);

/// What clients do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    Founding,
    Work,
    Healed,
    Reading,
}

/// Lets everybody in whose certificate is good.
pub struct Anybody;

impl Admission for Anybody {
    fn admits(&self, _: &PeerIdentity) -> Verdict {
        Verdict::CurrentKey
    }
}

pub struct World {
    pub nodes: u64,
    pub history: History,
    identities: BTreeMap<NodeId, Identity>,
    directory: TempDir,
    wall_s: Arc<AtomicI64>,
    inner: Mutex<Inner>,
}

struct Inner {
    rng: fastrand::Rng,
    phase: Phase,
    clients: u64,
    /// Term, role, and whom each running node takes for the leader of a majority.
    seen: BTreeMap<NodeId, (u64, Role, Option<NodeId>)>,
    leaders: BTreeMap<u64, NodeId>,
    /// The latest term that anybody spoke of.
    term: u64,
    decided: BTreeSet<NodeId>,
    read: BTreeSet<NodeId>,
}

/// Memory, where there is a file system of it: simulated time does not wait for disks.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn wall(seconds: i64) -> Wall {
    Wall(seconds * 1_000_000)
}

impl World {
    pub fn new(seed: u64, nodes: u64) -> Self {
        // Older than any step of the clock goes back.
        let issued = wall(NOW_S - 5 * DAY_S);
        let ca = CertificateAuthority::fresh("cluster", issued).unwrap();
        let certify = |node| {
            let request = CertificateRequest::fresh().unwrap();
            let role = PeerRole::Hub(Self::hub(node));
            let certificate = ca.issue(request.csr_der(), role, "hub", LIFE, issued).unwrap();
            (node, Identity::granted(&request, &certificate, ca.certificate_pem()).unwrap())
        };
        let inner = Inner {
            rng: fastrand::Rng::with_seed(seed),
            phase: Phase::Founding,
            clients: 0,
            seen: BTreeMap::new(),
            leaders: BTreeMap::new(),
            term: 0,
            decided: BTreeSet::new(),
            read: BTreeSet::new(),
        };
        Self {
            nodes,
            history: History::new(),
            identities: (1..=nodes).map(certify).collect(),
            directory: directory(),
            wall_s: Arc::new(AtomicI64::new(NOW_S)),
            inner: Mutex::new(inner),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn hub(node: NodeId) -> HubId {
        HubId::from_bytes([u8::try_from(node).unwrap(); 16])
    }

    pub fn identity(&self, node: NodeId) -> Identity {
        self.identities[&node].clone()
    }

    pub fn directory(&self, node: NodeId) -> PathBuf {
        self.directory.path().join(format!("node{node}"))
    }

    pub fn clock(&self) -> Clock {
        let wall_s = Arc::clone(&self.wall_s);
        Arc::new(move || wall(wall_s.load(Ordering::SeqCst)))
    }

    pub fn step_clock(&self, seconds: i64) {
        self.wall_s.store(NOW_S + seconds, Ordering::SeqCst);
    }

    pub fn draw(&self) -> u64 {
        self.inner().rng.u64(..)
    }

    pub fn next_client(&self) -> u64 {
        let mut inner = self.inner();
        inner.clients += 1;
        inner.clients
    }

    pub fn phase(&self) -> Phase {
        self.inner().phase
    }

    pub fn enter(&self, phase: Phase) {
        self.inner().phase = phase;
    }

    /// A node tells where it stands. Invariant: a term has one leader, and nobody stops by itself.
    pub fn told(&self, control: &Control) {
        let (id, metrics) = (control.id(), control.metrics());
        let mut inner = self.inner();
        assert_ne!(metrics.role, Role::Stopped, "node {id} has stopped");
        if metrics.role == Role::Leader {
            let known = *inner.leaders.entry(metrics.term).or_insert(id);
            assert_eq!(known, id, "two leaders in term {}", metrics.term);
        }
        inner.term = inner.term.max(metrics.term);
        inner.seen.insert(id, (metrics.term, metrics.role, control.leader()));
    }

    /// The node that leads with a majority.
    pub fn leader(&self) -> Option<NodeId> {
        self.inner().seen.iter().find(|(id, (_, _, leader))| *leader == Some(**id)).map(|(id, _)| *id)
    }

    pub fn term(&self) -> u64 {
        self.inner().term
    }

    pub fn state(&self) -> String {
        let inner = self.inner();
        format!("{:?}, decided {:?}, read {:?}", inner.seen, inner.decided, inner.read)
    }

    pub fn decided(&self, id: NodeId) {
        self.inner().decided.insert(id);
    }

    pub fn has_read(&self, id: NodeId) {
        self.inner().read.insert(id);
    }

    pub fn all_decided(&self) -> bool {
        self.inner().decided.len() as u64 == self.nodes
    }

    pub fn all_read(&self) -> bool {
        self.inner().read.len() as u64 == self.nodes
    }

    /// The files of a node as they are at this moment; with lost power, as they are on a disk that lost what was not flushed:
    /// the state's write-ahead log, which is not flushed before it is taken into the file.
    pub fn image(&self, node: NodeId, lost_power: bool) -> PathBuf {
        let image = self.directory.path().join(format!("image{node}"));
        let _ = std::fs::remove_dir_all(&image);
        std::fs::create_dir_all(&image).unwrap();
        for file in std::fs::read_dir(self.directory(node)).unwrap() {
            let file = file.unwrap();
            let name = file.file_name();
            let lost = lost_power && name == "control-state.db-wal";
            if !lost && !name.to_string_lossy().ends_with("-shm") {
                std::fs::copy(file.path(), image.join(&name)).unwrap();
            }
        }
        image
    }

    /// A node is gone; its disk is what the image says.
    pub fn crashed(&self, node: NodeId, image: &Path) {
        self.inner().seen.remove(&node);
        std::fs::remove_dir_all(self.directory(node)).unwrap();
        std::fs::rename(image, self.directory(node)).unwrap();
    }
}
