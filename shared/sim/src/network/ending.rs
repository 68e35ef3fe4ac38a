//! How an end learns that it is over: a last word, a reset, or silence.

use std::time::Duration;

use millrace_model::Moment;

use super::inner::Inner;
use super::{ConnectionId, LAST_WORDS, Network, Notice};
use crate::connection::{Connection, Life, Side};

impl<F> Network<F> {
    pub(super) fn last_word(&mut self, connection: ConnectionId, from: Side, tries: u32) {
        let Some(link) = self.connections.get(&connection) else { return };
        let (sender, receiver) = (*link.end(from), *link.end(from.other()));
        // Orderly: only after everything that was sent before.
        let before = link.streams.iter().any(|((side, _), stream)| *side == from && stream.has_more());
        let waits = sender.life == Life::Lingering && before && tries < LAST_WORDS * 4;
        let lost = self.roads.entry((sender.node, receiver.node)).or_default().loses(&mut self.random)
            || self.down.contains(&receiver.node);
        if waits || (lost && tries < LAST_WORDS) {
            let word = Inner::LastWord { connection, from, tries: tries + 1 };
            return self.timeline.after(Duration::from_millis(250), word);
        }
        if let Some(link) = self.connections.get_mut(&connection) {
            link.end_mut(from).life = Life::Dead;
        }
        if !lost {
            self.end(connection, from.other(), "the peer ended it");
        }
    }

    pub(super) fn end(&mut self, connection: ConnectionId, side: Side, reason: &'static str) {
        let Some(link) = self.connections.get_mut(&connection) else { return };
        let end = link.end_mut(side);
        if matches!(end.life, Life::Alive | Life::Unborn) {
            let unborn = end.life == Life::Unborn;
            end.life = Life::Dead;
            let node = end.node;
            // A listener that never heard of the connection has nothing to notice.
            if !(unborn && side == Side::Listener) {
                self.ready.push_back(Notice::Ended { connection, node, reason });
            }
        }
    }

    pub(super) fn pulse(&mut self, id: ConnectionId, now: Moment) {
        for from in [Side::Dialer, Side::Listener] {
            let Some(link) = self.connections.get(&id) else { return };
            let (sender, receiver) = (*link.end(from), *link.end(from.other()));
            if sender.life == Life::Alive && self.open(sender.node, receiver.node) {
                if receiver.life == Life::Alive {
                    if let Some(link) = self.connections.get_mut(&id) {
                        link.end_mut(from.other()).heard_at = now;
                    }
                } else if receiver.life == Life::Dead {
                    self.reset(id, from, receiver.node, sender.node);
                }
            }
        }
        for side in [Side::Dialer, Side::Listener] {
            let Some(link) = self.connections.get(&id) else { return };
            let end = *link.end(side);
            if end.life == Life::Alive && now.since(end.heard_at) >= self.transport.idle {
                self.end(id, side, "nothing was heard for the idle time");
            }
        }
        if !self.forget_if_over(id) {
            let spread = self.random.u64(0..1_000_000);
            self.timeline.after(self.transport.pulse + Duration::from_micros(spread), Inner::Pulse(id));
        }
    }

    pub(super) fn forget_if_over(&mut self, id: ConnectionId) -> bool {
        if self.connections.get(&id).is_none_or(Connection::is_over) {
            self.connections.remove(&id);
            return true;
        }
        false
    }
}
