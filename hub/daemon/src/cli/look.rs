//! How answers look: parts of JSON for pages and tables.

use millrace_host::terminal::visible;
use serde_json::Value;

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A text for a page. Names, reasons and topics come from devices; tables see to that by themselves.
pub(super) fn shown(value: &Value, key: &str) -> String {
    visible(text(value, key)).into_owned()
}

pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}
