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
        ("lacked", Align::Right),
        ("fetched", Align::Right),
        ("size", Align::Right),
        ("took", Align::Right),
        ("with", Align::Left),
    ]);
    for report in reports {
        let (what, of, lacked, fetched, with) = if text(report, "kind") == "mended" {
            let sources = report.get("sources").and_then(Value::as_array);
            let sources: Vec<&str> = sources.into_iter().flatten().filter_map(Value::as_str).collect();
            let (lost, fetched) = (count(number(report, "lost")), count(number(report, "fetched")));
            ("mended".to_owned(), journal(report), lost, fetched, sources.join(", "))
        } else {
            let found = if report.get("equal") == Some(&Value::Bool(true)) { "equal" } else { "differs" };
            let journals = match number(report, "differing") {
                0 => "everything".to_owned(),
                1 => "1 journal".to_owned(),
                several => format!("{} journals", count(several)),
            };
            let pulled = count(number(report, "pulled"));
            let partner = Some(text(report, "name")).filter(|name| !name.is_empty());
            let partner = partner.unwrap_or_else(|| text(report, "partner")).to_owned();
            (found.to_owned(), journals, pulled, String::new(), partner)
        };
        table.row([
            text(report, "at").to_owned(),
            text(report, "hub").to_owned(),
            what,
            of,
            lacked,
            fetched,
            bytes(number(report, "bytes")),
            took(number(report, "took_ms")),
            with,
        ]);
    }
    table
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
