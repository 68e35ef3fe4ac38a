//! The embedded broker: takes readings from sensors directly, when no broker stands beside us.
//!
//! ```text
//!  publisher ─TCP─▶ connection ─▶ Arrival ─▶ engine ─▶ disk      one task per connection, no task per message,
//!            ◀ PUBACK, PUBREC ◀─ verdicts ◀─ Receipt ◀──┘        no lock per message
//!  connection ─▶ routes ─▶ outbox ─▶ connection ─TCP─▶ local subscriber
//! ```
//!
//! Promise: what the module above promises, for every publisher; one client's bytes can end only that client's
//! connection; every queue and table has a limit.
//! Absent: TLS for local clients, access lists, `$SYS`, shared subscriptions, QoS 2 towards subscribers, anything
//! that survives the process except the readings themselves.

mod connection;
mod handshake;
mod listener;
mod options;
mod outbound;
mod retained;
mod routes;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

pub use self::options::{BindError, EmbeddedOptions, LanePattern};
use self::routes::{Routes, Sent};
use self::sessions::Sessions;
use super::arrival::Arrival;
use super::budget::Budget;
use super::filter::is_topic_name;
use super::packet::Qos;
use super::status::StatusHandle;

/// What all connections share.
#[derive(Debug)]
struct House {
    options: EmbeddedOptions,
    status: StatusHandle,
    routes: Routes,
    sessions: Sessions,
    arrivals: mpsc::Sender<Arrival>,
    budget: Arc<Budget>,
}

/// The embedded broker, bound to its address.
#[derive(Debug)]
pub struct EmbeddedBroker {
    listener: TcpListener,
    address: SocketAddr,
    house: Arc<House>,
}

impl EmbeddedBroker {
    /// Takes the address, so that a failure is known before anything else starts. Clients wait until
    /// [`EmbeddedBroker::run`] runs.
    ///
    /// # Errors
    /// When the options cannot work or the address is taken.
    pub async fn bind(options: EmbeddedOptions, arrivals: mpsc::Sender<Arrival>) -> Result<Self, BindError> {
        options.validate()?;
        let wrong = |source| BindError::Address { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let status = StatusHandle::new();
        let house = House {
            routes: Routes::new(options.retained_topics_max, options.retained_bytes_max, status.clone()),
            sessions: Sessions::new(options.sessions_max),
            budget: Arc::new(Budget::new(options.held_bytes_max)),
            options,
            status,
            arrivals,
        };
        Ok(Self { listener, address, house: Arc::new(house) })
    }

    /// The address in use; tells the port when the options said 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its status, to be read from anywhere.
    #[must_use]
    pub fn status(&self) -> StatusHandle {
        self.house.status.clone()
    }

    /// A way to speak to the local subscribers from inside the agent.
    #[must_use]
    pub fn publisher(&self) -> LocalPublisher {
        LocalPublisher { house: Arc::clone(&self.house) }
    }

    /// Serves until `stop` becomes true or nobody takes arrivals any more. On `stop` every connection reads no more,
    /// waits a moment for its open receipts, acknowledges them and closes.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        listener::serve(self.listener, self.house, stop).await;
    }
}

/// Speaks to the local subscribers from inside the agent, for example to hand a desired state to an actuator.
#[derive(Clone, Debug)]
pub struct LocalPublisher {
    house: Arc<House>,
}

impl LocalPublisher {
    /// Sends a message to the local subscribers of its topic. It does not become a record. False when the topic is no
    /// topic name. `qos` above 1 is sent as 1.
    #[must_use]
    pub fn publish(&self, topic: &str, payload: &Bytes, qos: u8, retain: bool) -> bool {
        if !is_topic_name(topic) {
            return false;
        }
        let qos = if qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let table = self.house.routes.table();
        self.house.routes.forward(&table, &Sent { topic, payload, qos, retain, by: None });
        true
    }
}
