//! The command line. Every command prints for people by default and JSON with `--json`; exit codes are those of
//! [`Exit`].
//!
//! | room | command |
//! |---|---|
//! | [`run`] | `run` |
//! | [`enroll`] | `enroll` |
//! | [`status`] | `status` |
//! | [`restore`] | `restore` |
//! | [`routes`] | `routes` |
//! | [`verify`], [`against`] | `verify`, `verify --against-hub` |
//! | [`verify_receipt`] | `verify-receipt` |
//! | [`config`] | `config check`, `config example` |
//! | [`query`] | `query` |

mod against;
mod asking;
pub mod config;
pub mod enroll;
pub mod query;
pub mod restore;
pub mod routes;
pub mod run;
pub mod status;
pub mod verify;
pub mod verify_receipt;

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use millrace_host::{Exit, Failure, privacy, terminal};

use crate::places::Places;

const EXAMPLES: &str = "\
Examples:
  millrace-agent enroll --token millrace1.… --data /var/lib/millrace-agent
  millrace-agent run --config /etc/millrace/agent.toml
  millrace-agent status --data /var/lib/millrace-agent

Exit codes:
  0 all is well            64 wrong command line    65 data is damaged
  69 something needed does not answer               70 a fault in the program
  74 disk or network failed                         75 try again later
  77 refused               78 wrong configuration";

/// Takes sensor readings from MQTT, stores them, and syncs them to a hub.
#[derive(Debug, Parser)]
#[command(name = "millrace-agent", version, after_help = EXAMPLES, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent
    Run(run::Run),
    /// Join a cluster with a token: make a key, get a certificate
    Enroll(enroll::Enroll),
    /// Show what the running agent does: session, backlog, ledger
    Status(status::StatusCommand),
    /// Show how much of its history this device has back from the hubs
    Restore(restore::RestoreCommand),
    /// Show the hubs as this agent sees them, and what each costs it
    Routes(routes::RoutesCommand),
    /// Show the records that this device still keeps
    Query(query::QueryCommand),
    /// Re-read every stored record against its checks, or compare them with the hub
    Verify(verify::Verify),
    /// Check a receipt that two holders have the same records
    VerifyReceipt(verify_receipt::VerifyReceipt),
    /// Check a configuration file, or print a complete one
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print completions for a shell
    #[command(
        after_help = "Examples:\n  millrace-agent completions bash > /etc/bash_completion.d/millrace-agent"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Which data directory is meant.
#[derive(Clone, Debug, clap::Args)]
pub struct DataArgument {
    /// The agent's data directory
    #[arg(long = "data", value_name = "DIR", default_value = "/var/lib/millrace-agent")]
    pub directory: PathBuf,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> Exit {
    privacy::begin();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _closed = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let ended = match arguments.command {
        Command::Run(run) => run.run(),
        Command::Enroll(enroll) => enroll.run(),
        Command::Status(status) => status.run(),
        Command::Restore(restore) => restore.run(),
        Command::Routes(routes) => routes.run(),
        Command::Query(query) => query.run(),
        Command::Verify(verify) => verify.run(),
        Command::VerifyReceipt(receipt) => receipt.run(),
        Command::Config(config) => config.run(),
        Command::Completions { shell } => {
            let name = "millrace-agent";
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), name, &mut text);
            terminal::say(&String::from_utf8_lossy(&text))
        }
    };
    match ended {
        Ok(()) => Exit::Ok,
        Err(failure) => failure.report(),
    }
}

/// Where the journal of `data` stands, if there is one to read.
fn journal(data: &DataArgument) -> Result<PathBuf, Failure> {
    let places = Places::new(&data.directory);
    let path = places.journal();
    // Anything but "not there" is said better by whoever opens it.
    if path.try_exists().unwrap_or(true) {
        return Ok(path);
    }
    let what = format!("there is no journal in {}", places.root().display());
    Err(Failure::new(Exit::Config, what)
        .hint("name the agent's directory with --data; its first `run` makes the journal"))
}

/// A runtime for a command that talks to others.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_examples() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            for each in std::iter::once(sub).chain(sub.get_subcommands()) {
                let help = each.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:"), "`{}` has no examples", each.get_name());
            }
        }
    }
}
