//! `ConfigError`: what is wrong with a config file, said so that its reader can correct it.
//!
//! Promise: a [`Mistake`] names the file, and where known line, key and the text of the line, and
//! always what to write instead.
//! Absent: no parsing; [`super::file`] finds the mistakes.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a config could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("{}: cannot read the config file: {source}; {}", path.display(), advice(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is larger than any config; most likely it is another file.
    #[error(
        "{}: {bytes} bytes is more than a config file may have ({limit}); is this the right file?",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// The largest size that is read, in bytes.
        limit: u64,
    },
    /// The file is read, but what it says is wrong.
    #[error(transparent)]
    Wrong(#[from] Box<Mistake>),
}

impl ConfigError {
    /// The mistake in the file's text, if that is what went wrong.
    #[must_use]
    pub fn mistake(&self) -> Option<&Mistake> {
        match self {
            Self::Wrong(mistake) => Some(mistake),
            Self::Unreadable { .. } | Self::TooLarge { .. } => None,
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "create it (`config example` prints a complete one) or name another with --config"
        }
        io::ErrorKind::PermissionDenied => {
            "let the service's user read it, for example with mode 0640 and its group"
        }
        io::ErrorKind::InvalidData => "it must be UTF-8 text",
        _ => "check the path and the disk",
    }
}

/// One mistake in the text of a config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// The full path of the key, such as `mqtt.broker`, where it is known.
    pub key: Option<String>,
    /// The offending line as it stands in the file.
    pub text: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ", key `{key}`")?;
        }
        write!(f, ": {}", self.problem)?;
        if let (Some(line), Some(text)) = (self.line, &self.text) {
            write!(f, "\n  {line:>4} | {text}")?;
        }
        write!(f, "\n  fix: {}", self.fix)
    }
}

impl std::error::Error for Mistake {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_reads_as_file_line_key_problem_text_and_fix() {
        let mistake = Mistake {
            file: PathBuf::from("/etc/millrace/agent.toml"),
            line: Some(12),
            key: Some("mqtt.brokr".into()),
            text: Some("brokr = \"tcp://localhost\"".into()),
            problem: "there is no key `brokr` here".into(),
            fix: "write `broker`".into(),
        };
        assert_eq!(
            mistake.to_string(),
            "/etc/millrace/agent.toml, line 12, key `mqtt.brokr`: there is no key `brokr` here\n    \
             12 | brokr = \"tcp://localhost\"\n  fix: write `broker`"
        );
    }

    #[test]
    fn a_missing_file_is_answered_with_how_to_make_one() {
        let error = ConfigError::Unreadable {
            path: PathBuf::from("/nowhere/agent.toml"),
            source: io::Error::from(io::ErrorKind::NotFound),
        };
        assert!(error.to_string().contains("config example"), "{error}");
        assert!(error.mistake().is_none());
    }
}
