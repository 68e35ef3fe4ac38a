//! Records as people see them, from the rows that [`crate::rows`] makes: the same at an agent and at a hub.
//!
//! Promise: one line per record. A payload is shown as JSON, as text, or as `base64:…` when it is neither.
//! Absent: whole payloads; `--json` gives those.

use serde_json::Value;

use super::{Align, Table, visible};

/// Characters of a payload that are shown.
const PAYLOAD_CHARS: usize = 60;
/// Characters of a device's id, where it has no name: enough to tell ten thousand devices apart.
const ID_CHARS: usize = 12;

/// Whose records a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authors {
    /// Those of one device, which need not be named.
    One,
    /// Those of many.
    Many,
}

/// Records as a table.
#[must_use]
pub fn record_table<'a>(records: impl IntoIterator<Item = &'a Value>, authors: Authors) -> Table {
    let mut heads = vec![("time", Align::Left)];
    if authors == Authors::Many {
        heads.push(("device", Align::Left));
    }
    heads.extend([
        ("lane", Align::Left),
        ("seq", Align::Right),
        ("topic", Align::Left),
        ("payload", Align::Left),
    ]);
    let mut table = Table::new(&heads);
    for record in records {
        let mut cells = vec![text(record, "time").to_owned()];
        if authors == Authors::Many {
            cells.push(device(record));
        }
        cells.extend([text(record, "lane").to_owned(), seq(record)]);
        cells.extend([text(record, "topic").to_owned(), payload(record)]);
        table.row(cells);
    }
    table
}

/// A record as a line, for streams: a table would have to wait for its widest cell.
#[must_use]
pub fn record_line(record: &Value) -> String {
    let (time, lane, topic) = (text(record, "time"), text(record, "lane"), text(record, "topic"));
    let line = format!("{time}  {}  {lane}/{}  {topic}  {}", device(record), seq(record), payload(record));
    visible(&line).into_owned()
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn seq(record: &Value) -> String {
    record.get("seq").and_then(Value::as_u64).unwrap_or_default().to_string()
}

fn device(record: &Value) -> String {
    match text(record, "name") {
        "" => text(record, "device").chars().take(ID_CHARS).collect(),
        name => name.to_owned(),
    }
}

fn payload(record: &Value) -> String {
    let exact = record.get("text").and_then(Value::as_str);
    let shown = match (record.get("payload"), exact) {
        // Numbers with many digits are right in the text alone; a document of many lines reads better on one.
        (Some(_), Some(text)) if !text.contains('\n') => text.to_owned(),
        (Some(payload), _) => payload.to_string(),
        (None, Some(text)) => text.to_owned(),
        (None, None) => format!("base64:{}", text(record, "base64")),
    };
    // Cut as it will be seen: a payload of control characters is six times as wide then.
    let shown = visible(&shown);
    if shown.chars().count() <= PAYLOAD_CHARS {
        return shown.into_owned();
    }
    shown.chars().take(PAYLOAD_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(payload: &Value) -> Value {
        let mut row = json!({"time": "t", "device": "0123456789abcdef", "name": null, "lane": "bulk", "seq": 7,
            "topic": "a/b"});
        row.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
        row
    }

    #[test]
    fn a_long_payload_is_cut_and_control_characters_do_no_harm() {
        let line = record_line(&row(&json!({"text": format!("\u{1b}[2J{}", "x".repeat(99))})));
        assert!(line.starts_with("t  0123456789ab  bulk/7  a/b  \\u{1b}[2Jxx"), "{line}");
        assert!(line.ends_with('…') && !line.contains('\u{1b}'), "{line}");
        let hostile = json!({"topic": "a\u{1b}[31m\nb", "payload": "\u{9b}2J", "name": "x\r"});
        let table = record_table([&row(&hostile)], Authors::Many).to_string();
        assert!(table.contains("x\\r     bulk    7  a\\u{1b}[31m\\nb  \"\\u{9b}2J\"\n"), "{table}");
        assert_eq!(table.lines().count(), 2, "{table}");
    }

    #[test]
    fn a_payload_is_shown_in_one_way_everywhere() {
        for (found, shown) in [
            (json!({"payload": {"c": 1}}), "{\"c\":1}"),
            (json!({"payload": 1.2e22, "text": "12345678901234567890123"}), "12345678901234567890123"),
            (json!({"payload": [1], "text": "[\n1]"}), "[1]"),
            (json!({"payload": "on"}), "\"on\""),
            (json!({"text": "on"}), "on"),
            (json!({"base64": "/wA="}), "base64:/wA="),
        ] {
            let row = row(&found);
            assert!(record_line(&row).ends_with(&format!("  {shown}")), "{shown}");
            for authors in [Authors::One, Authors::Many] {
                let table = record_table([&row], authors).to_string();
                assert!(table.trim_end().ends_with(&format!("  {shown}")), "{table}");
            }
        }
        let heads = record_table([], Authors::One).to_string();
        assert_eq!(heads, "time  lane  seq  topic  payload\n");
    }
}
