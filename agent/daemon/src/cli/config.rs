//! `config`: check a file, or print a complete one.

use std::path::PathBuf;

use clap::Subcommand;
use millrace_host::terminal::{say, say_json};
use millrace_host::{Exit, Failure};
use serde_json::json;

use crate::config::Config;
use crate::config::example::EXAMPLE;

/// Check a configuration file, or print a complete one.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  millrace-agent config example > /etc/millrace/agent.toml\n  millrace-agent config check /etc/millrace/agent.toml"
)]
pub enum ConfigCommand {
    /// Say what is wrong with a file, with line and fix
    #[command(after_help = "Examples:\n  millrace-agent config check /etc/millrace/agent.toml")]
    Check {
        /// The file.
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a complete commented file that equals the defaults
    #[command(after_help = "Examples:\n  millrace-agent config example > /etc/millrace/agent.toml")]
    Example,
}

impl ConfigCommand {
    /// Checks or prints.
    ///
    /// # Errors
    /// The first mistake in the file.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Example => say(EXAMPLE)?,
            Self::Check { file, json } => {
                let checked = Config::read(&file);
                if json {
                    let error = checked.as_ref().err().map(ToString::to_string);
                    say_json(&json!({ "file": file, "valid": error.is_none(), "error": error }))?;
                }
                checked.map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
                if !json {
                    say(&format!("{} is valid\n", file.display()))?;
                }
            }
        }
        Ok(())
    }
}
