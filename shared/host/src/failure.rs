//! Why a command ended badly: a sentence, the fix, and the exit code.
//!
//! Promise: whatever a person sees as an error says what to do about it, and says it once.

use std::fmt;
use std::io::{IsTerminal, Write};

use crate::lifecycle::Exit;
use crate::terminal::{Tone, colours, toned, visible_lines};

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

    /// Says it once, on standard error: as two lines in colours on a terminal, and as a line of the log where a daemon's
    /// log goes to a collector. A failure with [`Exit::Ok`], such as a reader that has gone (`| head`), is not worth a
    /// word. Returns the exit code.
    #[must_use]
    pub fn report(&self) -> Exit {
        if self.exit == Exit::Ok {
            return self.exit;
        }
        let terminal = std::io::stderr().is_terminal();
        if !terminal && tracing::dispatcher::has_been_set() && tracing::enabled!(tracing::Level::ERROR) {
            let hint = Some(self.hint.as_str()).filter(|hint| !hint.is_empty());
            tracing::error!(hint, exit = self.exit.code(), "{}", self.message);
        } else {
            // Fails only when nobody reads it.
            let _unread = std::io::stderr().write_all(self.picture(colours(terminal)).as_bytes());
        }
        self.exit
    }

    /// What a terminal shows. Parts of it may come from a peer.
    fn picture(&self, colours: bool) -> String {
        let line = |word: &str, tone: Tone, text: &str| {
            format!("{} {}\n", toned(word, tone, colours), visible_lines(text))
        };
        let mut text = line("error:", Tone::Bad, &self.message);
        if !self.hint.is_empty() {
            text += &line("hint:", Tone::Dim, &self.hint);
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(out, "\n  fix: {}", self.hint) }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_to_do_and_what_a_peer_said_changes_no_colour() {
        let failure = Failure::new(Exit::Permission, "revoked: \u{1b}[32mall is well").hint("enrol anew");
        assert_eq!(failure.picture(false), "error: revoked: \\u{1b}[32mall is well\nhint: enrol anew\n");
        assert_eq!(Failure::new(Exit::Io, "a\nb").picture(false), "error: a\nb\n");
    }
}
