//! Answers: what a command prints.
//!
//! Promise: standard output carries the answer and nothing else, and with `--json` one JSON document; what is said beside
//! it goes to standard error. A reader that has gone (`| head`) ends the program without a complaint.
//! Absent: errors; those are a [`Failure`].

use std::io::{ErrorKind, Write};

use serde_json::Value;

use super::visible_json;
use crate::{Exit, Failure};

/// Writes the answer.
///
/// # Errors
/// A failure with [`Exit::Ok`] when nobody reads it any more, else what the operating system said.
pub fn say(text: &str) -> Result<(), Failure> {
    say_bytes(text.as_bytes())
}

/// Writes an answer that is no text, as it is.
///
/// # Errors
/// As [`say`].
pub fn say_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Ok, "nobody reads the answer any more"))
        }
        written => written.map_err(|error| Failure::io("the answer could not be written", &error)),
    }
}

/// Writes a JSON document, laid out for people.
///
/// # Errors
/// As [`say`].
pub fn say_json(value: &Value) -> Result<(), Failure> {
    say(&visible_json(&format!("{value:#}\n")))
}

/// Writes a JSON document on one line, for streams of them.
///
/// # Errors
/// As [`say`].
pub fn say_json_line(value: &Value) -> Result<(), Failure> {
    say(&visible_json(&format!("{value}\n")))
}

/// Says something that is not part of the answer.
pub fn note(text: &str) {
    // Fails only when nobody reads it.
    let _ = writeln!(std::io::stderr(), "{}", super::visible(text));
}
