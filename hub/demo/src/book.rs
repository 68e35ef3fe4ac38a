//! The publisher's book: which publication stands where between sensor and acknowledgement.
//!
//! ```text
//! hand_over ▶ queue ─ written(packet id) ▶ by_packet ─ answered(packet id) ▶ tally
//!                └──────────── broken ──────────┴─▶ published again
//! ```
//!
//! Promise: every reading that was handed over is answered, or comes back from [`Book::broken`].
//! Absent: sockets. The MQTT library reports what it wrote, in the order in which it was asked to.

use std::collections::{BTreeMap, VecDeque};

use rumqttc::QoS;

use crate::publication::fingerprint;
use crate::tally::Entry;
use crate::{Fate, Publication, Stamp, Tally};

/// A publication without its answer.
#[derive(Debug)]
struct Outstanding {
    publication: Publication,
    fingerprint: u64,
    written: bool,
}

/// The book of one MQTT connection after the other.
#[derive(Debug, Default)]
pub struct Book {
    next: u64,
    outstanding: BTreeMap<u64, Outstanding>,
    queue: VecDeque<u64>,
    by_packet: BTreeMap<u16, u64>,
    unconfirmed: Vec<Stamp>,
    tally: Tally,
    breaks: u64,
}

impl Book {
    /// A publication goes to the MQTT library. Returns its payload.
    pub fn hand_over(&mut self, publication: Publication) -> Vec<u8> {
        let payload = publication.payload();
        let fingerprint = fingerprint(&publication.topic, &payload);
        self.queue.push_back(self.next);
        self.outstanding.insert(self.next, Outstanding { publication, fingerprint, written: false });
        self.next += 1;
        payload
    }

    /// The library wrote the next publication under this packet id (0: QoS 0). Returns how many are settled by that.
    pub fn written(&mut self, packet: u16) -> usize {
        let Some(order) = self.queue.pop_front() else { return 0 };
        if packet > 0 {
            self.by_packet.insert(packet, order);
            if let Some(sent) = self.outstanding.get_mut(&order) {
                sent.written = true;
            }
            return 0;
        }
        let Some(sent) = self.outstanding.remove(&order) else { return 0 };
        self.unconfirmed.push(sent.publication.stamp.clone());
        self.settle(sent, Fate::Written);
        1
    }

    /// PUBACK or PUBREC came for this packet id. Returns how many are settled by that.
    pub fn answered(&mut self, packet: u16) -> usize {
        let sent = self.by_packet.remove(&packet).and_then(|order| self.outstanding.remove(&order));
        let Some(sent) = sent else { return 0 };
        // The agent answers in the order of arrival and only what is stored: what was written before is stored too.
        self.unconfirmed.clear();
        self.settle(sent, Fate::Acknowledged);
        1
    }

    /// The connection is gone. Returns what must be published again, in order.
    pub fn broken(&mut self) -> Vec<Publication> {
        self.breaks += 1;
        self.queue.clear();
        self.by_packet.clear();
        for stamp in std::mem::take(&mut self.unconfirmed) {
            if let Some(entry) = self.tally.entries.get_mut(&stamp) {
                entry.fate = Fate::InFlight;
            }
        }
        let mut again = Vec::with_capacity(self.outstanding.len());
        for (_, sent) in std::mem::take(&mut self.outstanding) {
            let publication = sent.publication.clone();
            if sent.written {
                self.settle(sent, Fate::Unanswered);
                again.push(publication.again());
            } else {
                again.push(publication);
            }
        }
        again
    }

    fn settle(&mut self, sent: Outstanding, fate: Fate) {
        let Outstanding { publication, fingerprint, .. } = sent;
        self.tally.entries.insert(publication.stamp, Entry { qos: publication.qos, fate, fingerprint });
    }

    /// Publications without an answer.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// What became of the others.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How often the connection broke or could not be had.
    #[must_use]
    pub const fn breaks(&self) -> u64 {
        self.breaks
    }
}

/// How surely, as MQTT counts it.
#[must_use]
pub const fn level(qos: QoS) -> u8 {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;

    fn publication(number: u64, qos: QoS) -> Publication {
        let stamp = Stamp { source: "m".into(), number, attempt: 1 };
        Publication { topic: "t".into(), qos, stamp, body: Body::Binary(vec![0xff]) }
    }

    fn fates(book: &Book) -> Vec<(String, Fate)> {
        book.tally().entries.iter().map(|(stamp, entry)| (stamp.to_string(), entry.fate)).collect()
    }

    #[test]
    fn an_answer_settles_its_publication_and_confirms_what_was_written_before() {
        let mut book = Book::default();
        book.hand_over(publication(1, QoS::AtMostOnce));
        book.hand_over(publication(2, QoS::AtLeastOnce));
        assert_eq!((book.written(0), book.written(1), book.answered(1)), (1, 0, 1));
        assert_eq!(book.answered(1), 0, "an answer counts once");
        assert!(book.broken().is_empty());
        assert_eq!(fates(&book), [("m/1#1".into(), Fate::Written), ("m/2#1".into(), Fate::Acknowledged)]);
    }

    #[test]
    fn a_break_brings_back_what_was_not_answered_and_names_what_is_in_doubt() {
        let mut book = Book::default();
        for (number, qos) in [(1, QoS::AtLeastOnce), (2, QoS::AtMostOnce), (3, QoS::ExactlyOnce)] {
            book.hand_over(publication(number, qos));
        }
        book.written(1);
        book.written(0);
        let again = book.broken();
        let names: Vec<_> = again.iter().map(|publication| publication.stamp.to_string()).collect();
        assert_eq!(names, ["m/1#2", "m/3#1"], "the third was never written and keeps its first try");
        assert_eq!(fates(&book), [("m/1#1".into(), Fate::Unanswered), ("m/2#1".into(), Fate::InFlight)]);
        assert_eq!((book.outstanding(), book.breaks()), (0, 1));
    }
}
