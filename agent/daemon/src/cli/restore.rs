//! `restore`: how far this device has its history back from the hubs.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use millrace_host::config::Span;
use millrace_host::terminal::{bytes, count, say, say_json};
use millrace_host::{Exit, Failure};
use serde_json::Value;

use super::status::{answered, look, spoken};
use super::{DataArgument, asking};
use crate::places::Places;

const EXAMPLES: &str = "\
Examples:
  millrace-agent restore                       what came back, and what is still to come
  millrace-agent restore --wait 10m            with a bar, until it is over
  millrace-agent restore --again               ask the hubs again, after raising `history` in [restore]
  millrace-agent restore --json

Ends with exit code 75 when it is not over yet after --wait. It goes on without this command, and after a restart.";

/// How often to look.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How wide the bar is.
const CELLS: u64 = 30;

/// Show how much of its history this device has back from the hubs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RestoreCommand {
    #[command(flatten)]
    data: DataArgument,
    /// Ask the hubs again for what is not here
    #[arg(long)]
    again: bool,
    /// Wait for at most so long until it is over
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RestoreCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// When no agent runs here, or it does not answer; with `--wait`, when it is not over in time.
    pub fn run(self) -> Result<(), Failure> {
        let places = Places::new(&self.data.directory);
        if self.again {
            answered(&places, |agent| asking::post(agent, "/restore"))?;
        }
        let mut status = look(&places)?;
        // Counted, not timed: each look has its own patience.
        let looks = self.wait.map_or(0, |wait| wait.duration().as_millis() / LOOK_AGAIN.as_millis());
        let drawn = std::io::stderr().is_terminal() && !self.json;
        for _ in 0..looks {
            if is_over(&status) {
                break;
            }
            if drawn {
                eprint!("\r{}\u{1b}[K", bar(&status));
            }
            std::thread::sleep(LOOK_AGAIN);
            status = look(&places)?;
        }
        if drawn && looks > 0 {
            eprint!("\r\u{1b}[K");
        }
        let restoring = status.get("restoring").cloned().unwrap_or_default();
        if self.json {
            say_json(&restoring)?;
        } else {
            say(&format!("{}\n", spoken(&restoring)))?;
        }
        if self.wait.is_some() && !is_over(&status) {
            let failure = Failure::new(Exit::Temporary, "the history is not back yet");
            return Err(failure.hint("it goes on by itself: wait for longer, or see `millrace-agent status`"));
        }
        Ok(())
    }
}

fn is_over(status: &Value) -> bool {
    status
        .pointer("/restoring/state")
        .and_then(Value::as_str)
        .is_none_or(|state| ["none", "done"].contains(&state))
}

/// Thirty cells, the percentage, and the figures.
fn bar(status: &Value) -> String {
    let number = |at: &str| status.pointer(at).and_then(Value::as_u64).unwrap_or(0);
    let (came, left) = (number("/restoring/bytes"), number("/restoring/left_bytes"));
    let state = status.pointer("/restoring/state").and_then(Value::as_str).unwrap_or_default();
    let permille = permille(came, left);
    let full = usize::try_from(permille * CELLS / 1_000).unwrap_or(0);
    let rest = usize::try_from(CELLS).unwrap_or(0).saturating_sub(full);
    format!(
        "[{}{}] {:>3} %  {} records, {} of {}  {state}",
        "#".repeat(full),
        "-".repeat(rest),
        permille / 10,
        count(number("/restoring/records")),
        bytes(came),
        bytes(came.saturating_add(left)),
    )
}

/// How much of all of it has come, in thousandths.
pub(super) fn permille(came: u64, left: u64) -> u64 {
    let all = u128::from(came) + u128::from(left);
    u64::try_from(u128::from(came) * 1_000 / all.max(1)).unwrap_or(1_000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bar_fills_with_the_bytes_that_came() {
        let at = |came: u64, left: u64| json!({ "restoring": { "state": "running", "records": 12_345, "bytes": came, "left_bytes": left } });
        let half = bar(&at(1 << 20, 1 << 20));
        assert!(half.starts_with(&format!("[{}{}]  50 %", "#".repeat(15), "-".repeat(15))), "{half}");
        assert!(half.contains("12.3k records") && half.ends_with("running"), "{half}");
        assert!(bar(&at(0, 0)).contains("]   0 %"));
        assert!(bar(&at(u64::MAX, 0)).contains("] 100 %"));
        assert!(!is_over(&at(1, 1)) && is_over(&json!({ "restoring": { "state": "done" } })));
    }
}
