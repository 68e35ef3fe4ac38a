//! Why a command ended badly: a sentence, the fix, and the exit code.
//!
//! Promise: whatever a person sees as an error says what to do about it.

use std::fmt;
use std::io::{IsTerminal, Write};

use crate::lifecycle::Exit;
use crate::terminal::{Tone, colours, toned};

/// A failure, for a person and for a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The number that the process ends with.
    pub exit: Exit,
    /// What is wrong.
    pub message: String,
    /// What to do; empty when the message says it.
    pub hint: String,
}

impl Failure {
    /// A failure with a message that says what to do by itself.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: String::new() }
    }

    /// The same failure with this advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The failure behind an I/O error: `what` says what was tried.
    #[must_use]
    pub fn io(what: &str, error: &std::io::Error) -> Self {
        Self::new(Exit::from_io(error), format!("{what}: {error}"))
    }

    /// A fault in the program.
    #[must_use]
    pub fn internal(error: &dyn fmt::Display) -> Self {
        Self::new(Exit::Internal, error.to_string())
    }

    /// Prints it to standard error, in colours on a terminal. A failure with [`Exit::Ok`], such as a reader that has gone
    /// (`| head`), is not worth a word. Returns the exit code.
    #[must_use]
    pub fn report(&self) -> Exit {
        if self.exit != Exit::Ok {
            let colours = colours(std::io::stderr().is_terminal());
            let mut text = format!("{} {}\n", toned("error:", Tone::Bad, colours), self.message);
            if !self.hint.is_empty() {
                text += &format!("{} {}\n", toned("hint:", Tone::Dim, colours), self.hint);
            }
            // Fails only when nobody reads it.
            let _unread = std::io::stderr().write_all(text.as_bytes());
        }
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(out, "\n  fix: {}", self.hint) }
    }
}

impl std::error::Error for Failure {}
