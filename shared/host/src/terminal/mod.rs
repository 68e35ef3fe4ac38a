//! Terminal: what people see when they run a command by hand.
//!
//! Promise: no escape codes where nobody sees them; `NO_COLOR` is honoured; figures keep three
//! significant digits, so that columns stay narrow and comparable. Foreign text is shown and never obeyed.
//! Absent: no cursor movement and no progress bars; the live views have their own library.
//!
//! | module | what it gives |
//! |---|---|
//! | `answer` | [`say`], [`say_bytes`], [`say_json`], [`note`]: what goes to standard output, and what beside it |
//! | `figures` | [`bytes`], [`rate`], [`count`], [`duration`], [`remaining`] |
//! | `receipt` | [`receipt_page`], [`say_receipt_holds`], [`receipt_failure`], [`keep_receipt`], [`note_receipt`]: that two holders have the same records |
//! | `records` | [`record_table`], [`record_line`]: readings as people see them |
//! | `table` | [`Table`] with aligned columns |
//! | `visible` | [`visible`]: foreign text with nothing in it that a terminal would obey |

mod answer;
mod figures;
mod receipt;
mod records;
mod table;
mod visible;

pub use answer::{note, say, say_bytes, say_json, say_json_line};
pub use figures::{bytes, count, duration, rate, remaining};
pub use receipt::{keep_receipt, note_receipt, receipt_failure, receipt_page, say_receipt_holds};
pub use records::{Authors, record_line, record_table};
pub use table::{Align, Table};
pub use visible::{visible, visible_json, visible_lines};

/// Whether to write colours to a stream that is (`is_terminal`) or is not a terminal. `NO_COLOR`, set
/// to anything but an empty text, forbids them, as does a terminal that calls itself `dumb`.
#[must_use]
pub fn colours(is_terminal: bool) -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    decide(is_terminal, forbidden, dumb)
}

const fn decide(is_terminal: bool, forbidden: bool, dumb: bool) -> bool {
    is_terminal && !forbidden && !dumb
}

/// The few colours of the command lines, by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Bad,
    /// Less important than its surroundings.
    Dim,
    /// A heading.
    Strong,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::Dim => "2",
            Self::Strong => "1",
        }
    }
}

/// `text` in a tone, or as it is where colours are not wanted.
#[must_use]
pub fn toned(text: &str, tone: Tone, colours: bool) -> String {
    if colours { format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code()) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_terminal_and_no_objection() {
        assert!(decide(true, false, false));
        assert!(!decide(false, false, false));
        assert!(!decide(true, true, false));
        assert!(!decide(true, false, true));
        assert!(!colours(false));
    }

    #[test]
    fn a_tone_without_colours_is_the_plain_text() {
        assert_eq!(toned("ok", Tone::Good, false), "ok");
        assert_eq!(toned("ok", Tone::Good, true), "\u{1b}[32mok\u{1b}[0m");
    }
}
