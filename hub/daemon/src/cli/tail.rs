//! `millrace-hub tail`: the latest records, and those that arrive.

use std::collections::BTreeSet;

use clap::Args;
use millrace_host::Exit;
use serde_json::Value;

use super::Which;
use super::look::{number, text};
use super::query::Filter;
use millrace_host::Failure;
use millrace_host::terminal::{note, record_line, say, say_json_line};

/// Show the latest records and, with -f, those that arrive, one per line.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub tail -f\n  millrace-hub tail -f --topic 'plant/#' --device press-7\n  millrace-hub tail -n 0 -f --json | jq .payload"
)]
pub(super) struct Tail {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    filter: Filter,
    /// Go on with records as they arrive.
    #[arg(short, long)]
    follow: bool,
    /// How many of the latest to begin with.
    #[arg(short = 'n', long = "lines", value_name = "COUNT", default_value_t = 10)]
    count: usize,
}

/// A record's place, by which one that comes twice is known.
type Place = (String, String, String, u64);

impl Tail {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let client = self.which.client()?;
        let filter = self.filter.parameters();
        // Following begins first, so that nothing is missed between the two.
        let mut events = match self.follow {
            true => Some(client.events(&format!("/v1/tail?{filter}")).await?),
            false => None,
        };
        let mut shown = BTreeSet::new();
        if self.count > 0 {
            let path = format!("/v1/records?{filter}&order=newest&limit={}", self.count);
            let mut page = client.get(&path).await?;
            let records = page.get_mut("records").and_then(Value::as_array_mut).map(std::mem::take);
            for record in records.unwrap_or_default().iter().rev() {
                shown.insert(place(record));
                self.show(record)?;
            }
        }
        let Some(events) = &mut events else { return Ok(Exit::Ok) };
        while let Some((name, data)) = events.next().await? {
            if name == "missed" {
                note("note: some records came too fast to be shown; `millrace-hub query` has them");
                continue;
            }
            if name == "partial" {
                note(&partial(&data));
                continue;
            }
            let Ok(record) = serde_json::from_str::<Value>(&data) else { continue };
            if !shown.remove(&place(&record)) {
                self.show(&record)?;
            }
        }
        Err(Failure::new(Exit::Unavailable, "the hub has stopped").hint("start again when it is back"))
    }

    fn show(&self, record: &Value) -> Result<(), Failure> {
        if self.which.json { say_json_line(record) } else { say(&format!("{}\n", record_line(record))) }
    }
}

/// What a hub says that keeps no replica of everything that is followed.
fn partial(data: &str) -> String {
    let told: Value = serde_json::from_str(data).unwrap_or_default();
    let partitions = told.get("partitions").and_then(Value::as_array).map_or(0, Vec::len);
    format!(
        "note: {} keeps no replica of {partitions} of the partitions that are followed: of these only what agents bring to it is shown; \
         `millrace-hub placement` says who keeps them",
        text(&told, "hub")
    )
}

fn place(record: &Value) -> Place {
    let of = |key: &str| text(record, key).to_owned();
    (of("device"), of("incarnation"), of("lane"), number(record, "seq"))
}
