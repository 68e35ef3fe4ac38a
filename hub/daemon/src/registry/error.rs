//! What can go wrong in the registry, and what to do about it.

use std::io;
use std::path::PathBuf;

use millrace_hub_control::ControlError;
use millrace_model::NodeId;

/// Why the registry did not do what it was asked. Nothing was changed, except where [`ControlError::Unknown`] says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A line is not what was written.
    #[error(
        "line {line} of {} is damaged: restore the file from a backup, or remove that line and enrol its device again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// The file is too large to be a registry.
    #[error("{} is too long to be a registry: restore it from a backup", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("{} is in use by another process: is the hub running? Ask it over its socket", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The disk or the operating system refused.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Half a line could not be taken back: nobody can say what is on disk.
    #[error("{} could not be written once and takes nothing more: restart the hub, it reads what is there", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// An entry cannot be written. A fault in the program.
    #[error("an entry of the registry cannot be written: {0}")]
    Entry(String),
    /// Somebody has the name.
    #[error(
        "the name `{name}` belongs to device {id}: choose another name, or run `millrace-hub devices revoke {id} --reason replaced` first"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// Another hub has the name.
    #[error(
        "the name `{name}` belongs to hub {node}: choose another name, or make the token with `--replace {name}`"
    )]
    HubNameTaken {
        /// The name.
        name: String,
        /// Who has it.
        node: NodeId,
    },
    /// Too many changed the same at once.
    #[error("too many changes of the same came together: try again")]
    Contended,
    /// The cluster cannot decide it now.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The token was used up while the enrolment was under way.
    #[error("the join token has been used: make a new one with `millrace-hub token create`")]
    TokenUsed,
    /// No such device.
    #[error("there is no enrolled device `{device}`: `millrace-hub devices` lists them")]
    Unknown {
        /// What was asked for.
        device: String,
    },
    /// The device is revoked already.
    #[error("`{name}` is revoked already ({reason}): there is nothing to do")]
    Revoked {
        /// Its name.
        name: String,
        /// Why it was.
        reason: String,
    },
    /// A limit is reached.
    #[error("there are {limit} {what}, which is the limit: remove what is not needed any more")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}
