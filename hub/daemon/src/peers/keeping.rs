//! A link: a connection to one hub that is dialled again for as long as it is wanted.
//!
//! Promise: whoever holds a [`Link`] can ask at any moment whether its connection stands, and why not; and whether the other hub refuses
//! this one's certificate, which it says only after the connection seems to stand. When the link is dropped or ended, its task closes
//! the connection, sees its replication stream out, and ends.
//! Absent: dialling itself (`reaching`).

use std::sync::Arc;

use bytes::Bytes;
use millrace_link::{CloseCode, CloseReason, Connection};
use millrace_model::{HubId, Moment, NodeId};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::bounds::{DIAL_FIRST, Places, STEADY};
use super::{Inner, reaching, replication};

/// Whom a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its number, when it is in the table: then records and gossip travel too, not only calls.
    pub(crate) node: Option<NodeId>,
    /// Who must answer; `None`: any hub of the cluster.
    pub(crate) hub: Option<HubId>,
    /// Where.
    pub(crate) addresses: Vec<String>,
}

/// How a link stands.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// There is no connection.
    Down {
        /// Why.
        problem: String,
        /// Since when.
        since: Moment,
    },
    /// There is one.
    Up {
        /// The connection.
        connection: Connection,
        /// Since when.
        since: Moment,
    },
}

/// A connection that is kept up.
pub(crate) struct Link {
    target: watch::Sender<Target>,
    state: watch::Receiver<State>,
    refused: watch::Receiver<Option<CloseCode>>,
    places: Arc<Places>,
    nudge: Arc<Notify>,
}

/// Why a link that was never up is down.
pub(crate) const NOT_YET: &str = "it is being dialled for the first time";

/// Dials the target from now on, until the link is dropped.
pub(crate) fn keep(inner: &Arc<Inner>, target: Target) -> Link {
    let since = inner.parts.clock.moment();
    let (aim, target) = watch::channel(target);
    let (told, state) = watch::channel(State::Down { problem: NOT_YET.to_owned(), since });
    let (refusals, refused) = watch::channel(None);
    let nudge = Arc::<Notify>::default();
    tokio::spawn(
        Keeper { inner: Arc::clone(inner), target, told, refusals, nudge: Arc::clone(&nudge) }.run(),
    );
    Link { target: aim, state, refused, places: Arc::new(Places::per_link()), nudge }
}

impl Link {
    pub(crate) fn hub(&self) -> HubId {
        self.target.borrow().hub.unwrap_or_default()
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// How the other hub refused this one's certificate when it last answered.
    pub(crate) fn refused(&self) -> Option<CloseCode> {
        *self.refused.borrow()
    }

    pub(crate) fn states(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    pub(crate) fn connection(&self) -> Option<Connection> {
        match &*self.state.borrow() {
            State::Up { connection, .. } => Some(connection.clone()),
            State::Down { .. } => None,
        }
    }

    pub(crate) fn places(&self) -> Arc<Places> {
        Arc::clone(&self.places)
    }

    /// From now on it is to be found there. A connection that stands goes on.
    pub(crate) fn aim(&self, target: Target) {
        self.target.send_if_modified(|present| {
            let changed = *present != target;
            *present = target;
            changed
        });
    }

    /// Dial now, do not wait for the pause to be over.
    pub(crate) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Ends the connection with a word for the other side.
    pub(crate) fn end(&self, text: &str) {
        if let Some(connection) = self.connection() {
            connection.close(CloseCode::Shutdown, text);
        }
    }
}

struct Keeper {
    inner: Arc<Inner>,
    target: watch::Receiver<Target>,
    told: watch::Sender<State>,
    refusals: watch::Sender<Option<CloseCode>>,
    nudge: Arc<Notify>,
}

impl Keeper {
    async fn run(mut self) {
        let mut backoff = self.inner.backoff();
        let shutdown = self.inner.parts.shutdown.clone();
        loop {
            let target = self.target.borrow_and_update().clone();
            let reached = tokio::select! {
                reached = reaching::reach(&self.inner, &target) => reached,
                moved = self.target.changed() => match moved {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = shutdown.triggered() => return,
            };
            let problem = match reached {
                Ok(connection) => {
                    let began = self.inner.parts.clock.moment();
                    let problem = self.hold(connection, target.node).await;
                    if self.inner.parts.clock.moment().since(began) >= STEADY {
                        backoff.reset();
                    }
                    problem
                }
                Err(problem) => problem,
            };
            self.down(problem);
            let pause = backoff.wait();
            tokio::select! {
                () = sleep(pause) => {}
                // A hub that calls without being reachable itself must not be dialled in a tight loop.
                () = async { sleep(pause.min(DIAL_FIRST)).await; self.nudge.notified().await } => {}
                moved = self.target.changed() => if moved.is_err() { return },
                () = shutdown.triggered() => return,
            }
        }
    }

    /// Sees a connection through to its end; how it ended.
    async fn hold(&mut self, connection: Connection, node: Option<NodeId>) -> String {
        let (peer, at) = (connection.peer().role, connection.remote_addr());
        // A hub that refuses is asked again for ever, and says the same each time.
        let news = self.refusals.borrow().is_none();
        if news {
            tracing::info!(node = ?node, %peer, %at, "connected to another hub");
        } else {
            tracing::debug!(node = ?node, %peer, %at, "connected to another hub");
        }
        let since = self.inner.parts.clock.moment();
        self.told.send_replace(State::Up { connection: connection.clone(), since });
        if node.is_some() {
            // So that gossip need not wait for its turn to knock.
            self.inner.expected.send_modify(|_| ());
            self.inner.figures.connected.inc();
        }
        let inner = Arc::clone(&self.inner);
        let tended = async {
            if let Some(node) = node {
                tokio::join!(
                    replication::owe(&inner, node, &connection),
                    listen(&inner, &connection, move |_| Some(node))
                );
            }
        };
        let ended = async {
            let steady = sleep(STEADY);
            tokio::pin!(steady);
            loop {
                tokio::select! {
                    reason = connection.closed() => break reason,
                    () = &mut steady, if self.refusals.borrow().is_some() => drop(self.refusals.send_replace(None)),
                    moved = self.target.changed() => if moved.is_err() {
                        connection.close(CloseCode::Shutdown, "this connection is not wanted any more");
                    },
                }
            }
        };
        let (ended, ()) = tokio::join!(ended, tended);
        if node.is_some() {
            self.inner.figures.connected.dec();
            self.inner.figures.lost.inc();
        }
        if refuses(&ended) {
            self.refusals.send_replace(Some(ended.code));
        }
        if news {
            tracing::info!(node = ?node, %peer, %ended, "a connection to another hub is over");
        } else {
            tracing::debug!(node = ?node, %peer, %ended, "a connection to another hub is over");
        }
        ended.to_string()
    }

    fn down(&self, problem: String) {
        let now = self.inner.parts.clock.moment();
        self.told.send_modify(|state| match state {
            State::Down { problem: former, .. } => *former = problem,
            State::Up { .. } => *state = State::Down { problem, since: now },
        });
    }
}

/// Whether the other hub ended a connection because it does not take this hub's certificate.
fn refuses(ended: &CloseReason) -> bool {
    ended.by_peer && matches!(ended.code, CloseCode::Revoked | CloseCode::NotAdmitted)
}

/// Hands datagrams of a connection to gossip, until it is over.
pub(crate) async fn listen(inner: &Inner, connection: &Connection, node: impl Fn(&Inner) -> Option<NodeId>) {
    while let Ok(datagram) = connection.read_datagram().await {
        offer(inner, node(inner), datagram);
    }
}

fn offer(inner: &Inner, node: Option<NodeId>, datagram: Bytes) {
    if let (Some(node), Some(attendants)) = (node, inner.attendants()) {
        // What does not fit is said again.
        let _ = attendants.gossip.try_send((node, datagram));
    }
}
