//! `query`: the records that this device still keeps. Never writes; the agent may run meanwhile.

use clap::Args;
use millrace_host::terminal::{Authors, note, record_table, say, say_json, visible};
use millrace_host::{Clock, Exit, Failure, rows, times};
use millrace_journal::{Cursor, Damage, Options, Order, Page, Query, Reader};
use millrace_model::{Lane, Wall};
use serde_json::{Value, json};

use super::{DataArgument, journal};
use crate::mqtt::Filter;

const EXAMPLES: &str = "\
Examples:
  millrace-agent query --topic 'plant/+/temperature' --limit 20
  millrace-agent query --from -15m --newest
  millrace-agent query --json --data ./press-7 | jq .records[0]

Records stay here for a grace period after the hub has them. The hub has the rest: millrace-hub query.
Ends with exit code 65 when some of the records asked for are damaged; the others are shown.";

/// Show the records that this device still keeps.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct QueryCommand {
    #[command(flatten)]
    data: DataArgument,
    /// Only topics that this MQTT filter covers
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    topic: Option<String>,
    /// Only this lane: urgent, normal or bulk
    #[arg(long)]
    lane: Option<Lane>,
    /// Only what arrived then or later: 2026-11-23T08:00:00Z, 2026-11-23, -15m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    from: Option<Wall>,
    /// Only what arrived before then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    to: Option<Wall>,
    /// The newest first
    #[arg(long)]
    newest: bool,
    /// How many records at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn filter(text: &str) -> Result<String, String> {
    Filter::new(text).map(|filter| filter.as_str().to_owned()).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Wall, String> {
    times::parse(text, Clock::system().wall())
}

impl QueryCommand {
    /// Queries and prints.
    ///
    /// # Errors
    /// When there is nothing to read, the cursor is not one, or some of the records are damaged: then after the others
    /// were shown.
    pub fn run(self) -> Result<(), Failure> {
        let path = journal(&self.data)?;
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Io, format!("{} cannot be read: {error}", path.display()))
                .hint("is it this agent's, and may you read it? Name its directory with --data")
        };
        let cursor = self.cursor.as_deref().map(str::parse::<Cursor>).transpose();
        let cursor = cursor.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let reader = Reader::open(&path, &Options::hub()).map_err(|error| unreadable(&error))?;
        let query = Query {
            lanes: self.lane.map(|lane| vec![lane]),
            topics: self.topic.into_iter().collect(),
            from: self.from,
            to: self.to,
            order: if self.newest { Order::NewestFirst } else { Order::OldestFirst },
            limit: usize::from(self.limit),
            cursor,
            ..Query::default()
        };
        let page = reader.query(&query).map_err(|error| unreadable(&error))?;
        let records: Vec<Value> =
            page.rows.iter().map(|row| rows::row(&row.journal, row.seq, &row.record, None)).collect();
        let next = page.next.as_ref().map(ToString::to_string);
        if self.json {
            let damaged: Vec<Value> = page.damaged.iter().map(place).collect();
            say_json(
                &json!({ "records": records, "next": next, "damaged": damaged, "damages": page.damages }),
            )?;
        } else {
            say(&record_table(&records, Authors::One).to_string())?;
            if let Some(next) = next {
                note(&format!("more: --cursor {next}"));
            }
        }
        whole(&page)
    }
}

fn place(damage: &Damage) -> Value {
    json!({
        "journal": damage.journal.to_string(),
        "lane": damage.journal.lane,
        "first": damage.range.first(),
        "last": damage.range.last(),
        "what": damage.what,
    })
}

/// Names what is missing from the page because it is damaged.
fn whole(page: &Page) -> Result<(), Failure> {
    if page.damages == 0 {
        return Ok(());
    }
    for damage in &page.damaged {
        note(&format!("damaged: {} {}: {}", damage.journal, damage.range, visible(&damage.what)));
    }
    let what = format!("{} places are damaged and not shown", page.damages);
    let hint = "the hub may have these records: millrace-hub query. `millrace-agent verify` shows all that is damaged here; \
                check the disk";
    Err(Failure::new(Exit::Data, what).hint(hint))
}
