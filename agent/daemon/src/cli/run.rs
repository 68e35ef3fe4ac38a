//! `run`: the agent itself, until it is told to stop.

use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;
use millrace_host::config::ConfigError;
use millrace_host::http::ServeError;
use millrace_host::{Exit, Failure, Shutdown, logs, privacy};
use millrace_journal::OpenError;

use crate::config::Config;
use crate::daemon::{self, StoreFailed};
use crate::places::Places;

const EXAMPLES: &str = "\
Examples:
  millrace-agent run --config /etc/millrace/agent.toml
  millrace-agent run --data ./press-7          with the defaults: an MQTT broker on 127.0.0.1:1883";

/// Run the agent.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[group(required = true, multiple = true, id = "where")]
pub struct Run {
    /// The configuration file
    #[arg(long, value_name = "FILE", group = "where")]
    config: Option<PathBuf>,
    /// The data directory; overrides the file's
    #[arg(long = "data", value_name = "DIR", group = "where")]
    directory: Option<PathBuf>,
}

/// Threads of the runtime: the driver, and room for sockets beside it. Each thread costs memory.
const THREADS: usize = 2;

/// What the names of its files begin with, apart from those of the identity, which have a stricter guard.
const FILES: [&str; 3] = ["journal.db", "hubs.json", "runtime.json"];

impl Run {
    /// Runs the agent.
    ///
    /// # Errors
    /// What kept it from starting, or made it stop.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.config().map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
        logs::init(&config.log).map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
        let places = Places::new(&config.data_dir);
        if !places.identity().try_exists().unwrap_or(true) {
            return Err(strange(&places));
        }
        privacy::tighten_aloud(places.root(), &FILES);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))?;
        let ended = runtime.block_on(async {
            let (shutdown, _reload) = Shutdown::install()?;
            daemon::run(config, shutdown).await
        });
        ended.map_err(|error| {
            let failure = Failure::new(exit_of(&error), told(&error));
            if failure.exit == Exit::Data { failure.hint(BEGIN_ANEW) } else { failure }
        })
    }

    fn config(&self) -> Result<Config, ConfigError> {
        let mut config = match (&self.config, &self.directory) {
            (Some(file), _) => Config::read(file)?,
            (None, Some(directory)) => Config::defaults(directory)?,
            (None, None) => Config::defaults(&PathBuf::from("."))?,
        };
        if let Some(directory) = &self.directory {
            config.data_dir.clone_from(directory);
        }
        Ok(config)
    }
}

/// What helps when the store is damaged as a whole.
const BEGIN_ANEW: &str = "move journal.db and the files beside it whose names begin so aside (do not delete them) and start: the device \
                          begins a new incarnation; what no hub had yet is only in the files that were moved aside";

/// The directory of a machine that never enrolled.
fn strange(places: &Places) -> Failure {
    let directory = places.root().display();
    Failure::new(Exit::Config, format!("there is no enrolled agent in {directory}")).hint(format!(
        "run `millrace-agent enroll --token TOKEN --data {directory}` with a token of `millrace-hub token create`, or \
         name another directory"
    ))
}

/// The error and what caused it, each said once: some name their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text += ": ";
            text += &cause;
        }
    }
    text
}

/// Which exit code fits. systemd restarts the unit on all of them but a wrong configuration.
fn exit_of(error: &anyhow::Error) -> Exit {
    if error.is::<StoreFailed>() {
        return Exit::Io;
    }
    match error.downcast_ref::<OpenError>() {
        Some(OpenError::Damaged { .. } | OpenError::Ledger { .. }) => return Exit::Data,
        Some(OpenError::Full | OpenError::Locked { .. }) => return Exit::Temporary,
        Some(OpenError::File { source, .. }) => return Exit::from_io(source),
        Some(_) => return Exit::Config,
        None => {}
    }
    if matches!(error.downcast_ref(), Some(ServeError::Bind { .. })) {
        return Exit::Unavailable;
    }
    match error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()) {
        // Somebody else has the port, or this machine has no such address now.
        Some(io) if matches!(io.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable) => {
            Exit::Unavailable
        }
        Some(io) => Exit::from_io(io),
        None => Exit::Config,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot listen: {source}")]
    struct Twice {
        source: std::io::Error,
    }

    #[test]
    fn a_port_that_is_taken_is_said_once_and_ends_with_69() {
        let taken = || std::io::Error::from(ErrorKind::AddrInUse);
        let address = "127.0.0.1:1".parse().unwrap();
        let http = anyhow::Error::from(ServeError::Bind { address, cause: taken() });
        let mqtt = anyhow::Error::from(Twice { source: taken() }).context("no broker");
        for (error, said) in [
            (
                &http,
                format!("cannot listen on 127.0.0.1:1: {}; is another process using this port?", taken()),
            ),
            (&mqtt, format!("no broker: cannot listen: {}", taken())),
        ] {
            assert_eq!((told(error), exit_of(error)), (said, Exit::Unavailable));
        }
    }
}
