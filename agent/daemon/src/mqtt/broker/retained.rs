//! Retained messages: the last one of each topic that asked for it, for subscribers who come later.
//!
//! Promise: bounded in topics and in bytes; what does not fit is not retained, and the message itself still flows.
//! Absent: durability. They live in memory and are gone with the process; sensors repeat them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::mqtt::filter::Filter;
use crate::mqtt::packet::Qos;

/// The retained messages of the house.
#[derive(Debug)]
pub(super) struct Retained {
    messages: BTreeMap<String, (Bytes, Qos)>,
    bytes: usize,
    topics_max: usize,
    bytes_max: usize,
}

impl Retained {
    pub(super) const fn new(topics_max: usize, bytes_max: usize) -> Self {
        Self { messages: BTreeMap::new(), bytes: 0, topics_max, bytes_max }
    }

    /// Keeps, replaces, or (empty payload) forgets the message of a topic. False: there is no room for it, and what was
    /// kept before is forgotten, because an old value that looks current would be a lie.
    pub(super) fn keep(&mut self, topic: &str, payload: &Bytes, qos: Qos) -> bool {
        if let Some((old, _)) = self.messages.remove(topic) {
            self.bytes -= topic.len() + old.len();
        }
        if payload.is_empty() {
            return true;
        }
        let bytes = topic.len() + payload.len();
        if self.messages.len() >= self.topics_max || self.bytes + bytes > self.bytes_max {
            return false;
        }
        self.bytes += bytes;
        // A copy: the payload is a slice of a read buffer that must not live as long as this.
        self.messages.insert(topic.to_owned(), (Bytes::copy_from_slice(payload), qos));
        true
    }

    /// The messages that a filter covers.
    pub(super) fn covered<'a>(
        &'a self,
        filter: &'a Filter,
    ) -> impl Iterator<Item = (&'a str, &'a Bytes, Qos)> {
        let covered = self.messages.iter().filter(|(topic, _)| filter.covers(topic));
        covered.map(|(topic, (payload, qos))| (topic.as_str(), payload, *qos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_payload_forgets_and_a_full_store_refuses() {
        let mut retained = Retained::new(2, 64);
        let value = Bytes::from_static(b"1");
        assert!(retained.keep("a", &value, Qos::AtMostOnce));
        assert!(retained.keep("b", &value, Qos::AtMostOnce));
        assert!(!retained.keep("c", &value, Qos::AtMostOnce));
        assert!(retained.keep("a", &Bytes::new(), Qos::AtMostOnce));
        assert!(retained.keep("c", &value, Qos::AtMostOnce));
        assert!(!retained.keep("b", &Bytes::from(vec![0; 100]), Qos::AtMostOnce));
        let all = Filter::new("#").unwrap();
        let topics: Vec<&str> = retained.covered(&all).map(|(topic, ..)| topic).collect();
        assert_eq!(topics, ["c"]);
    }
}
