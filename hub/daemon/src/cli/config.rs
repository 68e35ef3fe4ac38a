//! `millrace-hub config`: an example, and a check of a file.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use millrace_host::Exit;
use serde_json::json;

use crate::config;
use millrace_host::Failure;
use millrace_host::terminal::{say, say_json};

/// Check a config file, or print a complete example.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub config example > /etc/millrace/hub.toml\n  millrace-hub config check /etc/millrace/hub.toml"
)]
pub(super) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Check(Check),
    /// Print a complete, commented file whose values are the defaults.
    #[command(after_help = "Example:\n  millrace-hub config example > /etc/millrace/hub.toml")]
    Example,
}

/// Check a file: the first mistake is shown with its line and the fix.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  millrace-hub config check /etc/millrace/hub.toml")]
struct Check {
    /// The file.
    #[arg(value_name = "FILE", default_value = "/etc/millrace/hub.toml")]
    file: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl Config {
    pub(super) fn perform(self) -> Result<Exit, Failure> {
        let check = match self.command {
            ConfigCommand::Example => {
                say(config::EXAMPLE)?;
                return Ok(Exit::Ok);
            }
            ConfigCommand::Check(check) => check,
        };
        match (config::read(&check.file), check.json) {
            (Ok(_), false) => say(&format!("{}: all is well\n", check.file.display()))?,
            (Ok(_), true) => say_json(&json!({ "file": check.file, "ok": true }))?,
            (Err(error), false) => return Err(Failure::new(Exit::Config, error.to_string())),
            (Err(error), true) => {
                let mistake = error.mistake();
                say_json(&json!({
                    "file": check.file, "ok": false,
                    "line": mistake.and_then(|mistake| mistake.line),
                    "key": mistake.and_then(|mistake| mistake.key.clone()),
                    "problem": mistake.map_or_else(|| error.to_string(), |mistake| mistake.problem.clone()),
                    "fix": mistake.map(|mistake| mistake.fix.clone()),
                }))?;
                return Ok(Exit::Config);
            }
        }
        Ok(Exit::Ok)
    }
}
