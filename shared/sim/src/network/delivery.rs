//! How a frame arrives, or is lost and sent again.

use std::time::Duration;

use millrace_model::Moment;

use super::inner::Inner;
use super::{ChannelId, ConnectionId, Network, Node, Notice, RETRY_MAX};
use crate::connection::{Life, Side};

impl<F> Network<F> {
    pub(super) fn attempted(
        &mut self,
        id: ConnectionId,
        from: Side,
        channel: ChannelId,
        place: u64,
        tries: u32,
        now: Moment,
    ) {
        let Some(link) = self.connections.get(&id) else { return };
        let (sender, receiver) = (*link.end(from), *link.end(from.other()));
        let waits = link.streams.get(&(from, channel)).is_some_and(|stream| stream.is_on_the_road(place));
        if !waits {
            return;
        }
        let again = matches!(sender.life, Life::Alive | Life::Lingering);
        // A packet that left before its sender lost power is on its way all the same.
        let weather = self.roads.entry((sender.node, receiver.node)).or_default();
        let lost = weather.loses(&mut self.random) || self.down.contains(&receiver.node);
        if lost || receiver.life == Life::Unborn {
            if again {
                let pause = (weather.delay * 2 + Duration::from_millis(50)) * 2_u32.pow(tries.min(6));
                let attempt = Inner::Attempt { connection: id, from, channel, place, tries: tries + 1 };
                self.timeline.after(pause.min(RETRY_MAX), attempt);
            }
            return;
        }
        if receiver.life != Life::Alive {
            if again {
                self.reset(id, from, receiver.node, sender.node);
            }
            return;
        }
        let Some(link) = self.connections.get_mut(&id) else { return };
        link.end_mut(from.other()).heard_at = now;
        let frames = link.streams.entry((from, channel)).or_default().arrive(place);
        let node = receiver.node;
        self.ready.extend(frames.into_iter().map(|frame| Notice::Frame {
            connection: id,
            node,
            channel,
            frame,
        }));
    }

    /// `from`, which knows nothing of a connection, says so to the end `to`.
    pub(super) fn reset(&mut self, connection: ConnectionId, to: Side, from: Node, sender: Node) {
        let weather = self.roads.entry((from, sender)).or_default();
        if self.down.contains(&from) || weather.loses(&mut self.random) {
            return;
        }
        let passage = weather.passage(&mut self.random);
        self.timeline.after(passage, Inner::Reset { connection, to });
    }
}
