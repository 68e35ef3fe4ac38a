//! `query`: the records that this device still keeps. Never writes; the agent may run meanwhile.

use clap::Args;
use millrace_host::terminal::{Authors, note, record_table, say, say_json};
use millrace_host::{Clock, Exit, Failure, rows, times};
use millrace_journal::{Cursor, Options, Order, Query, Reader};
use millrace_model::{Lane, Wall};
use serde_json::{Value, json};

use super::{DataArgument, journal};
use crate::mqtt::Filter;

const EXAMPLES: &str = "\
Examples:
  millrace-agent query --topic 'plant/+/temperature' --limit 20
  millrace-agent query --from -15m --newest
  millrace-agent query --json --data ./press-7 | jq .records[0]

Records stay here for a grace period after the hub has them. The hub has the rest: millrace-hub query.";

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
    /// When there is nothing to read, or the cursor is not one.
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
        let next = page.next.map(|cursor| cursor.to_string());
        if self.json {
            return say_json(&json!({ "records": records, "next": next }));
        }
        say(&record_table(&records, Authors::One).to_string())?;
        if let Some(next) = next {
            note(&format!("more: --cursor {next}"));
        }
        Ok(())
    }
}
