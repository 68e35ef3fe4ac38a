//! `millrace-hub repair`: compare this hub's copies with others now, and mend what differs.

use std::time::Duration;

use clap::Args;
use millrace_host::config::Span;
use millrace_host::terminal::{count, note, say, say_json};
use millrace_host::{Exit, Failure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Here;
use super::backup::{clear, tell};
use super::look::{number, shown, text};
use crate::http::RepairRequest;

/// How often to look whether it is over.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Compare what this hub has with the other hubs and with the devices connected here, and mend what differs.
///
/// This happens by itself whenever a connection is back, every `repair.interval`, and by `repair.schedule`. What differs is looked at
/// twice, twelve seconds apart, because records may be on their way. Exit code 0 when everything is equal; 75 when something differed and
/// is being mended (`millrace-hub repairs` follows it), or when the comparison is not over.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub repair\n  millrace-hub repair --hub hub-b --dry-run\n  millrace-hub repair --device press-7 --json"
)]
pub(super) struct Repair {
    #[command(flatten)]
    here: Here,
    /// Only with this device, which must be connected here.
    #[arg(long, value_name = "ID|NAME")]
    device: Option<String>,
    /// Only with this hub.
    #[arg(long, value_name = "NAME", conflicts_with = "device")]
    hub: Option<String>,
    /// With all hubs and all devices that are connected here; the same as naming none.
    #[arg(long, conflicts_with_all = ["device", "hub"])]
    all: bool,
    /// Say what differs, and do nothing about it.
    #[arg(long)]
    dry_run: bool,
    /// How long to wait for the end.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    wait: Span,
}

impl Repair {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let which = self.here.which();
        let client = which.client()?;
        let asked =
            RepairRequest { device: self.device.clone(), hub: self.hub.clone(), dry_run: self.dry_run };
        let begun = client.post("/v1/repair", &json!(asked)).await?;
        let (hub, began) = (text(&begun, "hub").to_owned(), text(&begun, "began").to_owned());
        let deadline = Instant::now() + self.wait.duration();
        let (mut answer, mut over) = (json!({}), false);
        while !over && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            answer = client.get("/v1/repairs").await?;
            over = number(&answer, "demanded") == 0;
            show(&answer);
        }
        clear();
        let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let mine = |report: &Value| {
            text(report, "hub") == hub
                && text(report, "kind") == "compared"
                && text(report, "trigger") == "demand"
                && text(report, "at") >= began.as_str()
        };
        let reports: Vec<Value> = list("reports").into_iter().filter(mine).collect();
        let equal = reports.iter().all(|report| report.get("equal") == Some(&Value::Bool(true)));
        if which.json {
            say_json(&json!({ "hub": hub, "over": over, "equal": over && equal, "reports": reports }))?;
        } else {
            if reports.is_empty() && over {
                note("there is nobody to compare with: no other hub, and no device connected here");
            }
            reports.iter().try_for_each(|report| say(&line(report)))?;
            if !over {
                note("the comparison is not over: `millrace-hub repairs` follows it");
            }
        }
        Ok(if over && equal { Exit::Ok } else { Exit::Temporary })
    }
}

/// One report in a sentence.
fn line(report: &Value) -> String {
    let name = shown(report, "name");
    let partner = if name.is_empty() { shown(report, "partner") } else { format!("device {name}") };
    if let Some(why) = report.get("ended").and_then(Value::as_str) {
        return format!("{partner}: ended early: {why}\n");
    }
    let (questions, bytes) = (number(report, "questions"), number(report, "bytes"));
    let plural = if questions == 1 { "" } else { "s" };
    let cost = format!("{} question{plural}, {} bytes", count(questions), count(bytes));
    if number(report, "differing") == 0 {
        return format!("{partner}: equal ({cost})\n");
    }
    let journals = match number(report, "differing") {
        1 => "1 journal differs".to_owned(),
        several => format!("{} journals differ", count(several)),
    };
    let found = [
        ("pulled", "records are lacking here"),
        ("pushed", "records are lacking there"),
        ("sealed", "segments are to be sealed here"),
        ("contested", "segments or records are different at both"),
    ];
    let found = found.into_iter().filter(|(key, _)| number(report, key) > 0);
    let found: Vec<String> =
        found.map(|(key, what)| format!("{} {what}", count(number(report, key)))).collect();
    let dry = report.get("dry_run") == Some(&Value::Bool(true));
    let done = if dry { "nothing was done" } else { "`millrace-hub repairs` follows the mending" };
    format!("{partner}: {journals}: {}; {done} ({cost})\n", found.join(", "))
}

/// How far it is, on a terminal.
fn show(answer: &Value) {
    let comparing = answer.get("comparing").and_then(Value::as_array).map_or(0, Vec::len);
    let left = number(answer, "demanded");
    tell(&format!("{left} comparisons to go, {comparing} under way"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_sentence() {
        let equal = json!({ "partner": "hub-b", "differing": 0, "questions": 1, "bytes": 90 });
        assert_eq!(line(&equal), "hub-b: equal (1 question, 90 bytes)\n");
        let other =
            json!({ "partner": "hub-b", "differing": 1, "pulled": 1_024, "questions": 4, "bytes": 300 });
        assert_eq!(
            line(&other),
            "hub-b: 1 journal differs: 1.02k records are lacking here; `millrace-hub repairs` follows the mending \
             (4 questions, 300 bytes)\n"
        );
        let dry = json!({
            "partner": "device 07", "name": "press-7", "differing": 2, "pulled": 1, "pushed": 9, "dry_run": true,
            "questions": 4, "bytes": 300,
        });
        assert_eq!(
            line(&dry),
            "device press-7: 2 journals differ: 1 records are lacking here, 9 records are lacking there; nothing was \
             done (4 questions, 300 bytes)\n"
        );
        let ended = json!({ "partner": "hub-b", "ended": "it lies" });
        assert_eq!(line(&ended), "hub-b: ended early: it lies\n");
    }
}
