//! Connections with ordered channels between named nodes, as QUIC gives them.
//!
//! What is modelled, and how:
//! - A frame on a channel arrives after the weather's passage, or is lost and sent again after a growing pause, until its
//!   sender is gone. Within a channel frames are delivered in order; channels do not wait for each other.
//! - Duplicates of packets are dropped by the receiving end, as QUIC does; they cost nothing else.
//! - Each end hears of the other by frames and by pulses. An end that hears nothing for the idle time is dead, so both ends
//!   learn of a cut at different times, and one end of a one-way cut may learn first. An end that is dead answers with a
//!   reset, which may be lost.
//! - An orderly end sends what was asked for before, then a last word, three times at most; the peer that misses it
//!   learns from its idle time. An abrupt end sends nothing again: what was on the road may still arrive.
//! - A node that crashes says nothing. What it had sent may still arrive.
//! - An attempt to connect takes one and a half round trips, or ends as refused after the time for it.
//!
//! Promise: one seed, one history. Absent: congestion control, packet sizes, priorities between channels.
//!
//! | room | what stands there |
//! |---|---|
//! | `handshake` | how a connection comes to be |
//! | `delivery` | how a frame arrives, or is lost and sent again |
//! | `ending` | how an end learns that it is over |
//! | `notice`, `inner` | what nodes notice; what happens inside |

mod delivery;
mod ending;
mod handshake;
mod inner;
mod notice;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use millrace_model::Moment;

pub use self::notice::Notice;

use self::inner::Inner;
use crate::connection::{Connection, Life, Side};
use crate::{Timeline, Weather};

/// Names a machine.
pub type Node = u32;

/// Names a connection, ascending.
pub type ConnectionId = u64;

/// Names a channel of a connection.
pub type ChannelId = u8;

/// How often a last word is sent before the idle time has to do.
const LAST_WORDS: u32 = 3;

/// The longest pause before something lost is sent again.
const RETRY_MAX: Duration = Duration::from_secs(3);

/// The times of the transport.
#[derive(Clone, Copy, Debug)]
pub struct Transport {
    /// An end that hears nothing for so long is dead.
    pub idle: Duration,
    /// How often an end makes itself heard.
    pub pulse: Duration,
    /// How long an attempt to connect may take.
    pub connect: Duration,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(15),
            pulse: Duration::from_secs(5),
            connect: Duration::from_secs(10),
        }
    }
}

/// The network.
#[derive(Debug)]
pub struct Network<F> {
    random: fastrand::Rng,
    transport: Transport,
    roads: BTreeMap<(Node, Node), Weather>,
    busy_until: BTreeMap<(Node, Node), Moment>,
    down: BTreeSet<Node>,
    connections: BTreeMap<ConnectionId, Connection<F>>,
    count: ConnectionId,
    timeline: Timeline<Inner>,
    ready: VecDeque<Notice<F>>,
}

impl<F> Network<F> {
    /// A network with fair weather everywhere.
    #[must_use]
    pub fn new(seed: u64, transport: Transport) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            transport,
            roads: BTreeMap::new(),
            busy_until: BTreeMap::new(),
            down: BTreeSet::new(),
            connections: BTreeMap::new(),
            count: 0,
            timeline: Timeline::default(),
            ready: VecDeque::new(),
        }
    }

    /// The weather from one node to another; change it as you like.
    pub fn weather(&mut self, from: Node, to: Node) -> &mut Weather {
        self.roads.entry((from, to)).or_default()
    }

    /// The next notice at `until` or before, and its time.
    pub fn poll(&mut self, until: Moment) -> Option<(Moment, Notice<F>)> {
        loop {
            if let Some(notice) = self.ready.pop_front() {
                return Some((self.timeline.now(), notice));
            }
            let (now, inner) = self.timeline.poll(until)?;
            self.happen(inner, now);
        }
    }

    /// `from` tries to reach `to`; answered with [`Notice::Connected`] or [`Notice::Ended`].
    pub fn connect(&mut self, from: Node, to: Node, now: Moment) -> ConnectionId {
        self.timeline.advance(now);
        self.count += 1;
        let id = self.count;
        self.connections.insert(id, Connection::new(from, to, now));
        let passage = self.handshake_passage(from, to);
        self.timeline.after(passage, Inner::Knock(id));
        self.timeline.after(self.transport.connect, Inner::GiveUp(id));
        id
    }

    /// Sends a frame; nothing happens when the connection is over at this end.
    pub fn send(
        &mut self,
        connection: ConnectionId,
        node: Node,
        channel: ChannelId,
        frame: F,
        bytes: u64,
        now: Moment,
    ) {
        self.timeline.advance(now);
        let Some(link) = self.connections.get_mut(&connection) else { return };
        let from = link.side_of(node);
        if link.end(from).life != Life::Alive {
            return;
        }
        let to = link.end(from.other()).node;
        let place = link.streams.entry((from, channel)).or_default().push(frame, bytes);
        let weather = self.roads.entry((node, to)).or_default();
        let busy = self.busy_until.entry((node, to)).or_default();
        *busy = (*busy).max(now) + weather.occupation(bytes);
        let (taken_at, passage) = (*busy, weather.passage(&mut self.random));
        let doubled = weather.doubles(&mut self.random).then(|| weather.passage(&mut self.random));
        self.timeline.at(taken_at, Inner::Taken { connection, from, channel, bytes });
        self.timeline.at(taken_at + passage, Inner::Attempt { connection, from, channel, place, tries: 0 });
        if let Some(later) = doubled {
            let attempt = Inner::Attempt { connection, from, channel, place, tries: 0 };
            self.timeline.at(taken_at + passage + later, attempt);
        }
    }

    /// Ends a connection from this end. `orderly` sends first what was asked for before.
    pub fn close(&mut self, connection: ConnectionId, node: Node, orderly: bool, now: Moment) {
        self.timeline.advance(now);
        let Some(link) = self.connections.get_mut(&connection) else { return };
        let from = link.side_of(node);
        let to = link.end(from.other()).node;
        let end = link.end_mut(from);
        if !matches!(end.life, Life::Alive | Life::Unborn) {
            return;
        }
        end.life = if orderly { Life::Lingering } else { Life::Dead };
        let busy = self.busy_until.get(&(node, to)).copied().unwrap_or_default().max(now);
        let passage = self.roads.entry((node, to)).or_default().passage(&mut self.random);
        self.timeline.at(busy + passage, Inner::LastWord { connection, from, tries: 0 });
    }

    /// Who made a connection, if it still exists.
    #[must_use]
    pub fn dialer(&self, connection: ConnectionId) -> Option<Node> {
        self.connections.get(&connection).map(|link| link.dialer.node)
    }

    /// A node loses power: its connections are gone, and it says nothing.
    pub fn crash(&mut self, node: Node) {
        self.down.insert(node);
        for link in self.connections.values_mut() {
            for side in [Side::Dialer, Side::Listener] {
                if link.end(side).node == node {
                    link.end_mut(side).life = Life::Dead;
                }
            }
        }
    }

    /// A node runs (again).
    pub fn start(&mut self, node: Node) {
        self.down.remove(&node);
    }

    fn happen(&mut self, inner: Inner, now: Moment) {
        match inner {
            Inner::Knock(id) => self.knocked(id, now),
            Inner::Answer(id) => self.answered(id, now),
            Inner::GiveUp(id) => self.give_up(id),
            Inner::Attempt { connection, from, channel, place, tries } => {
                self.attempted(connection, from, channel, place, tries, now);
            }
            Inner::Taken { connection, from, channel, bytes } => {
                if let Some(link) = self.connections.get(&connection)
                    && link.end(from).life == Life::Alive
                {
                    let node = link.end(from).node;
                    self.ready.push_back(Notice::Taken { connection, node, channel, bytes });
                }
            }
            Inner::LastWord { connection, from, tries } => self.last_word(connection, from, tries),
            Inner::Reset { connection, to } => self.end(connection, to, "the peer knows nothing of it"),
            Inner::Pulse(id) => self.pulse(id, now),
        }
    }

    fn open(&self, from: Node, to: Node) -> bool {
        !self.down.contains(&from)
            && !self.down.contains(&to)
            && self.roads.get(&(from, to)).is_none_or(|weather| !weather.cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: Node = 1;
    const HUB: Node = 0;

    fn notices(network: &mut Network<u32>, until: Moment) -> Vec<Notice<u32>> {
        std::iter::from_fn(|| network.poll(until)).map(|(_, notice)| notice).collect()
    }

    fn connected(seed: u64) -> (Network<u32>, ConnectionId) {
        let mut network = Network::new(seed, Transport::default());
        let id = network.connect(AGENT, HUB, Moment(0));
        let seen = notices(&mut network, Moment(1_000_000));
        assert!(seen.contains(&Notice::Connected { connection: id, node: AGENT }), "{seen:?}");
        (network, id)
    }

    fn frames(seen: &[Notice<u32>], wanted: ChannelId) -> Vec<u32> {
        let of = |notice: &Notice<u32>| match notice {
            Notice::Frame { channel, frame, .. } if *channel == wanted => Some(*frame),
            _ => None,
        };
        seen.iter().filter_map(of).collect()
    }

    #[test]
    fn a_lossy_road_delivers_each_channel_in_order() {
        let (mut network, id) = connected(3);
        let bad = Weather { loss_percent: 30, reorder_percent: 30, duplicate_percent: 30, ..Weather::FAIR };
        *network.weather(AGENT, HUB) = bad;
        for n in 0..100 {
            network.send(id, AGENT, u8::from(n % 2 == 0), n, 100, Moment(1_000_000));
        }
        let seen = notices(&mut network, Moment(60_000_000));
        assert_eq!(frames(&seen, 1), (0..100).step_by(2).collect::<Vec<_>>());
        assert_eq!(frames(&seen, 0), (1..100).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn a_cut_kills_both_ends_after_the_idle_time() {
        let (mut network, id) = connected(4);
        network.weather(AGENT, HUB).cut = true;
        network.weather(HUB, AGENT).cut = true;
        network.send(id, AGENT, 0, 7, 100, Moment(1_000_000));
        let seen = notices(&mut network, Moment(60_000_000));
        let ended = |node| move |notice: &Notice<u32>| matches!(notice, Notice::Ended { node: at, .. } if *at == node);
        assert!(seen.iter().any(ended(AGENT)) && seen.iter().any(ended(HUB)), "{seen:?}");
        assert_eq!(frames(&seen, 0), Vec::<u32>::new());
    }

    #[test]
    fn an_orderly_end_sends_what_was_asked_for_before() {
        let (mut network, id) = connected(5);
        network.weather(HUB, AGENT).loss_percent = 40;
        (0..20).for_each(|n| network.send(id, HUB, 0, n, 100, Moment(1_000_000)));
        network.close(id, HUB, true, Moment(1_000_000));
        let seen = notices(&mut network, Moment(60_000_000));
        assert_eq!(frames(&seen, 0), (0..20).collect::<Vec<_>>());
        assert!(matches!(seen.last(), Some(Notice::Ended { node: AGENT, .. })), "{seen:?}");
    }

    #[test]
    fn nobody_at_home_is_a_refused_attempt() {
        let mut network: Network<u32> = Network::new(1, Transport::default());
        network.crash(HUB);
        let id = network.connect(AGENT, HUB, Moment(0));
        let seen = notices(&mut network, Moment(60_000_000));
        assert_eq!(seen, [Notice::Ended { connection: id, node: AGENT, reason: "nobody answered" }]);
    }
}
