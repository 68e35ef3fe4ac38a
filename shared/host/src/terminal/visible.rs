//! Foreign text on a terminal: what devices, publishers and hubs wrote must be seen, not obeyed.
//!
//! Promise: what comes out moves no cursor, changes no colour and turns no reading direction; everything else stays as it
//! is. What is hidden is written the way that Rust writes it (`\u{1b}`, `\n`).
//! Absent: telling a hidden character from somebody's own `\u{1b}` in letters; `--json` is exact.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal would obey a character instead of showing it: control characters, also those of one byte beyond
/// ASCII; line breaks of Unicode; marks that turn the reading direction, by which a name can look like another.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` on one line, with everything that a terminal would obey written out.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    written_out(text, is_obeyed)
}

/// As [`visible`], with the line breaks kept: for messages that this program laid out itself.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    written_out(text, |c| c != '\n' && is_obeyed(c))
}

fn written_out(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A JSON document with the same meaning and nothing in it that a terminal would obey. JSON itself hides only what is
/// below a blank; all that is left stands inside of strings, where `\u009b` means the same.
#[must_use]
pub fn visible_json(document: &str) -> Cow<'_, str> {
    let hidden = |c: char| c > '~' && is_obeyed(c);
    if !document.contains(hidden) {
        return Cow::Borrowed(document);
    }
    let mut out = String::with_capacity(document.len() + 8);
    for c in document.chars() {
        if hidden(c) {
            // Writing to a string does not fail. All of these have one number of four digits.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        for (text, shown) in [
            ("plant/µ/temp 21 °C ✓", "plant/µ/temp 21 °C ✓"),
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("a\nb\tc\rd\0", "a\\nb\\tc\\rd\\u{0}"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("abc\u{202e}fed", "abc\\u{202e}fed"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_lines("line 3: a\u{7}\n  fix: b"), "line 3: a\\u{7}\n  fix: b");
    }

    #[test]
    fn a_json_document_means_the_same_afterwards() {
        let value = serde_json::json!({ "text": "\u{1b}[2J \u{9b}2J \u{7f} \u{202e} µ" });
        let shown = visible_json(&format!("{value:#}")).into_owned();
        assert!(!shown.contains(|c: char| c != '\n' && is_obeyed(c)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
