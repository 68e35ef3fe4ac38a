//! Clients that use the keys of several hubs and write down what they saw.
//!
//! Promise: all times are of one clock; what a client asked of a hub that died counts as possible for ever.
//! Absent: faults.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_sim::linear::{Act, History};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::kv::{Kv, KvError};

/// What clients do.
#[derive(Debug, Clone)]
pub struct Load {
    /// The hubs' admin sockets.
    pub sockets: Vec<PathBuf>,
    /// How many clients.
    pub clients: usize,
    /// Registers that they share.
    pub keys: u64,
    /// Each register's name begins so.
    pub prefix: String,
    /// What their choices are drawn from.
    pub seed: u64,
    /// From when on time is counted.
    pub start: Instant,
    /// How long they go on.
    pub length: Duration,
}

impl Load {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What all clients share.
#[derive(Debug)]
struct Shared {
    load: Load,
    history: History,
    next: AtomicU64,
}

impl Shared {
    fn now(&self) -> u64 {
        self.load.now()
    }

    fn name(&self, key: u64) -> String {
        format!("{}{key}", self.load.prefix)
    }
}

/// Lets clients work. Returns what they saw.
pub async fn observe(load: Load) -> History {
    let history = History::new();
    let end = Instant::now() + load.length;
    let shared = Arc::new(Shared { load, history: history.clone(), next: AtomicU64::new(1) });
    let mut clients = JoinSet::new();
    for number in 0..shared.load.clients {
        clients.spawn(work(Arc::clone(&shared), number, end));
    }
    while clients.join_next().await.is_some() {}
    history
}

/// Reads every register at every hub, until each has answered or `patience` is over. Returns whether all have.
pub async fn read_all(load: &Load, history: &History, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    for (number, socket) in load.sockets.iter().enumerate() {
        let mut kv = Kv::new(socket.clone());
        for key in 0..load.keys {
            loop {
                let call = history.call(1_000 + number as u64, key, Act::Read(None), load.now());
                if let Ok(found) = kv.get(&format!("{}{key}", load.prefix)).await {
                    call.done(Act::Read(found.and_then(|text| text.parse().ok())), load.now());
                    break;
                }
                if Instant::now() > end {
                    return false;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    true
}

async fn work(shared: Arc<Shared>, number: usize, end: Instant) {
    let client = number as u64;
    let mut rng = fastrand::Rng::with_seed(shared.load.seed.wrapping_mul(1_000).wrapping_add(client));
    let mut hubs: Vec<Kv> = shared.load.sockets.iter().cloned().map(Kv::new).collect();
    let mut at = number % hubs.len().max(1);
    while Instant::now() < end {
        let Some(hub) = hubs.get_mut(at) else { return };
        let key = rng.u64(..shared.load.keys.max(1));
        let value = shared.next.fetch_add(1, Ordering::Relaxed);
        let went_well = operate(&shared, hub, &mut rng, (client, key, value)).await;
        // A client stays with a hub that answers, and goes on to the next one when it does not.
        if !went_well {
            at = rng.usize(..shared.load.sockets.len());
        }
        sleep(Duration::from_millis(rng.u64(1..30))).await;
    }
}

async fn operate(
    shared: &Shared,
    hub: &mut Kv,
    rng: &mut fastrand::Rng,
    (client, key, value): (u64, u64, u64),
) -> bool {
    let (history, name) = (&shared.history, shared.name(key));
    match rng.u8(..10) {
        0..4 => {
            let call = history.call(client, key, Act::Read(None), shared.now());
            let Ok(found) = hub.get(&name).await else { return false };
            call.done(Act::Read(found.and_then(|text| text.parse().ok())), shared.now());
            true
        }
        4..8 => {
            let act = Act::Write(value);
            let call = history.call(client, key, act, shared.now());
            match hub.put(&name, &value.to_string()).await {
                Ok(()) => call.done(act, shared.now()),
                Err(KvError::Void(_)) => {
                    call.void();
                    return false;
                }
                Err(KvError::Unknown(_)) => return false,
            }
            true
        }
        _ => {
            let Ok(before) = hub.get_local(&name).await else { return false };
            let expected = before.as_ref().and_then(|text| text.parse().ok());
            let act = |held| Act::Swap(expected, value, held);
            let call = history.call(client, key, act(false), shared.now());
            match hub.swap(&name, before.as_deref(), &value.to_string()).await {
                Ok(held) => call.done(act(held), shared.now()),
                Err(KvError::Void(_)) => {
                    call.void();
                    return false;
                }
                Err(KvError::Unknown(_)) => return false,
            }
            true
        }
    }
}
