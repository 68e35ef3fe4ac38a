//! The task of gossip: runs [`Membership`] over the datagrams of the links between hubs.
//!
//! ```text
//!  links ──datagrams (256)──▶ ┌────────────┐ ──▶ links
//!  the table ──expected─────▶ │ membership │ ──▶ roster (watch): who seems alive, what they say of themselves
//!  health ────profile───────▶ └────────────┘ ──▶ figures
//! ```
//!
//! Promise: what it publishes is a hint and called one: it is for choosing whom to ask first and for showing to people. When the hub
//! stops it says goodbye, a few times, before it ends.
//! Absent: decisions (`millrace-hub-engine`), connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_host::metrics::{Counter, Family, Gauge, LabelSet, Metrics, NameTaken};
use millrace_host::{Clock, Shutdown};
use millrace_hub_engine::membership::{Counts, Input, Liveness, Membership, Output, Peer, Preset, Profile};
use millrace_model::{Incarnation, Moment, NodeId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Peers;

/// Datagrams that wait for the task: three rounds of gossip with 64 hubs. When full: they are dropped, and everything is said again.
pub const DATAGRAMS_MAX: usize = 256;
/// Datagrams that are taken before it is looked whether something is to be sent.
const AT_ONCE: usize = 64;
/// How long to sleep when there is nothing to wait for; only after the last goodbye.
const NOTHING: Duration = Duration::from_secs(60);

/// What gossip works with.
pub struct GossipParts {
    /// Time.
    pub clock: Clock,
    /// The roads. Whom to expect comes from [`Peers::expect`].
    pub peers: Peers,
    /// This hub: its number, its life (its wall clock in microseconds), the incarnation of its store.
    pub me: Peer,
    /// Near or far.
    pub preset: Preset,
    /// Differs between hubs and starts.
    pub seed: u64,
    /// What this hub says of itself, as it stands now.
    pub profile: watch::Receiver<Profile>,
    /// Where figures go.
    pub meters: GossipMeters,
    /// When to say goodbye.
    pub shutdown: Shutdown,
}

/// The running task.
pub struct Gossip {
    /// Where datagrams go: for [`super::Attendants::gossip`].
    pub inbox: mpsc::Sender<(NodeId, Bytes)>,
    /// Who seems alive. A hint.
    pub roster: watch::Receiver<Arc<Roster>>,
    /// Ends after the shutdown, when goodbye is said: within a second (`lan`) or two. Wait for it before the connections are closed.
    pub task: JoinHandle<()>,
}

/// Everybody that gossip spoke of, by number; this hub is not among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// The others.
    pub members: BTreeMap<NodeId, Member>,
}

/// One of the other hubs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// How it seems to be.
    pub liveness: Liveness,
    /// Since when, as this hub noticed.
    pub since: Moment,
    /// Which life of its store it named.
    pub store: Incarnation,
    /// From asking it to its answer, when last measured. Asked every few seconds.
    pub round_trip: Option<Duration>,
    /// What it says of itself.
    pub profile: Option<Arc<Profile>>,
}

impl Roster {
    /// How a hub seems to be; `None` when it was never heard of.
    #[must_use]
    pub fn liveness(&self, node: NodeId) -> Option<Liveness> {
        self.members.get(&node).map(|member| member.liveness)
    }

    /// What a hub last said of itself.
    #[must_use]
    pub fn profile(&self, node: NodeId) -> Option<&Profile> {
        self.members.get(&node)?.profile.as_deref()
    }
}

/// By why a datagram was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, LabelSet)]
pub struct ByFault {
    /// `source`, `form`, `room` or `fault`.
    pub why: &'static str,
}

/// The figures of gossip.
#[derive(Debug, Clone)]
pub struct GossipMeters {
    sent: Counter,
    received: Counter,
    refused: Family<ByFault, Counter>,
    suspicions: Counter,
    renewals: Counter,
    sleeps: Counter,
    alive: Gauge,
}

impl GossipMeters {
    /// All at zero.
    ///
    /// # Errors
    /// When two have one name: a fault in the program.
    pub fn new(metrics: &Metrics) -> Result<Self, NameTaken> {
        Ok(Self {
            sent: metrics.counter("gossip_sent_bytes", "Bytes of gossip sent, without QUIC's own")?,
            received: metrics.counter("gossip_received_bytes", "Bytes of gossip received")?,
            refused: metrics
                .counters("gossip_refused", "Datagrams of gossip that were refused, by reason")?,
            suspicions: metrics.counter("gossip_suspicions", "Times that a hub came under suspicion")?,
            renewals: metrics.counter(
                "gossip_renewals",
                "Times that this hub began a new life because the others took it for dead",
            )?,
            sleeps: metrics
                .counter("gossip_sleeps", "Times that this hub did not run for a probe's period")?,
            alive: metrics.gauge("gossip_alive", "Other hubs that seem alive")?,
        })
    }

    fn follow(&self, before: &Counts, now: &Counts, alive: usize) {
        self.sent.inc_by(now.sent_bytes - before.sent_bytes);
        self.received.inc_by(now.received_bytes - before.received_bytes);
        self.suspicions.inc_by(now.suspicions - before.suspicions);
        self.renewals.inc_by(now.renewals - before.renewals);
        self.sleeps.inc_by(now.sleeps - before.sleeps);
        for (why, grown) in [
            ("source", now.refused_source - before.refused_source),
            ("form", now.refused_form - before.refused_form),
            ("room", now.refused_room - before.refused_room),
            ("fault", now.faults - before.faults),
        ] {
            if grown > 0 {
                self.refused.get_or_create(&ByFault { why }).inc_by(grown);
            }
        }
        self.alive.set(i64::try_from(alive).unwrap_or(i64::MAX));
    }
}

/// Begins to gossip. Needs a tokio runtime.
#[must_use]
pub fn start(parts: GossipParts) -> Gossip {
    let (inbox, datagrams) = mpsc::channel(DATAGRAMS_MAX);
    let (published, roster) = watch::channel(Arc::<Roster>::default());
    let membership = Membership::new(parts.me, parts.preset, parts.seed, parts.clock.moment());
    let chatter = Chatter { parts, membership, published, counted: Counts::default() };
    Gossip { inbox, roster, task: tokio::spawn(chatter.run(datagrams)) }
}

struct Chatter {
    parts: GossipParts,
    membership: Membership,
    published: watch::Sender<Arc<Roster>>,
    counted: Counts,
}

impl Chatter {
    async fn run(mut self, mut datagrams: mpsc::Receiver<(NodeId, Bytes)>) {
        let mut expected = self.parts.peers.expected();
        let mut profile = self.parts.profile.clone();
        let shutdown = self.parts.shutdown.clone();
        expected.mark_changed();
        profile.mark_changed();
        let mut leaving = false;
        loop {
            let now = self.parts.clock.moment();
            let wake = self.membership.poll_timeout();
            if leaving && wake.is_none() {
                return;
            }
            let pause = wake.map_or(NOTHING, |(at, _)| at.since(now));
            let input = tokio::select! {
                () = tokio::time::sleep(pause) => Input::Timer,
                Some((from, bytes)) = datagrams.recv() => Input::Datagram { from, bytes },
                Ok(()) = expected.changed() => Input::Joined(expected.borrow_and_update().clone()),
                Ok(()) = profile.changed() => Input::ProfileChanged(profile.borrow_and_update().clone()),
                () = shutdown.triggered(), if !leaving => {
                    leaving = true;
                    Input::Leave
                }
            };
            self.take(input);
            for _ in 1..AT_ONCE {
                let Ok((from, bytes)) = datagrams.try_recv() else { break };
                self.take(Input::Datagram { from, bytes });
            }
            self.publish();
        }
    }

    fn take(&mut self, input: Input) {
        self.membership.handle(input, self.parts.clock.moment());
        while let Some(output) = self.membership.poll() {
            match output {
                Output::Send { to, bytes } => self.parts.peers.gossip(to, bytes),
                Output::Up(peer) => tracing::info!(node = %peer.node, "a hub seems alive"),
                Output::Down(peer) => tracing::warn!(node = %peer.node, "a hub seems dead, or has left"),
                Output::Renamed { after, .. } => {
                    tracing::info!(node = %after.node, "a hub has started again");
                }
                Output::Rejoined(me) => {
                    tracing::warn!(
                        life = me.life,
                        "the others took this hub for dead: it says that it lives"
                    );
                }
                Output::Alone => {
                    tracing::warn!("no other hub seems alive; perhaps it is this one that is cut off");
                }
                Output::Profile(_) => {}
            }
        }
    }

    /// Shows who seems alive, when that or anything else that is shown has changed.
    fn publish(&mut self) {
        let before = Arc::clone(&self.published.borrow());
        let members: BTreeMap<NodeId, Member> = self
            .membership
            .members()
            .map(|view| {
                let node = view.peer.node;
                let known = before.members.get(&node).and_then(|member| member.profile.clone());
                let profile = view.profile.map(|(_, profile)| match known {
                    Some(known) if *known == *profile => known,
                    _ => Arc::new(profile.clone()),
                });
                let (liveness, since, round_trip) = (view.liveness, view.since, view.round_trip);
                (node, Member { liveness, since, store: view.peer.incarnation, round_trip, profile })
            })
            .collect();
        let alive = members.values().filter(|member| member.liveness == Liveness::Alive).count();
        let now = *self.membership.counts();
        self.parts.meters.follow(&self.counted, &now, alive);
        self.counted = now;
        if members != before.members {
            self.published.send_replace(Arc::new(Roster { members }));
        }
    }
}
