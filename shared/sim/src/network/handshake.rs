//! How a connection comes to be: a knock, an answer, and the end of patience.

use std::time::Duration;

use millrace_model::Moment;

use super::inner::Inner;
use super::{ConnectionId, Network, Node, Notice};
use crate::connection::{Life, Side};

impl<F> Network<F> {
    /// A packet of a handshake: lost ones are sent again until the time is over.
    pub(super) fn handshake_passage(&mut self, from: Node, to: Node) -> Duration {
        let weather = self.roads.entry((from, to)).or_default();
        let mut span = weather.passage(&mut self.random);
        let mut tries = 0;
        while !weather.cut && tries < 8 && weather.loses(&mut self.random) {
            tries += 1;
            span += Duration::from_millis(200) * tries;
        }
        span
    }

    pub(super) fn knocked(&mut self, id: ConnectionId, now: Moment) {
        let Some(link) = self.connections.get_mut(&id) else { return };
        let (dialer, listener) = (link.dialer.node, link.listener.node);
        if link.dialer.life != Life::Unborn {
            return;
        }
        if !self.open(dialer, listener) {
            // Tried again until the time is over.
            return self.timeline.after(Duration::from_secs(1), Inner::Knock(id));
        }
        if let Some(link) = self.connections.get_mut(&id)
            && link.listener.life == Life::Unborn
        {
            link.listener.life = Life::Alive;
            link.listener.heard_at = now;
            self.ready.push_back(Notice::Accepted { connection: id, node: listener, from: dialer });
            self.timeline.after(self.transport.pulse, Inner::Pulse(id));
        }
        let passage = self.handshake_passage(listener, dialer);
        self.timeline.after(passage, Inner::Answer(id));
    }

    pub(super) fn answered(&mut self, id: ConnectionId, now: Moment) {
        let Some(link) = self.connections.get(&id) else { return };
        let (dialer, listener) = (link.dialer.node, link.listener.node);
        if link.dialer.life != Life::Unborn || link.listener.life != Life::Alive {
            return;
        }
        if !self.open(listener, dialer) {
            return self.timeline.after(Duration::from_secs(1), Inner::Answer(id));
        }
        if let Some(link) = self.connections.get_mut(&id) {
            link.dialer.life = Life::Alive;
            link.dialer.heard_at = now;
        }
        self.ready.push_back(Notice::Connected { connection: id, node: dialer });
    }

    pub(super) fn give_up(&mut self, id: ConnectionId) {
        let Some(link) = self.connections.get_mut(&id) else { return };
        if link.dialer.life == Life::Unborn {
            self.end(id, Side::Dialer, "nobody answered");
        }
        self.forget_if_over(id);
    }
}
