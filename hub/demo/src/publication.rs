//! A publication: a reading with a name that is found again at the hub.
//!
//! ```text
//! press-1/42#1     source / number # try
//! JSON payload     {"id":"press-1/42","try":1,…}
//! binary payload   press-1/42#1\n then the bytes
//! ```
//!
//! Promise: no two publications of a plant have the same [`Stamp`]. A reading whose publication was never answered is
//! published again under the same id and the next try, so that "delivered twice because the answer got lost" and
//! "doubled" can be told apart.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use rumqttc::QoS;
use serde_json::{Map, Value};

/// The name of one publication.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp {
    /// The machine that made the reading.
    pub source: Arc<str>,
    /// Counts the readings of the machine, from 1.
    pub number: u64,
    /// Counts the publications of this reading, from 1.
    pub attempt: u32,
}

impl fmt::Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}#{}", self.source, self.number, self.attempt)
    }
}

impl Stamp {
    /// Reads `source/number`, and the try beside it.
    fn parse(id: &str, attempt: u32) -> Option<Self> {
        let (source, number) = id.rsplit_once('/')?;
        Some(Self { source: source.into(), number: number.parse().ok()?, attempt })
    }

    /// The stamp in a payload, when it has one.
    #[must_use]
    pub fn of_payload(payload: &[u8]) -> Option<Self> {
        if payload.first() == Some(&b'{') {
            return Self::of_json(&serde_json::from_slice(payload).ok()?);
        }
        let line = payload.split(|byte| *byte == b'\n').next()?;
        let (id, attempt) = std::str::from_utf8(line).ok()?.rsplit_once('#')?;
        Self::parse(id, attempt.parse().ok()?)
    }

    /// The stamp in a JSON payload, when it has one.
    #[must_use]
    pub fn of_json(payload: &Value) -> Option<Self> {
        let attempt = payload.get("try")?.as_u64()?;
        Self::parse(payload.get("id")?.as_str()?, u32::try_from(attempt).ok()?)
    }

    /// Which reading it is, whatever the try.
    #[must_use]
    pub fn reading(&self) -> (Arc<str>, u64) {
        (Arc::clone(&self.source), self.number)
    }
}

/// What a reading says.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// Named values.
    Json(Map<String, Value>),
    /// Packed samples.
    Binary(Vec<u8>),
}

/// A reading on its way.
#[derive(Clone, PartialEq, Debug)]
pub struct Publication {
    /// Where it is published.
    pub topic: String,
    /// How surely.
    pub qos: QoS,
    /// Its name.
    pub stamp: Stamp,
    /// What it says.
    pub body: Body,
}

impl Publication {
    /// The payload, stamped.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        match &self.body {
            Body::Json(values) => {
                let mut values = values.clone();
                let id = format!("{}/{}", self.stamp.source, self.stamp.number);
                values.insert("id".into(), id.into());
                values.insert("try".into(), self.stamp.attempt.into());
                Value::Object(values).to_string().into_bytes()
            }
            Body::Binary(samples) => {
                let mut payload = format!("{}\n", self.stamp).into_bytes();
                payload.extend_from_slice(samples);
                payload
            }
        }
    }

    /// The same reading, to be published once more.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.stamp.attempt += 1;
        self
    }
}

/// A number that tells two payloads apart, the same for JSON texts that say the same. Against accidents, not against
/// anybody.
#[must_use]
pub fn fingerprint(topic: &str, payload: &[u8]) -> u64 {
    match serde_json::from_slice::<Value>(payload) {
        Ok(value) => fingerprint_json(topic, &value),
        Err(_) => digest(topic, payload),
    }
}

/// [`fingerprint`] of a payload that is known as JSON.
#[must_use]
pub fn fingerprint_json(topic: &str, payload: &Value) -> u64 {
    digest(topic, payload.to_string().as_bytes())
}

fn digest(topic: &str, bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    topic.hash(&mut hasher);
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(body: Body) -> Publication {
        let stamp = Stamp { source: "press-1".into(), number: 42, attempt: 1 };
        Publication { topic: "t".into(), qos: QoS::AtLeastOnce, stamp, body }
    }

    #[test]
    fn the_stamp_is_found_in_both_kinds_of_payload() {
        let mut values = Map::new();
        values.insert("oil_c".into(), 48.31.into());
        for body in [Body::Json(values), Body::Binary(vec![0xff, 0, b'\n', b'#'])] {
            let publication = publication(body);
            assert_eq!(Stamp::of_payload(&publication.payload()), Some(publication.stamp.clone()));
            let again = publication.clone().again();
            assert_eq!(again.stamp.to_string(), "press-1/42#2");
            assert_eq!(again.stamp.reading(), publication.stamp.reading());
        }
    }

    #[test]
    fn foreign_payloads_have_no_stamp() {
        for payload in ["", "{}", "hello\n", "a#b", "a/b#1", r#"{"id":"x/1"}"#] {
            assert_eq!(Stamp::of_payload(payload.as_bytes()), None, "{payload}");
        }
    }

    #[test]
    fn json_that_says_the_same_has_the_same_fingerprint() {
        assert_eq!(fingerprint("t", br#"{"a":1, "b":2.5}"#), fingerprint("t", br#"{"b":2.50,"a":1}"#));
        assert_ne!(fingerprint("t", br#"{"a":1}"#), fingerprint("t", br#"{"a":2}"#));
        assert_ne!(fingerprint("t", &[0xff]), fingerprint("u", &[0xff]));
    }
}
