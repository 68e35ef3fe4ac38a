//! The command line.
//!
//! Promise: what is printed on standard output is the answer, and with `--json` one JSON document; errors go to standard
//! error with their fix, and the exit codes are those of [`millrace_host::Exit`].

mod backup;
mod beginning;
mod config;
mod devices;
mod drain;
mod filling;
mod init;
mod join;
mod kv;
mod lease;
mod lock;
mod look;
mod members;
mod offline;
mod query;
mod repair;
mod repairs;
mod restore;
mod run;
mod status;
mod tail;
mod token;
mod verify;
mod verify_peer;
mod verify_receipt;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use millrace_host::terminal::say;
use millrace_host::{Exit, privacy};
use tokio::time::{Instant, sleep};

use crate::client::{Client, Target};
use crate::hub::identity::missing;
use crate::places::Places;
use crate::registry::Registry;
use millrace_host::Failure;

/// Where a hub's data is when nothing else is said.
const DATA_DEFAULT: &str = "/var/lib/millrace-hub";

/// Receives the readings of many agents, keeps them, answers queries; alone or as one of several hubs.
#[derive(Debug, Parser)]
#[command(
    name = "millrace-hub",
    version,
    max_term_width = 100,
    after_help = "First steps:\n  millrace-hub init --data /var/lib/millrace-hub --name hub-1 --region north --address hub.plant.example:7443\n  millrace-hub run --data /var/lib/millrace-hub\n  millrace-hub token create --name press-7 --label line=2\n\nExit codes:\n  0 well   1 no such key   64 wrong command line   65 damaged data   69 the hub does not answer\n  70 fault in the program   74 disk failed   75 try again later   77 not permitted   78 wrong config"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Join(join::Join),
    Run(run::Run),
    Token(token::Token),
    Devices(devices::Devices),
    Query(query::Query),
    Tail(tail::Tail),
    Status(status::Status),
    Drain(drain::Drain),
    Members(members::Members),
    Placement(members::Placement),
    Settings(members::Settings),
    Kv(kv::Kv),
    Lease(lease::Lease),
    Lock(lock::Lock),
    Elect(lock::Elect),
    Verify(verify::Verify),
    VerifyReceipt(verify_receipt::VerifyReceipt),
    Repair(repair::Repair),
    Repairs(repairs::Repairs),
    Backup(backup::Backup),
    Restore(restore::Restore),
    ForceNewCluster(restore::ForceNewCluster),
    Config(config::Config),
    /// Print completions for a shell.
    #[command(after_help = "Example:\n  millrace-hub completions bash > /etc/bash_completion.d/millrace-hub")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// How long a hub may take from locking its data directory to answering, and how often to look whether it does.
const STARTING: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Where a hub is that is asked for what it does over its admin socket alone.
#[derive(Debug, Clone, Args)]
pub(crate) struct Here {
    /// The hub's data directory; it is asked over the admin socket there, and over no other way [default: /var/lib/millrace-hub].
    #[arg(long, value_name = "DIR", env = "MILLRACE_HUB_DATA")]
    data: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl Here {
    /// As for a hub that is asked any way.
    fn which(&self) -> Which {
        Which { data: self.data.clone(), url: None, json: self.json }
    }
}

/// Where the hub is, and how to answer.
#[derive(Debug, Clone, Args)]
pub(crate) struct Which {
    /// The hub's data directory; it is asked over the admin socket there [default: /var/lib/millrace-hub].
    #[arg(long, value_name = "DIR", env = "MILLRACE_HUB_DATA")]
    data: Option<PathBuf>,
    /// The hub's HTTP API, such as http://127.0.0.1:7481; wins over its data directory.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl Which {
    pub(crate) fn places(&self) -> Places {
        Places::new(self.data.as_deref().unwrap_or(DATA_DEFAULT.as_ref()))
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let target = match &self.url {
            Some(url) => Target::url(url)?,
            None => Target::Socket(self.places().socket()),
        };
        Ok(Client::new(target))
    }

    /// Whether the hub is to be asked; `false` when none runs on the data directory, which is then read directly. A hub that
    /// holds its directory and does not answer yet is starting: it is waited for.
    pub(crate) async fn runs(&self) -> Result<bool, Failure> {
        let deadline = Instant::now() + STARTING;
        loop {
            if self.url.is_some() || self.client()?.is_there().await {
                return Ok(true);
            }
            match self.places().read_about() {
                Ok(_) if Registry::is_held(&self.places().seen()) && Instant::now() < deadline => {
                    sleep(LOOK_AGAIN).await;
                }
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(missing(&self.places()));
                }
                // The hub may be another user's: asking it says so.
                Err(_) => return Ok(true),
            }
        }
    }
}

/// Runs the program; what the process is to end with.
#[must_use]
pub fn main() -> ExitCode {
    privacy::begin();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Fails only when nobody reads it.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    match cli.command.perform() {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report().into(),
    }
}

impl Command {
    fn perform(self) -> Result<Exit, Failure> {
        match self {
            Self::Init(init) => init.perform(),
            Self::Run(run) => run.perform(),
            Self::Config(config) => config.perform(),
            Self::Restore(restore) => restore.perform(),
            Self::ForceNewCluster(force) => force.perform(),
            Self::VerifyReceipt(receipt) => receipt.perform(),
            Self::Backup(backup) => wait_for(backup.perform()),
            Self::Repair(repair) => wait_for(repair.perform()),
            Self::Repairs(repairs) => wait_for(repairs.perform()),
            Self::Verify(verify) => wait_for(verify.perform()),
            Self::Join(join) => wait_for(join.perform()),
            Self::Members(members) => wait_for(members.perform()),
            Self::Placement(placement) => wait_for(placement.perform()),
            Self::Settings(settings) => wait_for(settings.perform()),
            Self::Kv(kv) => wait_for(kv.perform()),
            Self::Lease(lease) => wait_for(lease.perform()),
            Self::Lock(lock) => wait_for(lock.perform()),
            Self::Elect(elect) => wait_for(elect.perform()),
            Self::Token(token) => wait_for(token.perform()),
            Self::Devices(devices) => wait_for(devices.perform()),
            Self::Query(query) => wait_for(query.perform()),
            Self::Tail(tail) => wait_for(tail.perform()),
            Self::Drain(drain) => wait_for(drain.perform()),
            Self::Status(status) => wait_for(status.perform()),
            Self::Completions { shell } => {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "millrace-hub", &mut text);
                say(&String::from_utf8_lossy(&text))?;
                Ok(Exit::Ok)
            }
        }
    }
}

fn wait_for(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::internal(&error))?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_api_stands_in_its_manual() {
        let (manual, router) = (include_str!("../../../docs/api.md"), include_str!("http.rs"));
        let routes = router.split(".route(\"").skip(1).filter_map(|rest| rest.split_once("\", "));
        let mut found = 0;
        for (path, rest) in routes {
            let line = rest.lines().next().unwrap_or_default();
            for method in ["get", "put", "post", "delete"] {
                if line.contains(&format!("{method}(")) {
                    found += 1;
                    let named = format!("`{} {path}`", method.to_uppercase());
                    assert!(manual.contains(&named), "{named} is not in docs/api.md");
                }
            }
        }
        assert!(found > 30, "{found} are not all");
    }

    #[test]
    fn what_only_the_admin_socket_serves_is_offered_over_no_other_way() {
        for words in [
            "token create",
            "devices revoke x --reason r",
            "drain",
            "members remove x",
            "settings replicas 3",
            "backup x",
        ] {
            let words: Vec<&str> = ["millrace-hub"].into_iter().chain(words.split(' ')).collect();
            assert!(Cli::try_parse_from(&words).is_ok(), "{words:?}");
            let over_tcp = words.iter().copied().chain(["--url", "http://127.0.0.1:7481"]);
            assert!(Cli::try_parse_from(over_tcp).is_err(), "{words:?}");
        }
        for refused in ["token create --expires 0s", "lease grant 100ms", "placement plan --add hub-d"] {
            let words = ["millrace-hub"].into_iter().chain(refused.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{refused}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed_and_every_help_has_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut all = vec![command];
        while let Some(mut command) = all.pop() {
            all.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
            let help = command.render_long_help().to_string();
            assert!(help.contains("millrace-hub") && help.len() > 100, "{help}");
            assert!(command.get_after_help().is_some(), "`{}` shows no example", command.get_name());
        }
    }
}
