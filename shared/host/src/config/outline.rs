//! Outline: where each key of a TOML file stands, so that an error can name its line.
//!
//! Promise: for files with one key per line (all that Millrace writes) line and key path are exact.
//! Absent: no values and no syntax errors, which the TOML parser reports. Keys inside inline tables
//! and text inside multi-line strings are not told apart; the outline is used for messages only.

/// One key of the file: its line (from 1) and its full dotted path (`mqtt.broker`, `lane.0.name`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) path: String,
}

/// The keys of `text` in order. Tables are listed too, at the line of their header.
pub(crate) fn outline(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut table = String::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let line = line.trim();
        if let Some(name) =
            line.strip_prefix("[[").and_then(|rest| rest.split_once("]]")).map(|(n, _)| n.trim())
        {
            let nth = entries.iter().filter(|e| is_item_of(&e.path, name)).count();
            table = format!("{name}.{nth}");
            entries.push(Entry { line: line_number, path: table.clone() });
        } else if let Some(name) =
            line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(n, _)| n.trim())
        {
            table = name.to_owned();
            entries.push(Entry { line: line_number, path: table.clone() });
        } else if let Some(key) = key_of(line) {
            let path = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            entries.push(Entry { line: line_number, path });
        }
    }
    entries
}

/// The line of the key `path`, or of the nearest table above it that the file has.
pub(crate) fn line_of(text: &str, path: &str) -> Option<usize> {
    let entries = outline(text);
    let mut wanted = path;
    loop {
        if let Some(entry) = entries.iter().find(|entry| entry.path == wanted) {
            return Some(entry.line);
        }
        (wanted, _) = wanted.rsplit_once('.')?;
    }
}

/// The path of the key or table that stands on `line`.
pub(crate) fn path_at(text: &str, line: usize) -> Option<String> {
    outline(text).into_iter().find(|entry| entry.line == line).map(|entry| entry.path)
}

fn is_item_of(path: &str, array: &str) -> bool {
    path.strip_prefix(array)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|nth| !nth.is_empty() && nth.bytes().all(|b| b.is_ascii_digit()))
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'');
    (!key.is_empty() && key.chars().all(plain)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# comment = no key
name = \"press-7\"

[mqtt]
broker = \"tcp://localhost\"

[[subscribe]]
filter = \"a/#\"
[[subscribe]]
filter = \"b/#\"
";

    #[test]
    fn keys_are_found_by_path_and_by_line() {
        assert_eq!(line_of(FILE, "name"), Some(2));
        assert_eq!(line_of(FILE, "mqtt.broker"), Some(5));
        assert_eq!(line_of(FILE, "subscribe.1.filter"), Some(10));
        assert_eq!(path_at(FILE, 8).as_deref(), Some("subscribe.0.filter"));
        assert_eq!(path_at(FILE, 1), None);
    }

    #[test]
    fn a_key_that_is_not_written_points_to_its_table() {
        assert_eq!(line_of(FILE, "mqtt.password.file"), Some(4));
        assert_eq!(line_of(FILE, "hub.address"), None);
    }
}
