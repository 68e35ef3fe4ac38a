//! `millrace-hub repairs`: what is being mended, and what was.

use std::time::Duration;

use clap::Args;
use millrace_host::terminal::{Align, Table, bytes, count, duration, note, say, say_json, visible};
use millrace_host::{Exit, Failure};
use serde_json::Value;

use super::Which;
use super::look::{number, shown, text};
use crate::client::encoded;
use crate::http::REPAIRS_MAX;

/// List what damage took from hubs and what was fetched again, by which it was mended, and what is being fetched now.
///
/// At every hub; of those that do not answer, what they told this one before.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub repairs\n  millrace-hub repairs --hub hub-b -n 100\n  millrace-hub repairs --json | jq '.reports[0]'"
)]
pub(super) struct Repairs {
    #[command(flatten)]
    which: Which,
    /// How many of the latest to show, at most 1000.
    #[arg(short = 'n', long = "lines", value_name = "COUNT", default_value_t = 20, value_parser = lines)]
    count: usize,
    /// Only those of the hub with this name.
    #[arg(long, value_name = "NAME")]
    hub: Option<String>,
}

impl Repairs {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let hub = self.hub.map(|name| format!("&hub={}", encoded(&name))).unwrap_or_default();
        let answer = self.which.client()?.get(&format!("/v1/repairs?limit={}{hub}", self.count)).await?;
        if self.which.json {
            say_json(&answer)?;
            return Ok(Exit::Ok);
        }
        let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let (running, reports) = (list("running"), list("reports"));
        for one in &running {
            let eta = one.get("eta_ms").and_then(Value::as_u64);
            let eta = eta.map_or_else(String::new, |ms| format!(", about {} s to go", ms.div_ceil(1_000)));
            let asked = one.get("asked").and_then(Value::as_str).unwrap_or("nobody can be asked now");
            say(&format!(
                "{} mends {}: {} of {} records fetched{eta} ({asked})\n",
                shown(one, "hub"),
                journal(one),
                count(number(one, "fetched")),
                count(number(one, "lost")),
            ))?;
        }
        if reports.is_empty() {
            note(if running.is_empty() { "nothing was ever mended" } else { "nothing else was mended yet" });
        } else {
            say(&table(&reports).to_string())?;
        }
        for hub in list("unheard") {
            let hub = hub.as_str().unwrap_or("a hub");
            note(&format!("note: {hub} did not answer; what it told before is shown"));
        }
        Ok(Exit::Ok)
    }
}

fn lines(text: &str) -> Result<usize, String> {
    let fits = text.parse().ok().filter(|count| (1..=REPAIRS_MAX).contains(count));
    fits.ok_or_else(|| format!("write 1 to {REPAIRS_MAX}"))
}

fn table(reports: &[Value]) -> Table {
    let mut table = Table::new(&[
        ("when", Align::Left),
        ("hub", Align::Left),
        ("what", Align::Left),
        ("of", Align::Left),
        ("lacked here", Align::Right),
        ("lacked there", Align::Right),
        ("different", Align::Right),
        ("fetched", Align::Right),
        ("size", Align::Right),
        ("took", Align::Right),
        ("with", Align::Left),
    ]);
    for report in reports {
        let figure = |key: &str| count(number(report, key));
        let (what, of, found, with) = if text(report, "kind") == "mended" {
            let sources = report.get("sources").and_then(Value::as_array);
            let sources: Vec<&str> = sources.into_iter().flatten().filter_map(Value::as_str).collect();
            let found = [figure("lost"), String::new(), String::new(), figure("fetched")];
            ("mended", journal(report), found, sources.join(", "))
        } else {
            let journals = match number(report, "differing") {
                0 => "everything".to_owned(),
                1 => "1 journal".to_owned(),
                several => format!("{} journals", count(several)),
            };
            let partner = Some(text(report, "name")).filter(|name| !name.is_empty());
            let partner = partner.unwrap_or_else(|| text(report, "partner")).to_owned();
            // Sealed in one way here and in another there, or not the same bytes: `--json` tells the two apart.
            let different = count(number(report, "sealed").saturating_add(number(report, "contested")));
            let found = [figure("pulled"), figure("pushed"), different, String::new()];
            (compared(report), journals, found, partner)
        };
        let [here, there, different, fetched] = found;
        table.row([
            text(report, "at").to_owned(),
            text(report, "hub").to_owned(),
            what.to_owned(),
            of,
            here,
            there,
            different,
            fetched,
            bytes(number(report, "bytes")),
            took(number(report, "took_ms")),
            with,
        ]);
    }
    table
}

/// What a comparison found, and whether it only looked.
fn compared(report: &Value) -> &'static str {
    let is = |key: &str| report.get(key) == Some(&Value::Bool(true));
    match (text(report, "ended").is_empty(), is("equal"), is("dry_run")) {
        (false, _, false) => "ended early",
        (false, _, true) => "ended early (dry run)",
        (true, true, false) => "equal",
        (true, true, true) => "equal (dry run)",
        (true, false, false) => "differs",
        (true, false, true) => "differs (dry run)",
    }
}

fn took(ms: u64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { duration(Duration::from_millis(ms)) }
}

/// A journal, with its device by name where it has one.
fn journal(of: &Value) -> String {
    let journal = of.get("journal").cloned().unwrap_or_default();
    let device = Some(text(of, "name")).filter(|name| !name.is_empty());
    let device = device.unwrap_or_else(|| text(&journal, "device"));
    visible(&format!("{device}/{}/{}", text(&journal, "incarnation"), text(&journal, "lane"))).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_comparison_that_only_looked_is_marked_and_says_who_lacks_what() {
        let found = json!({
            "kind": "compared", "at": "t", "hub": "hub-a", "partner": "hub-b", "differing": 2, "pulled": 3,
            "pushed": 4, "sealed": 2, "contested": 3, "bytes": 300, "took_ms": 6, "dry_run": true, "equal": false,
        });
        let mended = json!({ "kind": "mended", "at": "t", "hub": "hub-a", "lost": 8, "fetched": 7, "sources": ["hub-b"] });
        let text = table(&[found.clone(), mended]).to_string();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let words = |row: usize| rows[row].join(" ");
        assert!(words(0).contains("lacked here lacked there different fetched"), "{text}");
        assert!(words(1).contains("hub-a differs (dry run) 2 journals 3 4 5 "), "{text}");
        assert!(words(2).contains("hub-a mended ") && words(2).contains(" 8 7 "), "{text}");
        let with = |key: &str, value: Value| {
            let mut report = found.clone();
            report[key] = value;
            compared(&report)
        };
        assert_eq!(with("dry_run", json!(false)), "differs");
        assert_eq!(with("equal", json!(true)), "equal (dry run)");
        assert_eq!(with("ended", json!("it lies")), "ended early (dry run)");
    }
}
