//! How answers look: cells of tables from JSON.

use millrace_host::terminal::{Align, Table};
use serde_json::Value;

/// Characters of a payload in a table; `--json` shows all of it.
const PAYLOAD_CHARS: usize = 60;

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// A table for records.
pub(super) fn records() -> Table {
    Table::new(&[
        ("TIME", Align::Left),
        ("DEVICE", Align::Left),
        ("LANE", Align::Left),
        ("SEQ", Align::Right),
        ("TOPIC", Align::Left),
        ("PAYLOAD", Align::Left),
    ])
}

/// One record as cells.
pub(super) fn cells(record: &Value) -> [String; 6] {
    let name = Some(text(record, "name")).filter(|name| !name.is_empty());
    let id = || text(record, "device").chars().take(12).collect();
    [
        text(record, "time").to_owned(),
        name.map_or_else(id, str::to_owned),
        text(record, "lane").to_owned(),
        number(record, "seq").to_string(),
        text(record, "topic").to_owned(),
        payload(record),
    ]
}

/// One record as a line, for streams: a table would have to wait for its widest cell.
pub(super) fn line(record: &Value) -> String {
    let [time, device, lane, seq, topic, payload] = cells(record);
    let mut table = Table::new(&[("", Align::Left)]);
    table.row([format!("{time}  {device}  {lane}/{seq}  {topic}  {payload}")]);
    // The table's own line shows control characters as dots.
    table.to_string().lines().nth(1).unwrap_or_default().to_owned()
}

fn payload(record: &Value) -> String {
    let shown = match (record.get("payload"), record.get("text")) {
        (Some(payload), _) => payload.to_string(),
        (None, Some(text)) => text.as_str().unwrap_or_default().to_owned(),
        (None, None) => format!("base64:{}", text(record, "base64")),
    };
    if shown.chars().count() <= PAYLOAD_CHARS {
        return shown;
    }
    shown.chars().take(PAYLOAD_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_payload_is_cut_and_control_characters_do_no_harm() {
        let long = json!({"time": "t", "device": "0123456789abcdef", "name": null, "lane": "bulk", "seq": 7,
            "topic": "a/b", "text": format!("\u{1b}[2J{}", "x".repeat(99))});
        let line = line(&long);
        assert!(line.starts_with("t  0123456789ab  bulk/7  a/b  "), "{line}");
        assert!(line.ends_with('…') && !line.contains('\u{1b}'), "{line}");
        assert_eq!(cells(&json!({"payload": {"c": 1}}))[5], "{\"c\":1}");
    }
}
