//! Outbound: the sending half of QoS 0 and 1, towards one local subscriber.
//!
//! Promise: what was sent with QoS 1 and not acknowledged is sent again, marked as repeated, when the session is
//! resumed; at most `unacked_max` messages wait for their PUBACK.
//! Absent: QoS 2 towards subscribers; a subscription that asks for it is granted QoS 1.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::routes::Forward;
use crate::mqtt::packet::{Publication, Qos};

/// The sending half of one session.
#[derive(Debug)]
pub(super) struct Outbound {
    outbox: mpsc::Receiver<Forward>,
    unacked: BTreeMap<u16, Forward>,
    next_id: u16,
    unacked_max: usize,
}

impl Outbound {
    pub(super) fn new(outbox: mpsc::Receiver<Forward>) -> Self {
        Self { outbox, unacked: BTreeMap::new(), next_id: 0, unacked_max: 1 }
    }

    /// A new connection begins; it takes `unacked_max` messages without an answer. Returns what must be repeated.
    pub(super) fn begin(&mut self, unacked_max: u16) -> Vec<Publication> {
        self.unacked_max = usize::from(unacked_max.max(1));
        self.unacked.iter().map(|(id, forward)| publication(forward.clone(), *id, true)).collect()
    }

    /// Whether a message may leave now.
    pub(super) fn has_room(&self) -> bool {
        self.unacked.len() < self.unacked_max
    }

    /// Waits for messages, `max` at most. Safe to cancel.
    pub(super) async fn wait(&mut self, batch: &mut Vec<Forward>, max: usize) -> usize {
        self.outbox
            .recv_many(batch, max.min(self.unacked_max - self.unacked.len().min(self.unacked_max)))
            .await
    }

    /// Gives a message its packet id.
    pub(super) fn send(&mut self, forward: Forward) -> Publication {
        if forward.qos == Qos::AtMostOnce {
            return publication(forward, 0, false);
        }
        // Fewer than 65,535 are unacknowledged, so a free id is found.
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if !self.unacked.contains_key(&self.next_id) {
                break;
            }
        }
        self.unacked.insert(self.next_id, forward.clone());
        publication(forward, self.next_id, false)
    }

    /// A PUBACK came.
    pub(super) fn acked(&mut self, packet_id: u16) {
        self.unacked.remove(&packet_id);
    }
}

fn publication(forward: Forward, packet_id: u16, dup: bool) -> Publication {
    Publication {
        topic: forward.topic.as_ref().to_owned(),
        payload: forward.payload,
        qos: forward.qos,
        retain: forward.retain,
        dup,
        packet_id,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn forward(qos: Qos) -> Forward {
        Forward { topic: "t".into(), payload: Bytes::from_static(b"x"), qos, retain: false }
    }

    #[test]
    fn what_was_not_acknowledged_is_repeated_on_the_next_connection() {
        let (_outbox, rest) = mpsc::channel(1);
        let mut outbound = Outbound::new(rest);
        assert!(outbound.begin(2).is_empty());
        let first = outbound.send(forward(Qos::AtLeastOnce));
        let second = outbound.send(forward(Qos::AtLeastOnce));
        assert!(!outbound.has_room());
        outbound.acked(first.packet_id);
        assert!(outbound.has_room());
        let repeated = outbound.begin(2);
        assert_eq!(repeated.len(), 1);
        assert_eq!((repeated[0].packet_id, repeated[0].dup), (second.packet_id, true));
    }

    #[test]
    fn qos_0_needs_no_packet_id() {
        let (_outbox, rest) = mpsc::channel(1);
        let mut outbound = Outbound::new(rest);
        assert_eq!(outbound.send(forward(Qos::AtMostOnce)).packet_id, 0);
        assert!(outbound.has_room());
    }
}
