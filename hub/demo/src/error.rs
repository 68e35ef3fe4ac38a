//! What can go wrong in a plant, with the place to look.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why the plant does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    /// A program was not built.
    #[error(
        "the program {name} is not at {}: build it with `cargo build -p millrace-agent -p millrace-hub` \
         (with the same profile), or say in MILLRACE_BIN_DIR where it is",
        place.display()
    )]
    ProgramMissing {
        /// Which program.
        name: &'static str,
        /// Where it was looked for.
        place: PathBuf,
    },
    /// A file or directory could not be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("{name} could not be started: {source}")]
    Spawn {
        /// Which program.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A process ended although it should run.
    #[error("{name} ended with {status} while we waited for {what}; its log ({}) ends with:\n{tail}", log.display())]
    Exited {
        /// Which process.
        name: String,
        /// How it ended.
        status: String,
        /// What was waited for.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A process could not be signalled.
    #[error("{name} cannot be signalled: {detail}")]
    Signal {
        /// Which process.
        name: String,
        /// Why.
        detail: String,
    },
    /// A command ended with an error.
    #[error("`{command}` failed with {status}: {said}")]
    Command {
        /// The command line, without secrets.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote to stderr.
        said: String,
    },
    /// Something did not become so in time.
    #[error("waited {limit:?} for {what}; last seen: {last}")]
    Patience {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What was there instead.
        last: String,
    },
    /// An HTTP request failed.
    #[error("GET http://{address}{path}: {detail}")]
    Http {
        /// Whom we asked.
        address: String,
        /// For what.
        path: String,
        /// What went wrong.
        detail: String,
    },
    /// An answer has another shape than agreed.
    #[error("the answer of {from} cannot be read: {detail}")]
    Answer {
        /// Whose answer.
        from: String,
        /// What is wrong with it.
        detail: String,
    },
    /// No free address.
    #[error("no free address on loopback: {0}")]
    Address(io::Error),
    /// The road could not be built.
    #[error("no road to {target}: {source}")]
    Road {
        /// Where it should lead.
        target: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl PlantError {
    /// Names the file in an I/O error.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// An answer that has another shape than agreed.
    #[must_use]
    pub fn answer(from: impl Into<String>, detail: &impl ToString) -> Self {
        Self::Answer { from: from.into(), detail: detail.to_string() }
    }
}
