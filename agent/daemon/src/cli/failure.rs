//! What a command ends with when it fails: what happened, how to go on, and an exit code.

use std::io::IsTerminal;

use millrace_host::Exit;
use millrace_host::terminal::{Tone, colours, toned};

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    hint: String,
}

impl Failure {
    /// A failure with this exit code. `hint` says how to go on; it may be empty.
    pub fn new(exit: Exit, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, what: what.into(), hint: hint.into() }
    }

    /// Prints it to standard error. Returns the exit code.
    #[must_use]
    pub fn report(&self) -> Exit {
        let colours = colours(std::io::stderr().is_terminal());
        eprintln!("{} {}", toned("error:", Tone::Bad, colours), self.what);
        if !self.hint.is_empty() {
            eprintln!("{} {}", toned("hint:", Tone::Dim, colours), self.hint);
        }
        self.exit
    }
}
