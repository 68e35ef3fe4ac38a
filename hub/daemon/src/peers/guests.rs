//! Guests: the connections that other hubs dialled, by hub, the newest last.
//!
//! Promise: at most [`GUESTS_PER_HUB_MAX`] of one hub; the oldest goes for the newest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_link::{CloseCode, Connection};
use millrace_model::{HubId, NodeId};
use tokio::sync::watch;

use super::bounds::GUESTS_PER_HUB_MAX;

/// The connections, each with its ordinal.
#[derive(Default)]
pub(crate) struct Guests {
    hubs: Mutex<BTreeMap<HubId, Vec<(u64, Connection)>>>,
    seats: Mutex<BTreeMap<NodeId, Seat>>,
}

/// The one place for a replication stream of a node. The engine hears that the former is gone before it hears of the next.
#[derive(Clone, Default)]
pub(crate) struct Seat {
    newest: Arc<watch::Sender<u64>>,
    /// Held by the stream that the engine knows.
    pub(crate) taken: Arc<tokio::sync::Mutex<()>>,
}

/// A stream's claim to its seat.
pub(crate) struct Claim {
    number: u64,
    newest: watch::Receiver<u64>,
}

impl Claim {
    /// Waits until a newer stream of the same node has come.
    pub(crate) async fn lost(&mut self) {
        let number = self.number;
        // The sender lives as long as the process.
        let _ = self.newest.wait_for(|newest| *newest > number).await;
    }
}

impl Guests {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<HubId, Vec<(u64, Connection)>>> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection; its ordinal, to be handed to [`Self::left`].
    pub(crate) fn came(&self, hub: HubId, connection: Connection) -> u64 {
        let mut hubs = self.lock();
        let here = hubs.entry(hub).or_default();
        let ordinal = here.last().map_or(0, |(last, _)| last + 1);
        here.push((ordinal, connection));
        if here.len() > GUESTS_PER_HUB_MAX {
            let (_, oldest) = here.remove(0);
            oldest.close(CloseCode::Superseded, "the same hub opened newer connections");
        }
        ordinal
    }

    /// A connection is over.
    pub(crate) fn left(&self, hub: &HubId, ordinal: u64) {
        let mut hubs = self.lock();
        let Some(here) = hubs.get_mut(hub) else { return };
        here.retain(|(known, _)| *known != ordinal);
        if here.is_empty() {
            hubs.remove(hub);
        }
    }

    /// The newest connection of a hub.
    pub(crate) fn newest(&self, hub: &HubId) -> Option<Connection> {
        self.lock().get(hub)?.last().map(|(_, connection)| connection.clone())
    }

    /// All connections of a hub.
    pub(crate) fn of(&self, hub: &HubId) -> Vec<Connection> {
        self.lock().get(hub).into_iter().flatten().map(|(_, connection)| connection.clone()).collect()
    }

    /// Ends the connections of a hub that is none any more.
    pub(crate) fn cut_off(&self, hub: &HubId) {
        for connection in self.of(hub) {
            connection.close(CloseCode::NotAdmitted, "your hub is not in the table of the cluster any more");
        }
    }

    /// Ends all of them.
    pub(crate) fn close(&self, code: CloseCode, text: &str) {
        self.lock().values().flatten().for_each(|(_, connection)| connection.close(code, text));
    }

    /// A node opened a replication stream: its seat, and its claim to that, before which all older ones give way.
    pub(crate) fn claim(&self, node: NodeId) -> (Seat, Claim) {
        let seat = self.seats.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default().clone();
        let mut number = 0;
        seat.newest.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        let newest = seat.newest.subscribe();
        (seat, Claim { number, newest })
    }
}
