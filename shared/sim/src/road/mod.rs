//! A real road: a UDP proxy on the loopback that can be cut, slowed and rebound, for demos and process tests.
//!
//! Whoever sends to [`Road::addr`] reaches the target through a socket of its own (a flow), as behind a NAT. Losses and
//! jitter are drawn from a seed; everything else is as real as the sockets.
//!
//! Promise: bounded. At most [`FLOWS_MAX`] flows, each with at most [`PACKETS_MAX`] packets under way; what is more is
//! lost, as on a real road. A flow without a packet for [`RoadOptions::idle`] is closed. Dropping a road closes it.
//! Absent: bandwidth limits.

mod flow;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Flows at once. A demo has a handful.
pub const FLOWS_MAX: usize = 1_024;

/// Packets of one flow that are under way at once. A QUIC connection at full speed over a slow road has some thousands.
pub const PACKETS_MAX: usize = 8_192;

/// Larger than any UDP datagram.
const DATAGRAM_BYTES: usize = 65_536;

/// The state of a road at its beginning.
#[derive(Clone, Copy, Debug)]
pub struct RoadOptions {
    /// Draws losses and jitter.
    pub seed: u64,
    /// Packets lost, in hundredths, each way.
    pub loss_percent: u8,
    /// Time from one end to the other.
    pub delay: Duration,
    /// Up to this much more, drawn for each packet, which reorders them.
    pub jitter: Duration,
    /// A flow without a packet for so long is closed.
    pub idle: Duration,
}

impl Default for RoadOptions {
    fn default() -> Self {
        let none = Duration::ZERO;
        Self { seed: 1, loss_percent: 0, delay: none, jitter: none, idle: Duration::from_secs(120) }
    }
}

/// What travelled, in bytes of datagrams that arrived at the far side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Towards the target.
    pub up_bytes: u64,
    /// From the target.
    pub down_bytes: u64,
    /// Datagrams lost, both ways.
    pub lost_packets: u64,
}

/// What all flows share.
#[derive(Debug)]
struct State {
    cut: AtomicBool,
    loss_percent: AtomicU64,
    delay_micros: AtomicU64,
    jitter_micros: AtomicU64,
    idle: Duration,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    lost_packets: AtomicU64,
    random: Mutex<fastrand::Rng>,
}

impl State {
    fn random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long a packet takes; `None` when it is lost.
    fn passage(&self) -> Option<Duration> {
        let loss = self.loss_percent.load(Ordering::Relaxed);
        let jitter = self.jitter_micros.load(Ordering::Relaxed);
        let (lost, late) = self.random(|random| (random.u64(0..100) < loss, random.u64(0..=jitter)));
        if lost || self.cut.load(Ordering::Relaxed) {
            self.lost_packets.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Duration::from_micros(self.delay_micros.load(Ordering::Relaxed) + late))
    }
}

/// A road to one target.
#[derive(Debug)]
pub struct Road {
    addr: SocketAddr,
    state: Arc<State>,
    rebinding: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Road {
    /// Opens a road to `target` on a free port of the loopback.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn start(target: SocketAddr, options: RoadOptions) -> io::Result<Self> {
        let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let addr = front.local_addr()?;
        let state = Arc::new(State {
            cut: AtomicBool::new(false),
            loss_percent: AtomicU64::new(u64::from(options.loss_percent)),
            delay_micros: AtomicU64::new(micros(options.delay)),
            jitter_micros: AtomicU64::new(micros(options.jitter)),
            idle: options.idle,
            up_bytes: AtomicU64::new(0),
            down_bytes: AtomicU64::new(0),
            lost_packets: AtomicU64::new(0),
            random: Mutex::new(fastrand::Rng::with_seed(options.seed)),
        });
        let (rebinding, rebound) = watch::channel(0);
        let task = tokio::spawn(carry(front, target, Arc::clone(&state), rebound));
        Ok(Self { addr, state, rebinding, task })
    }

    /// Where to send to.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on nothing gets through.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::Relaxed);
    }

    /// From now on everything gets through again.
    pub fn heal(&self) {
        self.state.cut.store(false, Ordering::Relaxed);
    }

    /// Whether it is cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.state.cut.load(Ordering::Relaxed)
    }

    /// Packets lost from now on, in hundredths, each way.
    pub fn set_loss(&self, percent: u8) {
        self.state.loss_percent.store(u64::from(percent), Ordering::Relaxed);
    }

    /// Time from one end to the other from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.state.delay_micros.store(micros(delay), Ordering::Relaxed);
    }

    /// Up to this much more for each packet from now on.
    pub fn set_jitter(&self, jitter: Duration) {
        self.state.jitter_micros.store(micros(jitter), Ordering::Relaxed);
    }

    /// All flows reach the target from another port from now on, as when a NAT forgets.
    pub fn rebind(&self) {
        self.rebinding.send_modify(|count| *count += 1);
    }

    /// What travelled so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic {
            up_bytes: self.state.up_bytes.load(Ordering::Relaxed),
            down_bytes: self.state.down_bytes.load(Ordering::Relaxed),
            lost_packets: self.state.lost_packets.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Hands each datagram to its sender's flow. A flow ends with its queue: when the road is dropped, or when it idled.
async fn carry(front: Arc<UdpSocket>, target: SocketAddr, state: Arc<State>, rebound: watch::Receiver<u64>) {
    let mut flows: BTreeMap<SocketAddr, mpsc::Sender<Vec<u8>>> = BTreeMap::new();
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        // An error here is an ICMP message of an earlier send, about one peer of many.
        let Ok((length, peer)) = front.recv_from(&mut buffer).await else { continue };
        let Some(packet) = buffer.get(..length) else { continue };
        if flows.get(&peer).is_none_or(mpsc::Sender::is_closed) {
            flows.retain(|_, flow| !flow.is_closed());
            if flows.len() >= FLOWS_MAX {
                state.lost_packets.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let (queue, packets) = mpsc::channel(PACKETS_MAX);
            let front = Arc::clone(&front);
            tokio::spawn(flow::run(front, peer, target, packets, Arc::clone(&state), rebound.clone()));
            flows.insert(peer, queue);
        }
        if let Some(flow) = flows.get(&peer)
            && flow.try_send(packet.to_vec()).is_err()
        {
            state.lost_packets.fetch_add(1, Ordering::Relaxed);
        }
    }
}
