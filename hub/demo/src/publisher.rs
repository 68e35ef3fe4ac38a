//! A machine's MQTT client: real packets, a bounded window, and a book of what was answered.
//!
//! Promise: [`Publisher::publish`] waits while [`WINDOW`] publications have no answer; a broken connection is made
//! again for ever, and what was not answered is published again (see [`crate::publication`]).
//! Absent: sessions that outlive a connection. The MQTT library drops its own when the agent lost the session by
//! SIGKILL; the book does not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, Outgoing};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::book::Book;
use crate::patience::{Look, until};
use crate::sensors::Line;
use crate::{PlantError, Publication, Tally};

/// Publications without an answer. A gateway of a machine buffers about as much.
pub const WINDOW: usize = 500;

/// Packet ids come round only after many windows, so that one never meets its predecessor.
const PACKET_IDS: u16 = 4_000;

/// Larger than any payload of ours.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// On loopback nobody is spared by waiting longer.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Whom to publish to, and as whom.
#[derive(Debug, Clone)]
pub struct PublisherOptions {
    /// The broker.
    pub broker: SocketAddr,
    /// The client id.
    pub client_id: String,
}

/// A running MQTT client.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    talk: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    options: PublisherOptions,
    desk: Mutex<Desk>,
    window: Semaphore,
}

/// What must change together: a publication is in the book exactly when the client has it, in the same order.
#[derive(Debug)]
struct Desk {
    client: AsyncClient,
    book: Book,
}

impl Publisher {
    /// Begins to connect. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(options: PublisherOptions) -> Self {
        let (client, events) = connection(&options);
        let desk = Mutex::new(Desk { client, book: Book::default() });
        let shared = Arc::new(Shared { options, desk, window: Semaphore::new(WINDOW) });
        let talk = tokio::spawn(talk(Arc::clone(&shared), events));
        Self { shared, talk }
    }

    /// Publishes, as soon as the window has room.
    ///
    /// # Errors
    /// When MQTT does not allow the topic.
    pub async fn publish(&self, publication: Publication) -> Result<(), PlantError> {
        if let Ok(permit) = self.shared.window.acquire().await {
            permit.forget();
        }
        self.shared.lock().send(publication)
    }

    /// Publishes the next `count` readings of a line.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub async fn publish_from(&self, line: &mut Line, count: usize) -> Result<(), PlantError> {
        for _ in 0..count {
            if let Some(publication) = line.publication() {
                self.publish(publication).await?;
            }
        }
        Ok(())
    }

    /// Waits until everything is answered.
    ///
    /// # Errors
    /// When something is not, within `limit`.
    pub async fn drained(&self, limit: Duration) -> Result<(), PlantError> {
        let what = format!("the broker's answers to {}", self.shared.options.client_id);
        until(&what, limit, || async {
            Ok(match self.outstanding() {
                0 => Look::Found(()),
                owed => Look::NotYet(format!("{owed} publications without an answer")),
            })
        })
        .await
    }

    /// Publications without an answer.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.shared.lock().book.outstanding()
    }

    /// How many publications have a fate.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.shared.lock().book.tally().entries.len()
    }

    /// How often the connection broke or could not be had.
    #[must_use]
    pub fn breaks(&self) -> u64 {
        self.shared.lock().book.breaks()
    }

    /// What became of what was published so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.lock().book.tally().clone()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.talk.abort();
    }
}

impl Desk {
    fn send(&mut self, publication: Publication) -> Result<(), PlantError> {
        let (topic, qos) = (publication.topic.clone(), publication.qos);
        let payload = self.book.hand_over(publication);
        let sent = self.client.try_publish(&topic, qos, false, payload);
        sent.map_err(|error| PlantError::answer("the MQTT library", &format!("{topic}: {error}")))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: &Event) {
        let settled = match event {
            Event::Outgoing(Outgoing::Publish(packet)) => self.lock().book.written(*packet),
            Event::Incoming(Incoming::PubAck(answer)) => self.lock().book.answered(answer.pkid),
            Event::Incoming(Incoming::PubRec(answer)) => self.lock().book.answered(answer.pkid),
            _ => 0,
        };
        self.window.add_permits(settled);
    }

    /// A new client that begins with what the old one did not get answered.
    fn renew(&self) -> EventLoop {
        let (client, events) = connection(&self.options);
        let mut desk = self.lock();
        desk.client = client;
        for publication in desk.book.broken() {
            // Its topic was allowed before, and a new client has room for a whole window.
            let _ = desk.send(publication);
        }
        events
    }
}

fn connection(options: &PublisherOptions) -> (AsyncClient, EventLoop) {
    let (ip, port) = (options.broker.ip().to_string(), options.broker.port());
    let mut mqtt = MqttOptions::new(&options.client_id, ip, port);
    mqtt.set_keep_alive(KEEP_ALIVE)
        .set_clean_session(true)
        .set_inflight(PACKET_IDS)
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    AsyncClient::new(mqtt, WINDOW + 1)
}

async fn talk(shared: Arc<Shared>, mut events: EventLoop) {
    loop {
        match events.poll().await {
            Ok(event) => shared.hear(&event),
            Err(_) => {
                // Answers that had arrived before the break count.
                for event in events.state.events.drain(..) {
                    shared.hear(&event);
                }
                events = shared.renew();
                sleep(RECONNECT_AFTER).await;
            }
        }
    }
}
