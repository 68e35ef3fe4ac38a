//! `millrace-hub status`: the hub on one page.

use std::time::Duration;

use clap::Args;
use millrace_host::Exit;
use millrace_host::config::Span;
use millrace_host::terminal::{Tone, bytes, colours, count, duration, remaining, say, say_json, toned};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Which;
use super::look::{number, shown, text};
use super::members::standing;
use millrace_host::Failure;

/// Alarms that are shown; `--json` shows all that the hub keeps.
const ALARMS_SHOWN: usize = 5;

/// Show how the hub is: sessions, records, disk, alarms.
///
/// Exit code 0 when it takes readings, or votes when it is a witness; 75 when it does not.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub status\n  millrace-hub status --data ./hub --wait 10s\n  millrace-hub status --json --url http://127.0.0.1:7481"
)]
pub(super) struct Status {
    #[command(flatten)]
    which: Which,
    /// Wait for at most so long until the hub takes readings, or votes when it is a witness.
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
}

/// How often to look whether the hub takes readings.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Status {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let client = self.which.client()?;
        let deadline = Instant::now() + self.wait.map(Span::duration).unwrap_or_default();
        let status = loop {
            let answer = client.get("/v1/status").await;
            let works = answer.as_ref().is_ok_and(works);
            if works || Instant::now() >= deadline {
                break answer?;
            }
            sleep(LOOK_AGAIN).await;
        };
        if self.which.json {
            say_json(&status)?;
        } else {
            say(&page(&status, colours(std::io::IsTerminal::is_terminal(&std::io::stdout()))))?;
        }
        Ok(if works(&status) { Exit::Ok } else { Exit::Temporary })
    }
}

fn works(status: &Value) -> bool {
    status.get("working").and_then(Value::as_bool).unwrap_or(false)
}

fn page(status: &Value, colours: bool) -> String {
    let none = Value::Null;
    let part = |key: &str| status.get(key).unwrap_or(&none);
    let (devices, store) = (part("devices"), part("store"));
    let witness = status.get("witness") == Some(&Value::Bool(true));
    let state = if works(status) {
        toned(if witness { "votes, as a witness" } else { "ready" }, Tone::Good, colours)
    } else {
        toned(&format!("not ready: {}", shown(status, "problem")), Tone::Bad, colours)
    };
    let evicting = part("retention").get("evicting") == Some(&Value::Bool(true));
    let mut out = format!(
        "hub      {} in {}  {state}\nup       {}, {}\nlistens  agents {}, callers {}\n",
        shown(status, "name"),
        shown(status, "region"),
        duration(Duration::from_secs(number(status, "uptime_s"))),
        shown(status, "software"),
        shown(status, "quic"),
        shown(status, "http"),
    );
    out.push_str(&standing(status));
    out.push_str(&format!(
        "devices  {} enrolled, {} online, {} revoked; {} sessions\nrecords  {}, {} missing, {} declared lost{}\n\
         store    {} of {}{}{}\n",
        number(devices, "enrolled"),
        number(devices, "online"),
        number(devices, "revoked"),
        number(status, "sessions"),
        count(number(status, "records")),
        count(number(status, "missing")),
        count(number(status, "declared")),
        match number(status, "dropped") {
            0 => String::new(),
            dropped => format!(", {} dropped by retention", count(dropped)),
        },
        bytes(number(store, "used_bytes")),
        bytes(number(store, "budget_bytes")),
        if store.get("full") == Some(&Value::Bool(true)) { ", FULL" } else { "" },
        if evicting { ", the oldest records are dropped" } else { "" },
    ));
    let mending = number(status, "mending");
    if mending > 0 {
        out.push_str(&format!(
            "repair   {} records that were lost here are being fetched again: `millrace-hub repairs`\n",
            count(mending)
        ));
    }
    let certificate = part("certificate");
    if let Some(left) = certificate.get("left_s").and_then(Value::as_i64) {
        out.push_str(&format!("cert     {}, until {}\n", remaining(left), shown(certificate, "not_after")));
    }
    let alarms = part("alarms").as_array().map(Vec::as_slice).unwrap_or_default();
    for alarm in alarms.iter().take(ALARMS_SHOWN) {
        let tone = if text(alarm, "severity") == "error" { Tone::Bad } else { Tone::Warning };
        let who = shown(alarm, "name");
        let kind = toned(&shown(alarm, "kind"), tone, colours);
        let line = format!("alarm    {} {kind} {who} {}\n", shown(alarm, "at"), shown(alarm, "message"));
        out.push_str(&line);
        out.push_str(&format!("         {}\n", shown(alarm, "hint")));
    }
    if alarms.len() > ALARMS_SHOWN {
        out.push_str(&format!("         and {} more: --json\n", alarms.len() - ALARMS_SHOWN));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_says_what_is_wrong() {
        let status = json!({"name": "hub-1", "region": "north", "working": false, "problem": "the disk is full",
            "devices": {"enrolled": 3}, "sessions": 2, "store": {"used_bytes": 512, "budget_bytes": 1024, "full": true},
            "dropped": 7, "mending": 1_024, "retention": {"evicting": true},
            "certificate": {"not_after": "2026-12-01T00:00:00Z", "left_s": 690_000},
            "alarms": [{"kind": "full", "severity": "error", "name": "x\u{1b}[32m", "hint": "make room"}]});
        let page = page(&status, false);
        assert!(
            page.contains("; 2 sessions\n")
                && page.contains("store    512 B of 1.00 KiB, FULL, the oldest records are dropped\n"),
            "{page}"
        );
        assert!(page.contains("repair   1.02k records that were lost here"), "{page}");
        assert!(page.contains("cert     7d 23h left, until 2026-12-01T00:00:00Z\n"), "{page}");
        assert!(page.contains("x\\u{1b}[32m") && !page.contains('\u{1b}'), "{page}");
        assert!(page.contains("0 declared lost, 7 dropped by retention\n"), "{page}");
        assert!(page.contains("not ready: the disk is full") && page.contains("3 enrolled"), "{page}");
        assert!(page.contains("make room"), "{page}");
    }

    #[test]
    fn a_witness_that_votes_is_well_and_a_hub_that_fills_says_how_far_it_is() {
        let status = json!({"name": "w", "working": true, "ready": false, "witness": true, "problem": null});
        assert!(works(&status) && page(&status, false).contains("votes, as a witness"));
        let control = json!({"role": "follower", "term": 3, "leader": 1, "joint": true});
        let status = json!({"name": "h", "working": true, "control": control, "filled": "syncing",
            "replication": {"partitions": 256, "synced": 17, "lacking": 40}});
        let page = page(&status, false);
        assert!(page.contains("store syncing, 6 %: 17 of 256 partitions, 40 records lacking"), "{page}");
        assert!(page.contains("a change of the voters is half done"), "{page}");
    }
}
