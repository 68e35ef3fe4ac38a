//! One record as JSON.
//!
//! Promise: a payload is shown in the first form that fits: JSON as JSON, text as text, everything else in base 64.

use millrace_journal::Row;
use millrace_model::Flags;
use serde_json::{Map, Value, json};

use crate::time::rfc3339;

/// The row that the API answers with. `name` is the device's, when it is known.
pub(crate) fn row(row: &Row, name: Option<&str>) -> Value {
    let record = &row.record;
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("device", json!(row.journal.device));
    put("name", json!(name));
    put("incarnation", json!(row.journal.incarnation));
    put("lane", json!(row.journal.lane));
    put("seq", json!(row.seq));
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
    let (key, payload) = payload(&record.payload);
    put(key, payload);
    Value::Object(out)
}

fn payload(bytes: &[u8]) -> (&'static str, Value) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return ("payload", value);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => ("text", json!(text)),
        Err(_) => ("base64", json!(base64(bytes))),
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |sextet: u32| {
        let place = usize::try_from(sextet & 63).unwrap_or_default();
        LETTERS.get(place).copied().map_or('=', char::from)
    };
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut three = group.iter().copied().map(u32::from).chain(std::iter::repeat(0));
        let word = three.by_ref().take(3).fold(0_u32, |word, byte| word << 8 | byte);
        for place in 0..4_usize {
            let padding = place > group.len();
            out.push(if padding { '=' } else { letter(word >> (18 - 6 * place)) });
        }
    }
    out
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
        row(&Row { journal, seq: 9, record }, Some("press-7"))
    }

    #[test]
    fn base_64_is_that_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
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
        assert_eq!(shown(b"on")["text"], "on");
        assert!(shown(b"on").get("payload").is_none());
        assert_eq!(shown(&[0xff, 0x00])["base64"], "/wA=");
    }
}
