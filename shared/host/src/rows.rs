//! One record as JSON, as the hub's API and both command lines show it.
//!
//! Promise: a payload is shown in the first form that fits: JSON as JSON, text as text, everything else in base 64. Its exact
//! bytes can always be had: JSON that would not be written the same way again comes with its text.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use millrace_model::{Flags, JournalId, Record, Seq};
use serde_json::{Map, Value, json};

use crate::times::rfc3339;

/// The record at `seq` of `journal`. `name` is the device's, when it is known.
#[must_use]
pub fn row(journal: &JournalId, seq: Seq, record: &Record, name: Option<&str>) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("device", json!(journal.device));
    put("name", json!(name));
    put("incarnation", json!(journal.incarnation));
    put("lane", json!(journal.lane));
    put("seq", json!(seq));
    put("kind", json!(record.kind.name()));
    put("topic", json!(record.topic.as_str()));
    put("time", json!(rfc3339(record.wall)));
    put("wall_us", json!(record.wall.0));
    put("mono_us", json!(record.mono));
    put("qos", json!(record.flags.qos()));
    put("retained", json!(record.flags.has(Flags::RETAINED)));
    if record.flags.has(Flags::TIME_UNCERTAIN) {
        put("time_uncertain", json!(true));
    }
    if let Some(source) = record.source {
        put("source_us", json!(source.0));
    }
    for (key, shown) in payload(&record.payload) {
        put(key, shown);
    }
    Value::Object(out)
}

fn payload(bytes: &[u8]) -> Vec<(&'static str, Value)> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return vec![("base64", json!(BASE64_STANDARD.encode(bytes)))];
    };
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return vec![("text", json!(text))];
    };
    // Numbers with more digits than a double has, doubled keys and their order do not survive reading.
    let written = value.to_string();
    if written == text { vec![("payload", value)] } else { vec![("payload", value), ("text", json!(text))] }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millrace_model::{DeviceId, Incarnation, JournalId, Lane, Record, Topic, Wall};

    use super::*;

    fn shown(payload: &'static [u8]) -> Value {
        let record =
            Record::data(Topic::new("a/b").unwrap(), Bytes::from_static(payload), Wall(1_500_000), 7);
        let journal = JournalId {
            device: DeviceId::from_bytes([1; 16]),
            incarnation: Incarnation::new(2),
            lane: Lane::Normal,
        };
        row(&journal, 9, &record, Some("press-7"))
    }

    #[test]
    fn a_row_has_the_agreed_keys() {
        let found = shown(b"{\"c\":21.5}");
        assert_eq!(
            found,
            json!({
                "device": "01".repeat(16), "name": "press-7", "incarnation": "0000000000000002",
                "lane": "normal", "seq": 9, "kind": "data", "topic": "a/b",
                "time": "1970-01-01T00:00:01.500000Z", "wall_us": 1_500_000, "mono_us": 7,
                "qos": 0, "retained": false, "payload": {"c": 21.5}
            })
        );
    }

    #[test]
    fn a_payload_is_shown_in_the_form_that_fits() {
        assert_eq!(shown(b"42")["payload"], 42);
        assert!(shown(b"42").get("text").is_none(), "its exact bytes are known");
        let exact = shown(b"{\"n\": 12345678901234567890123}");
        assert_eq!(exact["text"], "{\"n\": 12345678901234567890123}");
        assert!(exact["payload"]["n"].is_number());
        assert_eq!(shown(b"on")["text"], "on");
        assert!(shown(b"on").get("payload").is_none());
        assert_eq!(shown(&[0xff, 0x00])["base64"], "/wA=");
    }
}
