//! The status of one source: what `/status`, `/readyz` and the metrics show of the MQTT side.
//!
//! Promise: counting takes no lock; a change of the connection can be awaited.
//! Absent: names of metrics, which the daemon owns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// A picture of one source at one moment. Counters start at 0 with the process.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct MqttStatus {
    /// Client: the session with the broker stands. Embedded broker: it listens.
    pub connected: bool,
    /// The last thing that went wrong, in words for the operator.
    pub last_error: Option<String>,
    /// Connections lost so far (client), connections that ended by an error (embedded broker).
    pub reconnects: u64,
    /// Publications taken from sockets, repeated QoS 2 ones not counted.
    pub received_total: u64,
    /// PUBACK and PUBREC packets sent.
    pub acked_total: u64,
    /// Payload bytes of `received_total`.
    pub bytes_total: u64,
    /// Embedded broker: clients connected now.
    pub clients: u64,
    /// Embedded broker: messages that a slow local subscriber did not get. Never readings on their way to the disk.
    pub forwards_dropped_total: u64,
    /// Client: publications that no configured subscription covers; they come from filters that the broker's
    /// session still holds from an older configuration.
    pub unmatched_total: u64,
    /// Connections refused: wrong password, too many clients, not MQTT.
    pub refused_total: u64,
}

/// What changes rarely and can be awaited.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Link {
    connected: bool,
    last_error: Option<String>,
}

/// The counters behind a [`MqttStatus`]. Clones share them.
#[derive(Clone, Debug)]
pub struct StatusHandle {
    counters: Arc<Counters>,
    link: Arc<watch::Sender<Link>>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) reconnects: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) clients: AtomicU64,
    pub(crate) forwards_dropped: AtomicU64,
    pub(crate) unmatched: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// Adds to a counter. Relaxed: a counter orders nothing.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl StatusHandle {
    pub(crate) fn new() -> Self {
        Self { counters: Arc::default(), link: Arc::new(watch::Sender::new(Link::default())) }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn connected(&self) {
        self.link.send_replace(Link { connected: true, last_error: None });
    }

    pub(crate) fn disconnected(&self, error: Option<String>) {
        self.link.send_modify(|link| {
            link.connected = false;
            link.last_error = error.or(link.last_error.take());
        });
    }

    pub(crate) fn troubled(&self, error: String) {
        self.link.send_modify(|link| link.last_error = Some(error));
    }

    /// The status now.
    #[must_use]
    pub fn snapshot(&self) -> MqttStatus {
        let link = self.link.borrow().clone();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MqttStatus {
            connected: link.connected,
            last_error: link.last_error,
            reconnects: read(&self.counters.reconnects),
            received_total: read(&self.counters.received),
            acked_total: read(&self.counters.acked),
            bytes_total: read(&self.counters.bytes),
            clients: read(&self.counters.clients),
            forwards_dropped_total: read(&self.counters.forwards_dropped),
            unmatched_total: read(&self.counters.unmatched),
            refused_total: read(&self.counters.refused),
        }
    }

    /// Waits until the source is connected (or not), as asked.
    pub async fn until_connected(&self, connected: bool) {
        // The sender lives in `self`, so the channel cannot close while this waits.
        let mut link = self.link.subscribe();
        let _seen = link.wait_for(|link| link.connected == connected).await;
    }
}
