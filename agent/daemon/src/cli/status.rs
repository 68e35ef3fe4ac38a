//! `status`: what the running agent does.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use millrace_host::config::Span;
use millrace_host::terminal::{Align, Table, bytes, count, duration, remaining, say, say_json, visible};
use millrace_host::{Exit, Failure};
use serde_json::Value;

use super::restore::permille;
use super::{DataArgument, asking};
use crate::places::Places;

const EXAMPLES: &str = "\
Examples:
  millrace-agent status
  millrace-agent status --data ./press-7 --wait 10s
  millrace-agent status --data ./press-7 --json";

/// How often to look whether the agent takes readings.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Show what the running agent does.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusCommand {
    #[command(flatten)]
    data: DataArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Wait for at most so long until the agent takes readings (subscribed, where it has a broker) and has a session with a hub
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
}

impl StatusCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// When no agent runs here, or it does not answer.
    pub fn run(self) -> Result<(), Failure> {
        let places = Places::new(&self.data.directory);
        // Counted, not timed: each look has its own patience.
        let looks = self.wait.map_or(0, |wait| wait.duration().as_millis() / LOOK_AGAIN.as_millis());
        let mut status = look(&places);
        for _ in 0..looks {
            if status.as_ref().is_ok_and(is_at_work) {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
            status = look(&places);
        }
        let status = status?;
        if self.json {
            say_json(&status)?;
        } else {
            say(&picture(&status))?;
        }
        if self.wait.is_some() && !is_at_work(&status) {
            let failure = Failure::new(Exit::Temporary, "the agent is not at work yet");
            return Err(failure.hint("see its broker and its session above, or wait for longer"));
        }
        Ok(())
    }
}

/// Whether readings come in, and go out.
fn is_at_work(status: &Value) -> bool {
    let connected = status.pointer("/mqtt/connected").and_then(Value::as_bool).unwrap_or(false);
    connected && status.get("session").and_then(Value::as_str) == Some("open")
}

/// The status of the running agent.
pub(super) fn look(places: &Places) -> Result<Value, Failure> {
    answered(places, |agent| asking::ask(agent, "/status"))
}

/// What the running agent answers to a question of its local HTTP.
pub(super) fn answered<T>(
    places: &Places,
    question: impl FnOnce(SocketAddr) -> std::io::Result<T>,
) -> Result<T, Failure> {
    let running = places.running().map_err(|_| {
        let what = format!("no agent runs in {}", places.root().display());
        Failure::new(Exit::Unavailable, what)
            .hint("name its directory with --data, or see `systemctl status millrace-agent`")
    })?;
    question(running.http).map_err(|error| {
        let what = format!("the agent (process {}) does not answer: {error}", running.pid);
        Failure::new(Exit::Unavailable, what).hint("see its log: journalctl -u millrace-agent")
    })
}

/// A status as people read it. Names and reasons come from hubs and brokers.
struct Picture<'a>(&'a Value);

impl Picture<'_> {
    fn some(&self, at: &str) -> Option<String> {
        self.0.pointer(at).and_then(Value::as_str).map(|text| visible(text).into_owned())
    }

    fn text(&self, at: &str) -> String {
        self.some(at).unwrap_or_else(|| "–".to_owned())
    }

    fn number(&self, at: &str) -> u64 {
        self.0.pointer(at).and_then(Value::as_u64).unwrap_or(0)
    }

    fn is(&self, at: &str) -> bool {
        self.0.pointer(at).and_then(Value::as_bool).unwrap_or(false)
    }

    fn session(&self) -> String {
        let session = self.text("/session");
        if session != "open" {
            return self.some("/trouble").map_or(session.clone(), |trouble| format!("{session}: {trouble}"));
        }
        let millis = self.0.pointer("/link/rtt_ms").and_then(Value::as_f64).unwrap_or(0.0);
        let rtt = duration(Duration::try_from_secs_f64(millis / 1_000.0).unwrap_or_default());
        let id = self.some("/link/hub_id").map_or_else(String::new, |id| format!(", hub {id}"));
        format!("open with {} ({}){id}, round trip {rtt}", self.text("/hub"), self.text("/region"))
    }

    fn backlog(&self) -> String {
        let records = self.number("/backlog/records");
        if records == 0 {
            return "nothing waits".to_owned();
        }
        let age = duration(Duration::from_secs(self.number("/backlog/oldest_age_s")));
        let held = if self.is("/paused") { "; held to a rate, or to urgent readings" } else { "" };
        format!(
            "{records} records, about {}, the oldest {age} old{held}",
            bytes(self.number("/backlog/bytes"))
        )
    }

    fn mqtt(&self) -> String {
        let state = if self.is("/mqtt/connected") { "connected" } else { "not connected" };
        let clients = match self.number("/mqtt/clients") {
            0 => String::new(),
            1 => ", 1 client".to_owned(),
            clients => format!(", {clients} clients"),
        };
        let error =
            self.some("/mqtt/last_error").map_or_else(String::new, |error| format!("; last error: {error}"));
        format!("{state}{clients}{error}")
    }

    fn disk(&self) -> String {
        let blocked = if self.is("/blocked") { "; FULL: publications of a lane are held back" } else { "" };
        format!(
            "{} of {}{blocked}",
            bytes(self.number("/disk_used_bytes")),
            bytes(self.number("/disk_budget_bytes"))
        )
    }

    fn certificate(&self) -> String {
        let left = self.0.pointer("/certificate/left_s").and_then(Value::as_i64).unwrap_or(0);
        let what_then = match self.text("/certificate/state").as_str() {
            "due" | "grace" => "; it is renewed in the next session",
            "lost" => "; enrol this device again",
            _ => "",
        };
        format!("{}, until {}{what_then}", remaining(left), self.text("/certificate/not_after"))
    }

    fn lanes(&self) -> Table {
        let columns = ["ingested", "acked", "pending", "evicted", "rejected"];
        let mut heads = vec![("lane", Align::Left)];
        heads.extend(columns.map(|column| (column, Align::Right)));
        let mut table = Table::new(&heads);
        for lane in self.0.get("lanes").and_then(Value::as_array).into_iter().flatten() {
            let name = Picture(lane).text("/lane");
            let count = |column: &str| Picture(lane).number(&format!("/ledger/{column}"));
            table.row(std::iter::once(name).chain(columns.map(|column| count(column).to_string())));
        }
        table
    }
}

/// How far history has come back, in a line.
pub(super) fn spoken(restoring: &Value) -> String {
    let number = |key: &str| restoring.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (came, left) = (number("bytes"), number("left_bytes"));
    let some = format!("{} records, {}, came back from the hubs", count(number("records")), bytes(came));
    let part = format!("{} %", permille(came, left) / 10);
    let asks = came + left == 0 && number("left_records") == 0;
    match restoring.get("state").and_then(Value::as_str).unwrap_or_default() {
        "none" => "nothing came back from the hubs, and nothing is to come".to_owned(),
        "done" => some,
        "running" if asks => {
            "the hubs are asked for what they have of this device's earlier lives".to_owned()
        }
        "resting" | "waiting" if asks => {
            "nothing came back from the hubs yet; they are asked again for what they have".to_owned()
        }
        "running" => format!("{some}: {part}; about {} records are to come", count(number("left_records"))),
        "resting" => format!("{some}; the hubs are asked again for what this one has not got"),
        _ => format!("{some}; the rest waits for a hub, or behind what goes first"),
    }
}

/// What damage took here and what of it is back, in a line; nothing when there is nothing to say.
fn regained(regaining: &Value) -> Option<String> {
    let number = |key: &str| regaining.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (came, left) = (number("records"), number("left_records"));
    let why = regaining.get("held_up").and_then(Value::as_str);
    let why = why.map(|why| format!(": {}", visible(why))).unwrap_or_default();
    match (came, left) {
        (0, 0) => None,
        (0, left) => {
            Some(format!("{} records that damage took here are to come back from the hubs{why}", count(left)))
        }
        (came, 0) => Some(format!("{} records that damage took here are back from the hubs", count(came))),
        (came, left) => Some(format!(
            "{} records that damage took here are back from the hubs, {} are to come{why}",
            count(came),
            count(left)
        )),
    }
}

fn picture(status: &Value) -> String {
    let page = Picture(status);
    let ledger = if page.is("/balanced") { "balanced" } else { "DOES NOT BALANCE: report this as a bug" };
    let mut lines = vec![
        ("device", format!("{} ({}), {}", page.text("/name"), page.text("/device"), page.text("/software"))),
        ("session", page.session()),
        ("backlog", page.backlog()),
        ("mqtt", page.mqtt()),
        ("disk", page.disk()),
        ("certificate", page.certificate()),
        ("ledger", ledger.to_owned()),
    ];
    let restoring = status.get("restoring").cloned().unwrap_or_default();
    if restoring.get("state").and_then(Value::as_str).is_some_and(|state| state != "none") {
        lines.insert(3, ("history", spoken(&restoring)));
    }
    if let Some(line) = status.get("regaining").and_then(regained) {
        lines.insert(3, ("damage", line));
    }
    if let Some(error) = page.some("/link/last_error") {
        lines.insert(2, ("last error", format!("{error}, at {}", page.text("/link/last_error_at"))));
    }
    let lines = lines.into_iter().map(|(name, line)| format!("{name:<13}{line}\n"));
    format!("{}\n{}", lines.collect::<String>(), page.lanes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_says_what_waits_what_failed_and_when_the_certificate_ends() {
        let page = picture(&json!({
            "name": "press-7", "device": "01", "software": "millrace-agent 1", "session": "open", "hub": "hub-1",
            "region": "north", "paused": true, "balanced": true,
            "link": { "hub_id": "07", "rtt_ms": 12.5, "last_error": "reset\u{1b}[31m", "last_error_at": "2026-11-23T08:00:00Z" },
            "backlog": { "records": 12, "bytes": 2048, "oldest_age_s": 200 },
            "mqtt": { "connected": true, "clients": 2, "last_error": null },
            "restoring": { "state": "running", "records": 1_500, "bytes": 1024, "left_records": 500, "left_bytes": 1024 },
            "regaining": { "state": "waiting", "held_up": "each byte costs money on this road", "records": 1_024, "left_records": 7 },
            "disk_used_bytes": 1536, "disk_budget_bytes": 1 << 30,
            "certificate": { "state": "due", "not_after": "2026-12-01T00:00:00Z", "left_s": 690_000 },
            "lanes": [{ "lane": "urgent", "ledger": { "pending": 12 } }],
        }));
        for line in [
            "device       press-7 (01), millrace-agent 1",
            "session      open with hub-1 (north), hub 07, round trip 12.5ms",
            "last error   reset\\u{1b}[31m, at 2026-11-23T08:00:00Z",
            "backlog      12 records, about 2.00 KiB, the oldest 3m 20s old; held to a rate, or to urgent readings",
            "history      1.50k records, 1.00 KiB, came back from the hubs: 50 %; about 500 records are to come",
            "damage       1.02k records that damage took here are back from the hubs, 7 are to come: each byte costs money on this road",
            "mqtt         connected, 2 clients",
            "disk         1.50 KiB of 1.00 GiB",
            "certificate  7d 23h left, until 2026-12-01T00:00:00Z; it is renewed in the next session",
            "ledger       balanced",
            "lane    ingested  acked  pending  evicted  rejected",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn an_offline_agent_says_why() {
        let page = picture(&json!({ "session": "offline", "trouble": "no hub answers",
            "mqtt": { "connected": false, "last_error": "wrong password" } }));
        assert!(page.contains("session      offline: no hub answers\n"), "{page}");
        assert!(page.contains("mqtt         not connected; last error: wrong password\n"), "{page}");
        assert!(page.contains("backlog      nothing waits\n"), "{page}");
    }
}
