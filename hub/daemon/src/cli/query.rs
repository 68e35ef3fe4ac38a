//! `millrace-hub query`: records by device, topic and time.

use clap::Args;
use millrace_host::Exit;
use serde_json::Value;

use super::Which;
use super::look::{number, shown};
use crate::client::encoded;
use millrace_host::Failure;
use millrace_host::terminal::{Authors, note, record_table, say, say_json};

/// Which records.
#[derive(Debug, Clone, Args)]
pub(super) struct Filter {
    /// Only of this device (id or name); may be repeated.
    #[arg(long = "device", value_name = "ID|NAME")]
    devices: Vec<String>,
    /// Only topics that this MQTT filter covers; may be repeated.
    #[arg(long = "topic", value_name = "FILTER")]
    topics: Vec<String>,
    /// Only of this lane: urgent, normal or bulk; may be repeated.
    #[arg(long = "lane", value_name = "LANE")]
    lanes: Vec<String>,
    /// Which kinds of records: data, open, gap, clock, report, or all.
    #[arg(long, value_name = "KIND", default_value = "data")]
    kind: String,
}

impl Filter {
    /// As parameters of a request, the first without `&`.
    pub(super) fn parameters(&self) -> String {
        let mut out = format!("kind={}", encoded(&self.kind));
        for (key, values) in [("device", &self.devices), ("topic", &self.topics), ("lane", &self.lanes)] {
            for value in values {
                out.push_str(&format!("&{key}={}", encoded(value)));
            }
        }
        out
    }
}

/// Show records by device, topic and time.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub query --topic 'plant/+/temp' --from -15m\n  millrace-hub query --device press-7 --from 2026-11-23T08:00:00Z --to 2026-11-23T09:00:00Z --limit 1000 --json\n  millrace-hub query --order newest --limit 10\n  millrace-hub query --kind gap"
)]
pub(super) struct Query {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    filter: Filter,
    /// Only what arrived then or later: RFC 3339, a date, or relative such as -15m.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Only what arrived before then.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Which end comes first: oldest or newest.
    #[arg(long, value_name = "ORDER", default_value = "oldest")]
    order: String,
    /// How many records, at most 10,000.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Go on after the page that ended with this cursor.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl Query {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let mut path = format!("/v1/records?{}&limit={}", self.filter.parameters(), self.limit);
        path.push_str(&format!("&order={}", encoded(&self.order)));
        for (key, value) in [("from", &self.from), ("to", &self.to), ("cursor", &self.cursor)] {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={}", encoded(value)));
            }
        }
        let answer = self.which.client()?.get(&path).await?;
        let damages = number(&answer, "damages");
        let exit = if damages == 0 { Exit::Ok } else { Exit::Data };
        for damage in answer.get("damaged").and_then(Value::as_array).into_iter().flatten() {
            let (first, last) = (number(damage, "first"), number(damage, "last"));
            note(&format!(
                "damaged and not shown: {} {first}–{last}: {}",
                shown(damage, "journal"),
                shown(damage, "what")
            ));
        }
        if damages > 0 {
            note("the hub moves damaged records aside; agents that still have them send them again");
        }
        if answer.get("complete").and_then(Value::as_bool) == Some(false) {
            note("this answer may be incomplete: no hub that keeps all of it can be reached now");
        }
        if self.which.json {
            say_json(&answer)?;
            return Ok(exit);
        }
        let found = answer.get("records").and_then(Value::as_array).into_iter().flatten();
        say(&record_table(found, Authors::Many).to_string())?;
        if let Some(next) = answer.get("next").and_then(Value::as_str) {
            note(&format!("more: --cursor {next}"));
        }
        Ok(exit)
    }
}
