//! One connection as both ends see it: channels that deliver in order, ends that die at different times.
//!
//! Absent: time and weather; see [`crate::network`].

use std::collections::BTreeMap;

use millrace_model::Moment;

use crate::network::{ChannelId, Node};

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Side {
    Dialer,
    Listener,
}

impl Side {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Listener,
            Self::Listener => Self::Dialer,
        }
    }
}

/// What one end knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// The handshake is under way.
    Unborn,
    /// It sends and receives.
    Alive,
    /// It has said goodbye: it sends what was asked for before, and hears nothing any more.
    Lingering,
    /// It is gone.
    Dead,
}

/// One end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) node: Node,
    pub(crate) life: Life,
    pub(crate) heard_at: Moment,
}

/// One direction of one channel.
#[derive(Clone, Debug)]
pub(crate) struct Stream<F> {
    sent: u64,
    delivered: u64,
    on_the_road: BTreeMap<u64, (F, u64)>,
    arrived: BTreeMap<u64, F>,
}

impl<F> Default for Stream<F> {
    fn default() -> Self {
        Self { sent: 0, delivered: 0, on_the_road: BTreeMap::new(), arrived: BTreeMap::new() }
    }
}

impl<F> Stream<F> {
    /// A frame is sent; its place in the stream.
    pub(crate) fn push(&mut self, frame: F, bytes: u64) -> u64 {
        let place = self.sent;
        self.sent += 1;
        self.on_the_road.insert(place, (frame, bytes));
        place
    }

    /// Whether the frame at `place` has not arrived yet.
    pub(crate) fn is_on_the_road(&self, place: u64) -> bool {
        self.on_the_road.contains_key(&place)
    }

    /// Whether anything sent has not arrived yet.
    pub(crate) fn has_more(&self) -> bool {
        !self.on_the_road.is_empty()
    }

    /// The frame at `place` arrives, perhaps for the second time. Returns what can be delivered now, in order.
    pub(crate) fn arrive(&mut self, place: u64) -> Vec<F> {
        if let Some((frame, _)) = self.on_the_road.remove(&place) {
            self.arrived.insert(place, frame);
        }
        let mut ready = Vec::new();
        while let Some(frame) = self.arrived.remove(&self.delivered) {
            self.delivered += 1;
            ready.push(frame);
        }
        ready
    }
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection<F> {
    pub(crate) dialer: End,
    pub(crate) listener: End,
    pub(crate) streams: BTreeMap<(Side, ChannelId), Stream<F>>,
}

impl<F> Connection<F> {
    pub(crate) fn new(dialer: Node, listener: Node, now: Moment) -> Self {
        let end = |node| End { node, life: Life::Unborn, heard_at: now };
        Self { dialer: end(dialer), listener: end(listener), streams: BTreeMap::new() }
    }

    pub(crate) const fn end(&self, side: Side) -> &End {
        match side {
            Side::Dialer => &self.dialer,
            Side::Listener => &self.listener,
        }
    }

    pub(crate) const fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Dialer => &mut self.dialer,
            Side::Listener => &mut self.listener,
        }
    }

    pub(crate) const fn side_of(&self, node: Node) -> Side {
        if self.dialer.node == node { Side::Dialer } else { Side::Listener }
    }

    /// Whether nothing can come of it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.dialer.life == Life::Dead && matches!(self.listener.life, Life::Dead | Life::Unborn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_delivers_in_order_and_once() {
        let mut stream = Stream::default();
        let places: Vec<_> = ['a', 'b', 'c'].into_iter().map(|frame| stream.push(frame, 1)).collect();
        assert_eq!(stream.arrive(places[1]), []);
        assert_eq!(stream.arrive(places[0]), ['a', 'b']);
        assert_eq!(stream.arrive(places[1]), [], "a duplicate");
        assert_eq!(stream.arrive(places[2]), ['c']);
    }
}
