//! Hubs that are nothing but their peers: a door, a table, and an answer that repeats the question.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_link::{
    Accepted, Admission, CertificateAuthority, CertificateRequest, Listener, PeerIdentity, Role,
    ServerOptions, Verdict,
};
use millrace_model::{DeviceId, Wall};
use tokio::sync::Notify;

use super::super::*;
use crate::driver::input::Input;

pub(super) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
pub(super) const LIFE: Duration = Duration::from_secs(30 * 86_400);
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A road on which a dead hub is noticed soon.
pub(super) const ROAD: Road = Road {
    idle_timeout: Duration::from_millis(800),
    keep_alive: Duration::from_millis(100),
    ..Road::HUBS_NEAR
};

struct Everyone;

impl Admission for Everyone {
    fn admits(&self, _: &PeerIdentity) -> Verdict {
        Verdict::CurrentKey
    }
}

/// The committed table, the same for all hubs of a world.
pub(super) type Table = Arc<Mutex<BTreeMap<HubId, NodeId>>>;

pub(super) struct World {
    pub(super) ca: CertificateAuthority,
    pub(super) clock: Clock,
    pub(super) table: Table,
}

pub(super) fn hub_id(number: u8) -> HubId {
    HubId::from_bytes([number; 16])
}

impl World {
    pub(super) fn new() -> Self {
        let clock = Clock::system();
        let ca = CertificateAuthority::fresh("plant", clock.wall()).unwrap();
        Self { ca, clock, table: Table::default() }
    }

    fn certified(&self, role: Role, name: &str) -> Identity {
        let request = CertificateRequest::fresh().unwrap();
        let now: Wall = self.clock.wall();
        let certificate = self.ca.issue(request.csr_der(), role, name, LIFE, now).unwrap();
        Identity::granted(&request, &certificate, self.ca.certificate_pem()).unwrap()
    }

    pub(super) fn identity(&self, number: u8) -> Identity {
        self.certified(Role::Hub(hub_id(number)), &format!("hub-{number}"))
    }

    pub(super) fn device(&self) -> Identity {
        self.certified(Role::Device(DeviceId::from_bytes([9; 16])), "press-7")
    }

    /// Enters a hub into the table.
    pub(super) fn seat(&self, number: u8) {
        self.table.lock().unwrap().insert(hub_id(number), NodeId(u64::from(number)));
    }

    pub(super) fn unseat(&self, number: u8) {
        self.table.lock().unwrap().remove(&hub_id(number));
    }

    /// A hub of this number, in the table, that listens somewhere.
    pub(super) fn hub(&self, number: u8) -> Hub {
        self.seat(number);
        self.hub_at(self.identity(number), number, LOOPBACK)
    }

    pub(super) fn hub_at(&self, identity: Identity, number: u8, at: SocketAddr) -> Hub {
        let (driver, inputs) = DriverHandle::fake();
        Hub { inputs, ..self.hub_with(driver, identity, number, at) }
    }

    /// A hub over a driver that may be a real one.
    pub(super) fn hub_with(
        &self,
        driver: DriverHandle,
        identity: Identity,
        number: u8,
        at: SocketAddr,
    ) -> Hub {
        let clock = self.clock.clone();
        let wall = clock.clone();
        let options = ServerOptions::new(identity.clone(), Arc::new(Everyone), Arc::new(move || wall.wall()));
        let listener = Arc::new(Listener::bind(at, options).unwrap());
        let shutdown = Shutdown::manual();
        let (renew, shown) = watch::channel(identity);
        let me = hub_id(number);
        let parts = PeersParts { clock, identity: shown, road: ROAD, me, shutdown: shutdown.clone() };
        let peers = Peers::start(parts);
        let (_, inputs) = mpsc::channel(1);
        let (gossip, heard) = mpsc::channel(64);
        let (calls, table) = (Arc::<Echo>::default(), Arc::clone(&self.table));
        let node_of = move |hub: &HubId| table.lock().unwrap().get(hub).copied();
        peers.attach(Attendants {
            calls: Arc::clone(&calls) as Arc<dyn Answer>,
            driver,
            gossip,
            node_of: Arc::new(node_of),
        });
        let at = listener.local_addr().unwrap();
        let (door, inside) = (Arc::clone(&listener), peers.clone());
        tokio::spawn(async move {
            while let Some(Accepted::Session(connection)) = door.accept().await {
                let inside = inside.clone();
                tokio::spawn(async move { inside.serve(connection).await });
            }
        });
        Hub { node: NodeId(u64::from(number)), at, peers, listener, inputs, heard, calls, shutdown, renew }
    }
}

pub(super) struct Hub {
    pub(super) node: NodeId,
    pub(super) at: SocketAddr,
    pub(super) peers: Peers,
    pub(super) listener: Arc<Listener>,
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) heard: mpsc::Receiver<(NodeId, Bytes)>,
    pub(super) calls: Arc<Echo>,
    pub(super) shutdown: Shutdown,
    pub(super) renew: watch::Sender<Identity>,
}

impl Hub {
    pub(super) fn number(&self) -> u8 {
        u8::try_from(self.node.0).unwrap()
    }

    pub(super) fn address(&self) -> (NodeId, PeerAddress) {
        (self.node, PeerAddress { hub: hub_id(self.number()), addresses: vec![self.at.to_string()] })
    }

    pub(super) fn expects(&self, others: &[&Self]) {
        self.peers.expect(others.iter().map(|other| other.address()).collect());
    }

    pub(super) async fn ask(&self, other: &Self, question: &'static str) -> Result<Bytes, CallError> {
        self.peers.call(other.node, CallKind::Control, question.into(), PATIENCE).await
    }

    pub(super) fn link(&self, other: NodeId) -> PeerLink {
        self.peers.links().into_iter().find(|link| link.node == other).unwrap()
    }

    pub(super) async fn connected(&self, other: &Self) {
        until(|| self.link(other.node).connected).await;
    }

    pub(super) async fn input(&mut self) -> Input {
        soon(self.inputs.recv()).await.unwrap()
    }

    pub(super) async fn end(self) {
        self.shutdown.trigger();
        self.peers.close(CloseCode::Shutdown, "the hub stops").await;
        self.listener.close(CloseCode::Shutdown, "the hub stops").await;
    }
}

/// Repeats the question; waits first when the question is to wait.
#[derive(Default)]
pub(super) struct Echo {
    pub(super) release: Notify,
    pub(super) waiting: AtomicUsize,
    pub(super) callers: Mutex<Vec<Caller>>,
}

impl Answer for Echo {
    fn answer<'a>(&'a self, from: Caller, kind: CallKind, body: Bytes) -> Answered<'a> {
        Box::pin(async move {
            self.callers.lock().unwrap().push(from);
            if body.starts_with(b"wait") {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                self.release.notified().await;
            }
            if body.starts_with(b"refuse") {
                return Err(format!("no {kind} for you"));
            }
            if body.starts_with(b"large") {
                return Ok(Bytes::from(vec![0; millrace_wire::limits::CALL_BODY_MAX + 1]));
            }
            Ok(body)
        })
    }
}

/// Two hubs that are connected both ways.
pub(super) async fn pair(world: &World) -> (Hub, Hub) {
    let (one, two) = (world.hub(1), world.hub(2));
    one.expects(&[&two]);
    two.expects(&[&one]);
    one.connected(&two).await;
    two.connected(&one).await;
    (one, two)
}

/// Waits for something that is on its way, and fails when it does not come.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it did not come in time")
}

pub(super) async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
