//! `routes`: the hubs as this agent sees them, and why it dials which.

use std::time::Duration;

use clap::Args;
use millrace_host::terminal::{Align, Table, duration, say, say_json, visible};
use millrace_host::{Exit, Failure};
use serde_json::Value;

use super::{DataArgument, asking};
use crate::daemon::uplink;
use crate::places::Places;

const EXAMPLES: &str = "\
Examples:
  millrace-agent routes
  millrace-agent routes --data ./press-7 --json

The first line that is neither down nor draining is dialled next; a running session moves to it only when that is clearly
and lastingly better. When the agent does not run, this shows what it remembers.";

/// What each weight means, in the order in which they are shown.
const MEANINGS: [(&str, &str); 13] = [
    ("other_region_us", "outside the preferred region"),
    ("no_replica_us", "keeps no replica of this device"),
    ("full_load_us", "fully loaded; half the load costs a quarter"),
    ("unmeasured_us", "assumed before the road is measured"),
    ("fall", "failures until a hub is passed over"),
    ("rise", "good answers until a hub that failed is trusted"),
    ("pause_min_us", "passed over for so long at first"),
    ("pause_max_us", "and at most"),
    ("gain_us", "a session moves for so much, and a quarter"),
    ("patience_us", "that lasts so long, up to twice by chance"),
    ("leave_within_us", "a draining hub is left within"),
    ("probe_every_us", "others are measured so often, half of it by chance"),
    ("probe_doubted_us", "and so often after a failure"),
];

/// Show the hubs as this agent sees them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RoutesCommand {
    #[command(flatten)]
    data: DataArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RoutesCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// When there is no agent here at all.
    pub fn run(self) -> Result<(), Failure> {
        let places = Places::new(&self.data.directory);
        if !places.root().is_dir() {
            let what = format!("{} is no data directory", places.root().display());
            return Err(Failure::new(Exit::Config, what).hint("name the agent's directory with --data"));
        }
        let running =
            places.running().and_then(|running| asking::ask(running.http, asking::Verb::Get, "/routes"));
        let page = match running {
            Ok(page) => page,
            Err(_) => serde_json::to_value(uplink::offline(places.memory()))
                .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?,
        };
        if self.json {
            say_json(&page)?;
        } else {
            say(&picture(&page))?;
        }
        Ok(())
    }
}

/// A row of the page; names and regions come from hubs.
struct Row<'a>(&'a Value);

impl Row<'_> {
    fn text(&self, key: &str) -> String {
        self.0
            .get(key)
            .and_then(Value::as_str)
            .map_or_else(|| "–".to_owned(), |text| visible(text).into_owned())
    }

    fn number(&self, key: &str) -> u64 {
        self.0.get(key).and_then(Value::as_u64).unwrap_or(0)
    }

    fn is(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    fn span(&self, key: &str) -> String {
        self.0.get(key).and_then(Value::as_u64).map_or_else(|| "–".to_owned(), micros)
    }

    fn list(&self, key: &str) -> Vec<String> {
        let items = self.0.get(key).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(|text| visible(text).into_owned()).collect()
    }

    /// Where the session is, and why a hub is passed over.
    fn state(&self) -> String {
        let states = [("present", "present"), ("draining", "draining"), ("down", "down")];
        let found: Vec<&str> = states.iter().filter(|(key, _)| self.is(key)).map(|(_, word)| *word).collect();
        if found.is_empty() { "up".to_owned() } else { found.join(", ") }
    }
}

fn micros(us: u64) -> String {
    duration(Duration::from_micros(us))
}

fn hubs(page: &Value) -> Table {
    let mut table = Table::new(&[
        ("hub", Align::Left),
        ("region", Align::Left),
        ("state", Align::Left),
        ("cost", Align::Right),
        ("rtt", Align::Right),
        ("load", Align::Right),
        ("replica", Align::Left),
        ("failures", Align::Right),
        ("addresses", Align::Left),
    ]);
    for hub in page.get("hubs").and_then(Value::as_array).into_iter().flatten() {
        let row = Row(hub);
        table.row([
            row.text("name"),
            row.text("region"),
            row.state(),
            row.span("cost_us"),
            row.span("rtt_us"),
            format!("{} %", row.number("load_permille") / 10),
            if row.is("replica") { "yes" } else { "no" }.to_owned(),
            row.number("failures").to_string(),
            row.list("addresses").join(" "),
        ]);
    }
    table
}

fn picture(page: &Value) -> String {
    let whole = Row(page);
    let mut lines = Vec::new();
    if !whole.is("running") {
        lines.push("the agent does not run: this is what it remembers".to_owned());
    }
    let region = page.get("region").and_then(Value::as_str).map(|text| visible(text).into_owned());
    lines.push(format!("preferred region  {}", region.unwrap_or_else(|| "none".to_owned())));
    if page.get("follow").and_then(Value::as_bool) == Some(false) {
        lines.push("only the addresses of [hub] addresses are dialled".to_owned());
    }
    if page.get("probes").and_then(Value::as_bool) == Some(false) {
        lines.push("the road is metered: other hubs are not measured".to_owned());
    }
    if page.get("silence_us").is_some_and(Value::is_u64) {
        lines.push(format!("another hub takes over after a silence of {}", whole.span("silence_us")));
    }
    let seeds = page.get("seeds").and_then(Value::as_array).into_iter().flatten();
    let loose: Vec<String> = seeds
        .map(Row)
        .filter(|seed| seed.0.get("hub").is_none_or(Value::is_null))
        .map(|seed| seed.text("address"))
        .collect();
    if !loose.is_empty() {
        lines.push(format!("seeds that lead to no known hub  {}", loose.join(" ")));
    }
    let weights = page.get("weights").cloned().unwrap_or_default();
    let mut table = Table::new(&[("weight", Align::Left), ("value", Align::Right), ("meaning", Align::Left)]);
    for (key, meaning) in MEANINGS {
        let value = Row(&weights);
        let (name, value) = match key.strip_suffix("_us") {
            Some(name) => (name, value.span(key)),
            None => (key, value.number(key).to_string()),
        };
        table.row([name.to_owned(), value, meaning.to_owned()]);
    }
    format!("{}\n\n{}\n{table}", lines.join("\n"), hubs(page))
}

#[cfg(test)]
mod tests {
    use millrace_model::HubId;
    use millrace_wire::HubEndpoint;

    use super::*;
    use crate::memory::{Memory, Remembered};

    #[test]
    fn what_is_remembered_is_shown_with_costs_and_weights() {
        let hub = |number: u8, rtt_us, replica| Remembered {
            told: HubEndpoint {
                hub: HubId::from_bytes([number; 16]),
                name: format!("hub-{number}"),
                region: "eu-1".to_owned(),
                addresses: vec![format!("hub-{number}:7443")],
                load_permille: 500,
                draining: false,
                replica,
            },
            rtt_us,
        };
        let hubs = vec![hub(1, Some(5_000), true), hub(2, None, false)];
        let memory = Memory { seeds: vec!["token:7443".to_owned()], hubs, ..Memory::default() };
        let page = serde_json::to_value(uplink::offline(memory)).unwrap();
        let text = picture(&page);
        for line in ["the agent does not run", "preferred region  none", "no known hub  token:7443"] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        for (name, words) in
            [("hub-1", ["20.0ms", "5.00ms", "50 %", "yes"]), ("hub-2", ["80.0ms", "–", "50 %", "no"])]
        {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(words.iter().all(|word| line.contains(word)), "{line}");
        }
        let weights = page.get("weights").and_then(Value::as_object).unwrap();
        let shown = |key: &String| MEANINGS.iter().any(|(known, _)| known == key) || key == "probe_first_us";
        assert!(weights.keys().all(shown), "{weights:?}");
        assert!(MEANINGS.iter().all(|(key, _)| weights.contains_key(*key)));
        assert!(text.contains("other_region"), "{text}");
    }
}
