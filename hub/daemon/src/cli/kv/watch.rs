//! `millrace-hub kv watch`: changes of keys as they come.
//!
//! Promise: a hub that hears no majority hears of no change, and its watchers are told so.

use std::time::Duration;

use clap::Args;
use millrace_host::terminal::{duration, note, say, say_json_line, visible};
use millrace_host::{Exit, Failure};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::super::Which;
use super::super::look::{number, text};
use super::{named, value};
use crate::client::{Client, encoded};

/// How often a watch looks whether its hub still hears the others, and how long the answer may take.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// Follow a key, or all keys with a prefix.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub kv watch plant/line-2/recipe\n  millrace-hub kv watch plant/ --prefix --revision 42 --json"
)]
pub(super) struct Watch {
    /// The key, or with --prefix what keys begin with.
    key: String,
    /// All keys that begin so.
    #[arg(long)]
    prefix: bool,
    /// Begin with the changes of this revision instead of now.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    revision: u64,
    #[command(flatten)]
    which: Which,
}

impl Watch {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        if !self.prefix {
            named(&self.key, "name a key; `millrace-hub kv watch '' --prefix` follows all")?;
        }
        let what = if self.prefix { "prefix" } else { "key" };
        let path = format!("/v1/watch?{what}={}&revision={}", encoded(&self.key), self.revision);
        let client = self.which.client()?;
        let mut events = client.events(&path).await?;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quorum = true;
        loop {
            let event = tokio::select! {
                event = events.next() => event?,
                _ = look.tick() => {
                    tell_of_quorum(&client, &mut quorum).await;
                    continue;
                }
            };
            let Some((name, data)) = event else { break };
            self.show(&name, &data)?;
        }
        Err(Failure::new(Exit::Unavailable, "the hub has stopped").hint("start again when it is back"))
    }

    fn show(&self, name: &str, data: &str) -> Result<(), Failure> {
        let Ok(change) = serde_json::from_str::<Value>(data) else { return Ok(()) };
        match name {
            "" if self.which.json => say_json_line(&change),
            "" => {
                let (kind, revision) = (text(&change, "type"), number(&change, "mod_revision"));
                let (key, value) = (text(&change, "key"), value(&change));
                say(&format!("{revision}\t{kind}\t{}\t{}\n", visible(key), visible(&value)))
            }
            "compacted" => {
                let oldest = number(&change, "oldest");
                let message = format!("changes before revision {oldest} are forgotten");
                Err(Failure::new(Exit::Data, message)
                    .hint("read the present state and watch from behind its revision"))
            }
            _ => Ok(()),
        }
    }
}

/// Says when the hub begins and ceases to be cut off: a watch without a majority hears of no change, and ends not.
async fn tell_of_quorum(client: &Client, quorum: &mut bool) {
    // A hub that does not answer ends the watch by itself.
    let Ok(Ok(members)) = timeout(LOOK_PATIENCE, client.get("/v1/members")).await else { return };
    let control = members.get("control").unwrap_or(&Value::Null);
    let now = control.get("quorum") != Some(&Value::Bool(false));
    if now != *quorum {
        note(&of_quorum(now, number(control, "age_ms")));
    }
    *quorum = now;
}

fn of_quorum(quorum: bool, age_ms: u64) -> String {
    if quorum {
        return "note: the hub hears a majority again, and changes come".to_owned();
    }
    let age = duration(Duration::from_millis(age_ms));
    format!(
        "note: the hub hears no majority: what it knows is {age} old, and no change comes until it hears one"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_is_cut_off_says_how_old_its_knowledge_is() {
        assert!(of_quorum(false, 65_000).contains("is 1m 5s old"), "{}", of_quorum(false, 65_000));
        assert!(of_quorum(true, 0).contains("again"));
    }
}
