//! `millrace-hub members`, `placement`, `settings`: the hubs, and who keeps what.

use clap::{Args, Subcommand};
use millrace_host::Exit;
use millrace_host::terminal::{Align, Table, count, note, say, say_json};
use serde_json::{Value, json};

use super::Which;
use super::kv::answered;
use super::look::{number, shown, text};
use crate::client::encoded;
use millrace_host::Failure;

/// List the hubs of the cluster: where they are, what they are, and how full their stores are.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  millrace-hub members\n  millrace-hub members --json\n  millrace-hub members remove hub-2"
)]
pub(super) struct Members {
    #[command(subcommand)]
    command: Option<MembersCommand>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum MembersCommand {
    /// Let a hub go: others take over what it keeps, then it loses its vote and is never let in again.
    #[command(after_help = "Example:\n  millrace-hub members remove hub-2")]
    Remove {
        /// Its name, or its number such as n3.
        name: String,
        #[command(flatten)]
        which: Which,
    },
}

/// Show which hub keeps how much, and what would move.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  millrace-hub placement\n  millrace-hub placement --json\n  millrace-hub placement plan --add eu-3/hub-4 --remove hub-2"
)]
pub(super) struct Placement {
    #[command(subcommand)]
    command: Option<PlacementCommand>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum PlacementCommand {
    /// Show what would move if hubs came and went. Nothing is changed.
    #[command(
        after_help = "Examples:\n  millrace-hub placement plan --add eu-3/hub-4\n  millrace-hub placement plan --remove hub-2 --replicas 2"
    )]
    Plan {
        /// A hub that would come, as REGION/NAME.
        #[arg(long, value_name = "REGION/NAME")]
        add: Vec<String>,
        /// A hub that would go.
        #[arg(long, value_name = "NAME")]
        remove: Vec<String>,
        /// Replicas, instead of what is set.
        #[arg(long, value_name = "COUNT")]
        replicas: Option<u8>,
        #[command(flatten)]
        which: Which,
    },
}

/// Show or change what holds for the whole cluster.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  millrace-hub settings\n  millrace-hub settings replicas 3"
)]
pub(super) struct Settings {
    #[command(subcommand)]
    command: Option<SettingsCommand>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum SettingsCommand {
    /// How many hubs keep each reading, when there are enough (1 to 7). Partitions move accordingly.
    #[command(after_help = "Example:\n  millrace-hub settings replicas 3")]
    Replicas {
        /// How many.
        count: u8,
        #[command(flatten)]
        which: Which,
    },
}

impl Members {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        if let Some(MembersCommand::Remove { name, which }) = self.command {
            let path = format!("/v1/members/{}/remove", encoded(&name));
            let answer = which.client()?.post(&path, &json!({})).await?;
            return answered(&which, &answer, || {
                format!("{name} is let go: `millrace-hub members` shows when others have taken over\n")
            });
        }
        let answer = self.which.client()?.get("/v1/members").await?;
        if self.which.json {
            say_json(&answer)?;
            return Ok(Exit::Ok);
        }
        let members = answer.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        say(&table(members))?;
        let control = answer.get("control").cloned().unwrap_or_default();
        if let Some(problem) = control.get("problem").and_then(Value::as_str) {
            note(&format!("note: {problem}"));
        }
        if is_joint(&control) {
            note(&format!("note: {JOINT}"));
        }
        for problem in problems(members) {
            note(&format!("note: {problem}"));
        }
        if number(&answer, "moving") > 0 {
            note(&format!("note: {} of 256 partitions are moving", number(&answer, "moving")));
        }
        Ok(Exit::Ok)
    }
}

/// What is wrong with a hub, or with the road to it.
fn problems(members: &[Value]) -> Vec<String> {
    let wrong = members.iter().filter(|member| member.get("problem").is_some_and(Value::is_string));
    wrong.map(|member| format!("{}: {}", shown(member, "name"), shown(member, "problem"))).collect()
}

fn table(members: &[Value]) -> String {
    let mut table = Table::new(&[
        ("node", Align::Right),
        ("name", Align::Left),
        ("region", Align::Left),
        ("state", Align::Left),
        ("role", Align::Left),
        ("store", Align::Left),
        ("partitions", Align::Right),
        ("seen", Align::Left),
        ("round trip", Align::Right),
        ("load", Align::Right),
        ("version", Align::Left),
        ("address", Align::Left),
    ]);
    for member in members {
        let known = |key: &str| match member.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => "-".to_owned(),
        };
        let addresses = member.get("addresses").and_then(Value::as_array);
        let first = addresses.and_then(|all| all.first()).and_then(Value::as_str).unwrap_or_default();
        let is = |member: &Value, key: &str| member.get(key) == Some(&Value::Bool(true));
        let (witness, me) = (is(member, "witness"), is(member, "me"));
        table.row([
            format!("n{}", number(member, "node")),
            format!("{}{}", text(member, "name"), if me { " (this)" } else { "" }),
            text(member, "region").to_owned(),
            text(member, "state").to_owned(),
            format!("{}{}", text(member, "role"), if witness { ", witness" } else { "" }),
            text(member, "filled").to_owned(),
            number(member, "partitions").to_string(),
            format!("{}{}", known("liveness"), if is(member, "draining") { ", draining" } else { "" }),
            member
                .get("rtt_ms")
                .and_then(Value::as_f64)
                .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms")),
            known("load_permille"),
            known("software"),
            first.to_owned(),
        ]);
    }
    table.to_string()
}

/// `12 hub-1, 7 hub-2`, the fullest first.
fn counted(value: Option<&Value>) -> String {
    let counts = value.and_then(Value::as_object);
    let mut counts: Vec<(u64, &String)> =
        counts.into_iter().flatten().map(|(name, count)| (count.as_u64().unwrap_or(0), name)).collect();
    counts.sort_by(|a, b| b.cmp(a));
    let words: Vec<String> = counts.iter().map(|(count, name)| format!("{name} {count}")).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

impl Placement {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        if let Some(PlacementCommand::Plan { add, remove, replicas, which }) = self.command {
            let mut asked: Vec<String> = add.iter().map(|hub| format!("add={}", encoded(hub))).collect();
            asked.extend(remove.iter().map(|hub| format!("remove={}", encoded(hub))));
            asked.extend(replicas.map(|count| format!("replicas={count}")));
            let answer = which.client()?.get(&format!("/v1/placement/plan?{}", asked.join("&"))).await?;
            return answered(&which, &answer, || {
                format!(
                    "{} of 256 partitions would move\ngets  {}\nkeeps {}\n",
                    number(&answer, "count"),
                    counted(answer.get("gains")),
                    counted(answer.get("load")),
                )
            });
        }
        let answer = self.which.client()?.get("/v1/placement").await?;
        answered(&self.which, &answer, || {
            format!(
                "version  {}, {} replicas, {} of 256 partitions moving\nkeeps    {}\n",
                number(&answer, "version"),
                number(&answer, "replicas"),
                number(&answer, "moving"),
                counted(answer.get("load")),
            )
        })
    }
}

impl Settings {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let (answer, which) = match self.command {
            Some(SettingsCommand::Replicas { count, which }) => {
                (which.client()?.put_json("/v1/settings", &json!({ "replicas": count })).await?, which)
            }
            None => (self.which.client()?.get("/v1/settings").await?, self.which),
        };
        answered(&which, &answer, || format!("replicas {}\n", number(&answer, "replicas")))
    }
}

/// What it means that a change of the voters is half done.
const JOINT: &str = "a change of the voters is half done: until it is over, deciding needs a majority of those before it and of those after it";

fn is_joint(control: &Value) -> bool {
    control.get("joint") == Some(&Value::Bool(true))
}

/// Where this hub stands in its cluster, for `status`.
pub(super) fn standing(status: &Value) -> String {
    let control = status.get("control").cloned().unwrap_or_default();
    if control.is_null() {
        return String::new();
    }
    let leader = match control.get("leader").and_then(Value::as_u64) {
        Some(leader) => format!("n{leader} leads"),
        None => "nobody leads".to_owned(),
    };
    let quorum = match control.get("problem").and_then(Value::as_str) {
        Some(_) => format!("; {}", shown(&control, "problem")),
        None => String::new(),
    };
    let joint = if is_joint(&control) { format!("; {JOINT}") } else { String::new() };
    let left = if text(status, "filled") == "syncing" {
        let replication = status.get("replication").cloned().unwrap_or_default();
        let (synced, partitions) = (number(&replication, "synced"), number(&replication, "partitions"));
        format!(
            ", {synced} of {partitions} partitions, {} records lacking",
            count(number(&replication, "lacking"))
        )
    } else {
        String::new()
    };
    format!(
        "cluster  n{}, {} hubs, epoch {}, {}, {leader} in term {}; store {}{left}{quorum}{joint}\n",
        number(status, "node"),
        number(status, "hubs"),
        number(status, "epoch"),
        text(&control, "role"),
        number(&control, "term"),
        text(status, "filled"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_show_who_drains_and_what_is_wrong_with_whom() {
        let members = [
            json!({"node": 1, "name": "hub-1", "liveness": "alive", "draining": true, "problem": null}),
            json!({"node": 2, "name": "hub-2", "liveness": "down", "draining": false, "problem": "no answer"}),
        ];
        assert_eq!(problems(&members), ["hub-2: no answer"]);
        let table = table(&members);
        assert!(table.contains("alive, draining") && !table.contains("down, draining"), "{table}");
    }
}
