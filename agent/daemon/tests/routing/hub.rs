//! Hubs that take everything, and say what a test makes them say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_host::Clock;
use millrace_link::{
    Accepted, Admission, CertificateAuthority, CertificateRequest, CloseCode, Connection, Identity, Listener,
    PeerIdentity, Role, ServerOptions, Verdict,
};
use millrace_model::{AckLevel, HubId, RangeSet, SeqRange, Wall};
use millrace_sim::{Road, RoadOptions};
use millrace_wire::limits::FRAME_MAX;
use millrace_wire::{Ack, Acks, Frame, Goodbye, GoodbyeCode, HubEndpoint, Hubs, Welcome, decode, encode};
use tokio::sync::{broadcast, watch};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// How long anything may take before a test fails. Nothing here takes a tenth of it on a machine that is not busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What happened at a hub so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Sessions that were taken in.
    pub(crate) welcomes: usize,
    /// Sessions that are open.
    pub(crate) open: usize,
    /// Connections that only measured the road.
    pub(crate) measured: usize,
    /// Records that came.
    pub(crate) records: u64,
    /// With what sessions ended.
    pub(crate) ends: Vec<CloseCode>,
}

pub(crate) struct Cluster {
    pub(crate) ca: CertificateAuthority,
}

pub(crate) struct Hub {
    pub(crate) endpoint: HubEndpoint,
    pub(crate) road: Road,
    pub(crate) seen: watch::Receiver<Seen>,
    pub(crate) listener: Arc<Listener>,
    told: Arc<Mutex<Vec<HubEndpoint>>>,
    says: broadcast::Sender<Frame>,
}

struct Everyone;

impl Admission for Everyone {
    fn admits(&self, _peer: &PeerIdentity) -> Verdict {
        Verdict::CurrentKey
    }
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self { ca: CertificateAuthority::fresh("plant", Clock::system().wall()).unwrap() }
    }

    pub(crate) fn identity(&self, role: Role, name: &str) -> Identity {
        let request = CertificateRequest::fresh().unwrap();
        let now = Clock::system().wall();
        let certificate = self.ca.issue(request.csr_der(), role, name, DAY, now).unwrap();
        Identity::granted(&request, &certificate, self.ca.certificate_pem()).unwrap()
    }

    pub(crate) async fn hub(&self, number: u8) -> Hub {
        let (hub, name) = (HubId::from_bytes([number; 16]), format!("hub-{number}"));
        let clock = Arc::new(|| Clock::system().wall());
        let options = ServerOptions::new(self.identity(Role::Hub(hub), &name), Arc::new(Everyone), clock);
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = Arc::new(Listener::bind(loopback, options).unwrap());
        let road = Road::start(listener.local_addr().unwrap(), RoadOptions::default()).await.unwrap();
        let endpoint = HubEndpoint {
            hub,
            name,
            region: format!("region-{number}"),
            addresses: vec![road.addr().to_string()],
            load_permille: 0,
            draining: false,
            replica: true,
        };
        let (count, seen) = watch::channel(Seen::default());
        let (says, _) = broadcast::channel(16);
        let told = Arc::new(Mutex::new(vec![endpoint.clone()]));
        let desk = Desk {
            endpoint: endpoint.clone(),
            told: Arc::clone(&told),
            says: says.clone(),
            count: Arc::new(count),
        };
        let door = Arc::clone(&listener);
        tokio::spawn(async move {
            while let Some(accepted) = door.accept().await {
                if let Accepted::Session(connection) = accepted {
                    tokio::spawn(desk.clone().serve(connection));
                }
            }
        });
        Hub { endpoint, road, seen, listener, told, says }
    }
}

impl Hub {
    /// Tells agents of these hubs from now on; those that are connected at once.
    pub(crate) fn tell(&self, hubs: &[HubEndpoint]) {
        *self.told.lock().unwrap() = hubs.to_vec();
        let _nobody = self.says.send(Frame::Hubs(Hubs { hubs: hubs.to_vec() }));
    }

    /// Says goodbye to all agents.
    pub(crate) fn dismiss(&self, code: GoodbyeCode) {
        let goodbye = Goodbye { code, reason: "because".to_owned(), retry_after_ms: 60_000 };
        let _nobody = self.says.send(Frame::Goodbye(goodbye));
    }

    /// Waits until what happened here is as wished.
    pub(crate) async fn until(&mut self, wish: impl FnMut(&Seen) -> bool) -> Seen {
        let wished = tokio::time::timeout(PATIENCE, self.seen.wait_for(wish)).await;
        match wished.map(|seen| seen.unwrap().clone()) {
            Ok(seen) => seen,
            Err(_) => panic!("{} saw only {:?}", self.endpoint.name, self.seen.borrow().clone()),
        }
    }
}

/// Tells each of these hubs of all of them.
pub(crate) fn introduce(hubs: &[&Hub]) {
    let all: Vec<HubEndpoint> = hubs.iter().map(|hub| hub.endpoint.clone()).collect();
    hubs.iter().for_each(|hub| hub.tell(&all));
}

#[derive(Clone)]
struct Desk {
    endpoint: HubEndpoint,
    told: Arc<Mutex<Vec<HubEndpoint>>>,
    says: broadcast::Sender<Frame>,
    count: Arc<watch::Sender<Seen>>,
}

impl Desk {
    async fn serve(self, connection: Connection) {
        let mut said = self.says.subscribe();
        let welcomed = tokio::select! {
            control = connection.accept_bi() => control.ok(),
            _ = connection.closed() => None,
        };
        let Some((mut control, mut hellos)) = welcomed else {
            let code = connection.closed().await.code;
            return self.count.send_modify(|seen| seen.measured += usize::from(code == CloseCode::Measured));
        };
        let Ok(Some(hello)) = hellos.next(FRAME_MAX).await else { return };
        assert!(matches!(decode(&hello), Ok(Frame::Hello(_))));
        let hubs = self.told.lock().unwrap().clone();
        let HubEndpoint { hub, name, region, .. } = self.endpoint.clone();
        let welcome = Welcome {
            session: 1,
            hub,
            name,
            region,
            time: Wall(0),
            holdings: Vec::new(),
            credit: 1 << 30,
            hubs,
            epoch: 1,
            complete: true,
            recalls: false,
        };
        let mut out = vec![Frame::Welcome(Box::new(welcome))];
        let (acks, mut acked) = tokio::sync::mpsc::channel(16);
        for _ in 0..2 {
            tokio::spawn(self.clone().read(connection.clone(), acks.clone()));
        }
        self.count.send_modify(|seen| (seen.welcomes, seen.open) = (seen.welcomes + 1, seen.open + 1));
        let end = loop {
            for frame in out.drain(..) {
                let leaves = matches!(frame, Frame::Goodbye(_));
                if control.send(encode(&frame).unwrap()).await.is_ok() && leaves {
                    let _gone = control.delivered().await;
                }
            }
            tokio::select! {
                end = connection.closed() => break end,
                Some(frame) = acked.recv() => out.push(frame),
                Ok(frame) = said.recv() => out.push(frame),
            }
        };
        self.count.send_modify(|seen| {
            seen.open -= 1;
            seen.ends.push(end.code);
        });
    }

    /// Takes what comes on one stream, and says that it is safe.
    async fn read(self, connection: Connection, acks: tokio::sync::mpsc::Sender<Frame>) {
        let Ok(mut inlet) = connection.accept_uni().await else { return };
        while let Ok(Some(bytes)) = inlet.next(FRAME_MAX).await {
            let Ok(Frame::Run(run)) = decode(&bytes) else { continue };
            let range = SeqRange::new(run.first, run.first + u64::from(run.count) - 1).unwrap();
            let ack = Ack { journal: run.journal, level: AckLevel::Quorum, ranges: RangeSet::from(range) };
            self.count.send_modify(|seen| seen.records += u64::from(run.count));
            let _over = acks.send(Frame::Acks(Acks { acks: vec![ack] })).await;
        }
    }
}
