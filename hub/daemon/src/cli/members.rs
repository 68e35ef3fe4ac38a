//! `millrace-hub members`, `placement`, `settings`: the hubs, and who keeps what.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, Subcommand};
use millrace_host::Exit;
use millrace_host::config::Span;
use millrace_host::terminal::{Align, Table, count, note, say, say_json, visible};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::filling::{Filling, permille};
use super::kv::answered;
use super::look::{number, shown, text};
use super::{Here, Which};
use crate::client::encoded;
use millrace_host::Failure;

/// List the hubs of the cluster: where they are, what they are, and how full their stores are.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  millrace-hub members\n  millrace-hub members --json\n  millrace-hub members --wait 60s\n  millrace-hub members remove hub-2"
)]
pub(super) struct Members {
    #[command(subcommand)]
    command: Option<MembersCommand>,
    #[command(flatten)]
    which: Which,
    /// Wait for at most so long until every hub is there, is a member, and has a full store; on a terminal with a bar of how far this hub has
    /// come. Exit code 75 when one is not by then, 69 when this hub does not answer by then. Whoever stops waiting stops nothing else.
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
}

/// How often to look whether every hub is a member with a full store.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

#[derive(Debug, Subcommand)]
enum MembersCommand {
    /// Let a hub go: others take over what it keeps, then it loses its vote and is never let in again.
    #[command(after_help = "Example:\n  millrace-hub members remove hub-2")]
    Remove {
        /// Its name, or its number such as n3.
        name: String,
        #[command(flatten)]
        here: Here,
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
        #[arg(long, value_name = "REGION/NAME", value_parser = newcomer)]
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
        here: Here,
    },
}

impl Members {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        if let Some(MembersCommand::Remove { name, here }) = self.command {
            let which = here.which();
            let path = format!("/v1/members/{}/remove", encoded(&name));
            let answer = which.client()?.post(&path, &json!({})).await?;
            return answered(&which, &answer, || {
                format!("{name} is let go: `millrace-hub members` shows when others have taken over\n")
            });
        }
        let client = self.which.client()?;
        let begun = Instant::now();
        let drawn = std::io::stderr().is_terminal() && !self.which.json;
        let mut filling = Filling::default();
        let deadline = begun + self.wait.map(Span::duration).unwrap_or_default();
        // A hub that does not answer may be starting; it also may start anew while it is waited for.
        let answer = loop {
            let answer = client.get("/v1/members").await;
            let refused = |failure: &Failure| matches!(failure.exit, Exit::Permission | Exit::Usage);
            let over = answer.as_ref().map_or_else(refused, complete);
            if over || Instant::now() >= deadline {
                break answer?;
            }
            if drawn && let Ok(status) = client.get("/v1/status").await {
                let replication = status.get("replication").cloned().unwrap_or_default();
                eprint!("\r{}\u{1b}[K", filling.line(&replication, begun.elapsed()));
            }
            sleep(LOOK_AGAIN).await;
        };
        if drawn && self.wait.is_some() {
            eprint!("\r\u{1b}[K");
        }
        let exit = if self.wait.is_none() || complete(&answer) { Exit::Ok } else { Exit::Temporary };
        if self.which.json {
            say_json(&answer)?;
            return Ok(exit);
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
        if number(&answer, "short") > 0 {
            let short = number(&answer, "short");
            note(&format!(
                "note: {short} of 256 partitions are on fewer hubs than `replicas` says: lose none now"
            ));
        }
        if number(&answer, "moving") > 0 {
            note(&format!("note: {} of 256 partitions are moving", number(&answer, "moving")));
        }
        Ok(exit)
    }
}

/// Whether every hub is seen and has what it should keep, the one that was asked among them: one that has just joined may still read what
/// was decided before it came.
fn complete(answer: &Value) -> bool {
    let members = answer.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let settled = |member: &Value| {
        text(member, "state") == "member"
            && ["full", "nothing"].contains(&text(member, "filled"))
            && text(member, "liveness") == "alive"
    };
    let knows_itself = members.iter().any(|member| member.get("me") == Some(&Value::Bool(true)));
    // A hub that is to keep nothing yet is full.
    knows_itself && members.iter().all(settled) && number(answer, "short") == 0
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

/// `eu-3/hub-4`: without a region nobody could say what the hub would keep.
fn newcomer(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((region, name)) if !region.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err("write REGION/NAME, for example eu-3/hub-4".to_owned()),
    }
}

/// What a plan comes to. A partition moves when a hub has to get it; one that only loses a replica is named apart.
fn planned(answer: &Value) -> String {
    let moves = answer.get("moves").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let gains =
        |moved: &&Value| moved.get("add").and_then(Value::as_array).is_some_and(|add| !add.is_empty());
    let moving = moves.iter().filter(gains).count();
    let mut text = format!("{moving} of 256 partitions would move\n");
    if moving < moves.len() {
        let fewer = moves.len() - moving;
        text.push_str(&format!("{fewer} of 256 partitions would have fewer replicas, and nothing to move\n"));
    }
    let (gets, keeps) = (counted(answer.get("gains")), counted(answer.get("load")));
    text + &format!("gets  {gets}\nkeeps {keeps}\n")
}

impl Placement {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        if let Some(PlacementCommand::Plan { add, remove, replicas, which }) = self.command {
            let mut asked: Vec<String> = add.iter().map(|hub| format!("add={}", encoded(hub))).collect();
            asked.extend(remove.iter().map(|hub| format!("remove={}", encoded(hub))));
            asked.extend(replicas.map(|count| format!("replicas={count}")));
            let answer = which.client()?.get(&format!("/v1/placement/plan?{}", asked.join("&"))).await?;
            return answered(&which, &answer, || planned(&answer));
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
            Some(SettingsCommand::Replicas { count, here }) => {
                let (which, asked) = (here.which(), json!({ "replicas": count }));
                (which.client()?.put_json("/v1/settings", &asked).await?, which)
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
    let problem = control.get("problem").and_then(Value::as_str);
    let (role, term) = (text(&control, "role"), number(&control, "term"));
    let leads = match control.get("leader").and_then(Value::as_u64) {
        Some(leader) => format!("{role}, n{leader} leads in term {term}"),
        // A leader that no majority follows decides nothing until one does.
        None if role == "leader" => format!("led in term {term} and has no majority"),
        None => format!("{role}, nobody leads in term {term}"),
    };
    let quorum = match problem {
        Some(problem) => format!("; {}", visible(problem)),
        None => String::new(),
    };
    let joint = if is_joint(&control) { format!("; {JOINT}") } else { String::new() };
    let left = if text(status, "filled") == "syncing" {
        let replication = status.get("replication").cloned().unwrap_or_default();
        let (synced, partitions) = (number(&replication, "synced"), number(&replication, "partitions"));
        format!(
            ", {} %: {synced} of {partitions} partitions, {} records lacking",
            permille(&replication) / 10,
            count(number(&replication, "lacking"))
        )
    } else {
        String::new()
    };
    format!(
        "cluster  n{}, {} hubs, epoch {}, {leads}; store {}{left}{quorum}{joint}\n",
        number(status, "node"),
        number(status, "hubs"),
        number(status, "epoch"),
        text(status, "filled"),
    )
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use axum::{Json, Router};

    use super::*;

    #[tokio::test]
    async fn a_hub_that_does_not_answer_yet_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let which = Which { data: Some(dir.path().to_owned()), url: None, json: true };
        let socket = which.places().socket();
        let asking = |wait: Option<&str>| {
            let wait = wait.map(|text| text.parse().unwrap());
            Members { command: None, which: which.clone(), wait }.perform()
        };
        let exit = |failure: Failure| failure.exit;
        assert_eq!(asking(None).await.map_err(exit), Err(Exit::Unavailable));
        let member = json!({ "me": true, "state": "member", "filled": "full", "liveness": "alive" });
        let answer = Json(json!({ "members": [member] }));
        // Polled after the first question, which nobody answers.
        let starting = async {
            let listener = tokio::net::UnixListener::bind(&socket).unwrap();
            let router = Router::new().route("/v1/members", get(|| async { answer }));
            axum::serve(listener, router).await.unwrap();
        };
        tokio::select! {
            biased;
            found = asking(Some("60s")) => assert_eq!(found.map_err(exit), Ok(Exit::Ok)),
            () = starting => unreachable!("it serves until it is dropped"),
        }
    }

    #[test]
    fn a_hub_that_leads_and_has_no_majority_does_not_contradict_itself() {
        let standing = |control: Value| {
            standing(&json!({ "node": 3, "hubs": 3, "epoch": 1, "filled": "full", "control": control }))
        };
        let cut_off = json!({ "role": "leader", "term": 4, "leader": null, "problem": "no quorum: 1 of 3" });
        let said = "cluster  n3, 3 hubs, epoch 1, led in term 4 and has no majority; store full; no quorum: 1 of 3\n";
        assert_eq!(standing(cut_off), said);
        let well = json!({ "role": "follower", "term": 4, "leader": 1 });
        assert_eq!(
            standing(well),
            "cluster  n3, 3 hubs, epoch 1, follower, n1 leads in term 4; store full\n"
        );
        let voting = json!({ "role": "candidate", "term": 5 });
        assert!(standing(voting).contains("candidate, nobody leads in term 5;"));
    }

    #[test]
    fn a_cluster_is_complete_when_every_hub_is_seen_and_full() {
        let of = |state: &str, filled: &str, liveness: &str| {
            let first = json!({ "state": "member", "filled": "full", "liveness": "alive", "me": true });
            let second = json!({ "state": state, "filled": filled, "liveness": liveness });
            complete(&json!({ "members": [first, second] }))
        };
        assert!(of("member", "full", "alive") && of("member", "nothing", "alive"));
        let short =
            [("joining", "full", "alive"), ("member", "syncing", "alive"), ("member", "full", "down")];
        assert!(short.iter().all(|(state, filled, liveness)| !of(state, filled, liveness)));
        assert!(!complete(&json!({ "members": [] })));
        let stranger = json!({ "state": "member", "filled": "full", "liveness": "alive", "me": false });
        assert!(!complete(&json!({ "members": [stranger] })), "it does not know itself yet");
        let alone = json!({ "state": "member", "filled": "full", "liveness": "alive", "me": true });
        assert!(!complete(&json!({ "members": [alone], "short": 256 })), "it is to keep nothing yet");
    }

    #[test]
    fn a_plan_counts_as_moving_what_a_hub_would_get() {
        let moved = |add: &[&str]| json!({ "partition": 1, "add": add, "remove": ["hub-c"] });
        let shrinking =
            json!({ "moves": [moved(&[]), moved(&[])], "count": 2, "gains": {}, "load": {"hub-a": 2} });
        let said = "0 of 256 partitions would move\n2 of 256 partitions would have fewer replicas, and nothing to move\n\
                    gets  nothing\nkeeps hub-a 2\n";
        assert_eq!(planned(&shrinking), said);
        let moving =
            json!({ "moves": [moved(&["hub-d"])], "count": 1, "gains": {"hub-d": 1}, "load": {"hub-d": 1} });
        assert_eq!(planned(&moving), "1 of 256 partitions would move\ngets  hub-d 1\nkeeps hub-d 1\n");
    }

    #[test]
    fn a_hub_that_would_come_has_a_region() {
        assert_eq!(newcomer("eu-3/hub-4"), Ok("eu-3/hub-4".to_owned()));
        for wrong in ["hub-4", "/hub-4", "eu-3/", ""] {
            assert!(newcomer(wrong).unwrap_err().contains("REGION/NAME"), "{wrong}");
        }
    }

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
