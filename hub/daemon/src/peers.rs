//! Peers: the connections to and from the other hubs, and what travels on them.
//!
//! ```text
//!                  ┌────────────────── on each connection, by whoever dialled it ──────────────────┐
//!  callers ─call─▶ │ calls: a stream each, request and reply, places by kind                       │ ─▶ Answer
//!  driver ──Way──▶ │ replication: one stream of PeerFrames (`driver::way`)                         │ ─▶ driver
//!  gossip ───────▶ │ datagrams, on any connection of the pair                                      │ ─▶ gossip
//!                  └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every hub dials every other one for ever, so there are two connections for each pair; each end owns the calls and the replication of
//! the one that it dialled.
//!
//! Promise: a peer is who its certificate says, and a node of the cluster only while the committed table says so; a slow call delays no
//! other, and calls of the consensus never wait behind questions of the API.
//! Absent: what calls and frames mean, who is a hub (`node_of`, [`Peers::expect`]), who seems alive ([`gossip`]).
//!
//! | room | what stands there |
//! |---|---|
//! | [`bounds`] | every number, and the places of calls |
//! | `keeping`, `reaching` | a connection that is kept up, and how it is dialled |
//! | `calling`, `serving` | a call, seen from both ends |
//! | `replication` | a replication stream, seen from both ends |
//! | `errands` | connections to hubs that are in no table yet |
//! | `figures` | what of it is counted |
//! | `guests` | connections that came in |
//! | [`control_road`] | the consensus' road |
//! | [`gossip`] | the task that asks who seems alive |

pub mod bounds;
mod calling;
pub mod control_road;
mod errands;
mod figures;
pub mod gossip;
mod guests;
mod keeping;
mod reaching;
mod replication;
mod serving;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use millrace_host::metrics::{Metrics, NameTaken};
use millrace_host::{Backoff, Clock, Shutdown};
use millrace_link::{ClientOptions, CloseCode, Connection, Dialer, Identity, KeyHash, Road};
use millrace_model::{HubId, Moment, NodeId};
use millrace_wire::CallKind;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::driver::DriverHandle;
use bounds::{DIAL_CAP, DIAL_FIRST, Places};
use errands::Errands;
use figures::Figures;
use guests::Guests;
use keeping::{Link, State, Target};

/// What peers work with.
pub struct PeersParts {
    /// Time.
    pub clock: Clock,
    /// What this hub shows when it dials, as it stands now.
    pub identity: watch::Receiver<Identity>,
    /// How far the other hubs are: [`Road::HUBS_NEAR`] or [`Road::HUBS_FAR`].
    pub road: Road,
    /// This hub.
    pub me: HubId,
    /// When to dial nobody any more. What stands goes on until [`Peers::close`].
    pub shutdown: Shutdown,
}

/// Where a hub is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Who it is.
    pub hub: HubId,
    /// `host:port`, in the order in which they are tried.
    pub addresses: Vec<String>,
}

/// Who takes what the other hubs send.
pub struct Attendants {
    /// Who answers calls.
    pub calls: Arc<dyn Answer>,
    /// Whose engine replicates.
    pub driver: DriverHandle,
    /// Who takes gossip. What does not fit is dropped: it is said again.
    pub gossip: mpsc::Sender<(NodeId, Bytes)>,
    /// Which node of the committed table a hub is.
    pub node_of: NodeOf,
}

/// Finds a hub in the committed table. Answers from memory.
pub type NodeOf = Arc<dyn Fn(&HubId) -> Option<NodeId> + Send + Sync>;

/// What a call leads to.
pub type Answered<'a> = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + 'a>>;

/// Answers calls of other hubs. The error is told to the hub that asked, as text.
pub trait Answer: Send + Sync + 'static {
    /// Answers one call. It is dropped when whoever asked waits no longer.
    fn answer<'a>(&'a self, from: Caller, kind: CallKind, body: Bytes) -> Answered<'a>;
}

/// Who calls, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its id.
    pub hub: HubId,
    /// Its number, while it is in the committed table.
    pub node: Option<NodeId>,
    /// The key of its certificate.
    pub key: KeyHash,
    /// Its name.
    pub name: String,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It did not leave: it certainly has no effect there.
    #[error("{0}")]
    Unreachable(String),
    /// It may have arrived, or not.
    #[error("{0}")]
    Failed(String),
    /// The other hub says no, in its own words.
    #[error("{0}")]
    Refused(String),
}

/// How the road to another hub is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLink {
    /// Which hub.
    pub node: NodeId,
    /// Its id.
    pub hub: HubId,
    /// Whether my connection to it stands.
    pub connected: bool,
    /// How many of its connections to me stand.
    pub incoming: usize,
    /// Since when my connection stands, or does not.
    pub since: Moment,
    /// Round trip of my connection, smoothed.
    pub rtt: Option<Duration>,
    /// UDP payload bytes sent on my present connection and on those that came in.
    pub bytes_sent: u64,
    /// The same, received.
    pub bytes_received: u64,
    /// Why my connection does not stand.
    pub problem: Option<String>,
    /// How that hub refused this hub's certificate when it last answered; `None`: it takes it, or has not answered yet.
    pub refused: Option<CloseCode>,
}

/// The other hubs. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    parts: PeersParts,
    dialer: Dialer,
    attendants: watch::Sender<Option<Arc<Attendants>>>,
    links: Mutex<BTreeMap<NodeId, Link>>,
    /// Whom to be connected with, for those who want to know when that changes; and again whenever a connection has come up.
    expected: watch::Sender<Vec<NodeId>>,
    guests: Guests,
    errands: Errands,
    /// Places for calls of all other hubs together.
    places: Places,
    random: Mutex<fastrand::Rng>,
    figures: Figures,
}

impl Peers {
    /// Peers that know nobody yet. Needs a running tokio runtime.
    #[must_use]
    pub fn start(parts: PeersParts) -> Self {
        let wall = parts.clock.clone();
        let mut options = ClientOptions::new(Arc::new(move || wall.wall()));
        // Whoever does not answer for so long would count as lost in the middle of a connection too.
        (options.road, options.connect_timeout) = (parts.road, parts.road.idle_timeout);
        // Only for jitter: without it hubs that fell together dial together.
        let seed = millrace_host::entropy::seed_u64().unwrap_or_else(|_| parts.clock.moment().0);
        let peers = Self(Arc::new(Inner {
            dialer: Dialer::new(options),
            attendants: watch::Sender::new(None),
            links: Mutex::default(),
            expected: watch::Sender::new(Vec::new()),
            guests: Guests::default(),
            errands: Errands::default(),
            places: Places::in_all(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            figures: Figures::default(),
            parts,
        }));
        errands::sweep(&peers.0);
        peers
    }

    /// Shows the figures of the links there. Once.
    ///
    /// # Errors
    /// When two have one name: a fault in the program.
    pub fn meter(&self, metrics: &Metrics) -> Result<(), NameTaken> {
        self.0.figures.register(metrics)
    }

    /// Who takes what the other hubs send. Set once; before, calls are refused and replication waits.
    pub fn attach(&self, attendants: Attendants) {
        let attendants = Arc::new(attendants);
        self.0.attendants.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(attendants);
            first
        });
    }

    /// Whom to be connected with from now on (without me): replaces what was said before. A hub that is not named any more is
    /// cut off, in both directions.
    pub fn expect(&self, others: BTreeMap<NodeId, PeerAddress>) {
        let inner = &self.0;
        let nodes: Vec<NodeId> = others.keys().copied().collect();
        let mut links = inner.links();
        let wanted = |node: &NodeId, link: &Link| others.get(node).is_some_and(|peer| peer.hub == link.hub());
        let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut *links).into_iter().partition(|(node, link)| wanted(node, link));
        *links = stay;
        let left: Vec<HubId> = gone
            .values()
            .map(Link::hub)
            .filter(|hub| !others.values().any(|peer| peer.hub == *hub))
            .collect();
        for (node, peer) in others {
            let target = Target { node: Some(node), hub: Some(peer.hub), addresses: peer.addresses };
            match links.get(&node) {
                Some(link) => link.aim(target),
                None => {
                    links.insert(node, keeping::keep(inner, target));
                }
            }
        }
        drop(links);
        gone.values().for_each(|link| link.end("this hub is not in the table any more"));
        left.iter().for_each(|hub| inner.guests.cut_off(hub));
        inner.expected.send_if_modified(|expected| {
            let changed = *expected != nodes;
            *expected = nodes;
            changed
        });
    }

    /// The nodes of [`Self::expect`]. Also changes, to the same, when a connection to one of them has come up.
    #[must_use]
    pub fn expected(&self) -> watch::Receiver<Vec<NodeId>> {
        self.0.expected.subscribe()
    }

    /// Whether a hub of this number is to be connected with.
    #[must_use]
    pub fn knows(&self, node: NodeId) -> bool {
        self.0.links().contains_key(&node)
    }

    /// Asks another hub. Without a connection to it the answer comes at once.
    ///
    /// # Errors
    /// [`CallError`], which says whether it may have had an effect.
    pub async fn call(
        &self,
        node: NodeId,
        kind: CallKind,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, CallError> {
        let until = Instant::now() + patience;
        let road = self.0.links().get(&node).map(|link| (link.state(), link.places()));
        let answer = match road {
            None => Err(CallError::Unreachable(format!("{node} is not in the table of this hub"))),
            Some((State::Down { problem, .. }, _)) => {
                Err(CallError::Unreachable(format!("no connection to {node}: {problem}")))
            }
            Some((State::Up { connection, .. }, places)) => {
                calling::ask(&connection, &places, kind, body, until).await
            }
        };
        self.0.figures.made(kind, &answer);
        answer
    }

    /// Asks the hub at one of these addresses, whoever of the cluster it is: for hubs that are in no table yet. The connection is
    /// kept for a while, for the next call.
    ///
    /// # Errors
    /// [`CallError`], which says whether it may have had an effect.
    pub async fn call_at(
        &self,
        addresses: &[String],
        kind: CallKind,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, CallError> {
        let until = Instant::now() + patience;
        let answer = match errands::reach(&self.0, addresses, until).await {
            Ok((connection, places)) => calling::ask(&connection, &places, kind, body, until).await,
            Err(error) => Err(error),
        };
        self.0.figures.made(kind, &answer);
        answer
    }

    /// Sends a datagram to another hub, over whichever connection stands; dropped when none does.
    pub fn gossip(&self, to: NodeId, datagram: Bytes) {
        let way = {
            let links = self.0.links();
            links.get(&to).and_then(|link| link.connection().or_else(|| self.0.guests.newest(&link.hub())))
        };
        if let Some(connection) = way
            && let Err(error) = connection.send_datagram(datagram)
        {
            tracing::debug!(%to, %error, "a datagram of gossip is dropped");
        }
    }

    /// How the roads to the other hubs are.
    #[must_use]
    pub fn links(&self) -> Vec<PeerLink> {
        let links: Vec<_> = self
            .0
            .links()
            .iter()
            .map(|(node, link)| (*node, link.hub(), link.state(), link.refused()))
            .collect();
        let shown = links.into_iter().map(|(node, hub, state, refused)| {
            let incoming = self.0.guests.of(&hub);
            let (mine, since, problem) = match state {
                State::Up { connection, since } => (Some(connection), since, None),
                State::Down { problem, since } => (None, since, Some(problem)),
            };
            let all = || mine.iter().chain(&incoming);
            PeerLink {
                node,
                hub,
                connected: mine.is_some(),
                incoming: incoming.len(),
                since,
                rtt: mine.as_ref().map(Connection::rtt),
                bytes_sent: all().map(Connection::bytes_sent).sum(),
                bytes_received: all().map(Connection::bytes_received).sum(),
                problem,
                refused,
            }
        });
        shown.collect()
    }

    /// Ends every connection to and from other hubs, with a farewell.
    pub async fn close(&self, code: CloseCode, text: &str) {
        let links = std::mem::take(&mut *self.0.links());
        links.values().for_each(|link| link.end(text));
        self.0.errands.clear(text);
        self.0.guests.close(code, text);
        self.0.dialer.close(code, text).await;
        drop(links);
    }
}

impl Inner {
    fn links(&self) -> MutexGuard<'_, BTreeMap<NodeId, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attendants(&self) -> Option<Arc<Attendants>> {
        self.attendants.borrow().clone()
    }

    fn node_of(&self, hub: &HubId) -> Option<NodeId> {
        (self.attendants()?.node_of)(hub)
    }

    fn backoff(&self) -> Backoff {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        Backoff::new(DIAL_FIRST, DIAL_CAP, random.u64(..))
    }

    /// A hub has come in, so it can be reached: dial it now.
    fn nudge(&self, hub: &HubId) {
        self.links().values().filter(|link| link.hub() == *hub).for_each(Link::nudge);
    }
}
