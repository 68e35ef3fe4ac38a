//! `verify --against-hub`: asks the running agent to compare its records with its hub, until they are equal or time is up, and shows
//! the receipt.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use millrace_host::config::Span;
use millrace_host::terminal::{keep_receipt, note_receipt, receipt_page, say, say_json, visible};
use millrace_host::{Exit, Failure};
use millrace_link::receipt::Receipt;
use serde_json::{Value, json};

use super::{DataArgument, asking};
use crate::places::Places;

/// Between two exchanges: acknowledgements are noted within a second.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How to compare with the hub.
#[derive(Debug, Args)]
pub(super) struct Against {
    /// Compare with the hub of the present session, and show a receipt that both have signed
    #[arg(long)]
    pub(super) against_hub: bool,
    /// Keep the receipt in this file
    #[arg(short = 'o', long = "output", value_name = "FILE", requires = "against_hub")]
    output: Option<PathBuf>,
    /// How long to wait until what is on its way has arrived
    #[arg(long, value_name = "TIME", default_value = "15s", requires = "against_hub")]
    wait: Span,
}

/// How it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// The hub has all that was here when the first look was taken.
    Equal,
    /// Records are on their way, or a segment is being sealed.
    OnTheWay,
    /// One of both lacks what the other has, or has something else.
    Different,
}

impl Against {
    /// Asks and prints.
    ///
    /// # Errors
    /// When there is nobody to ask, or the records are not equal.
    pub(super) fn run(&self, data: &DataArgument, json: bool) -> Result<(), Failure> {
        let places = Places::new(&data.directory);
        let looks = self.wait.duration().as_millis() / LOOK_AGAIN.as_millis();
        let mut found = ask(&places);
        let wanted = found.as_ref().map(heads).unwrap_or_default();
        for _ in 0..looks {
            match &found {
                Ok(found) if standing(found, &wanted) == Standing::Equal => break,
                Err(failure) if failure.exit != Exit::Temporary => break,
                _ => {}
            }
            std::thread::sleep(LOOK_AGAIN);
            found = ask(&places);
        }
        let found = found?;
        let standing = standing(&found, &wanted);
        let receipt = Receipt::in_answer(&found).map_err(|error| Failure::internal(&error))?;
        if let (Some(path), Some(receipt)) = (&self.output, &receipt) {
            let text = receipt.to_json().map_err(|error| Failure::internal(&error))?;
            keep_receipt(path, &text)?;
        }
        if json {
            let mut answer = found.clone();
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("equal".to_owned(), json!(standing == Standing::Equal));
                fields.insert("on_the_way".to_owned(), json!(standing == Standing::OnTheWay));
            }
            say_json(&answer)?;
        } else {
            say(&page(&found, receipt.as_ref())?)?;
            note_receipt(self.output.as_deref(), receipt.is_some(), "millrace-agent");
        }
        match standing {
            Standing::Equal => Ok(()),
            Standing::OnTheWay => Err(Failure::new(
                Exit::Temporary,
                "records are still on their way to the hub; that is no difference",
            )
            .hint("ask again later, or with a longer --wait; `millrace-agent status` shows the backlog")),
            Standing::Different => {
                Err(Failure::new(Exit::Data, "the hub and this device do not have the same records").hint(
                    "what the hub lacks it fetches by itself (at once: `millrace-hub repair --device NAME`); what this device lacks \
                     comes back when its road and its disk allow: `millrace-agent status` says what holds it up",
                ))
            }
        }
    }
}

fn ask(places: &Places) -> Result<Value, Failure> {
    let running = places.running().map_err(|_| {
        let what = format!("no agent runs in {}", places.root().display());
        Failure::new(Exit::Unavailable, what)
            .hint("only a running agent has a session with a hub: name its directory with --data")
    })?;
    let silent = |error: std::io::Error| {
        Failure::new(Exit::Unavailable, format!("the agent does not answer: {error}"))
            .hint("see `systemctl status millrace-agent` and its log")
    };
    let (status, body) = asking::post(running.http, "/attest").map_err(silent)?;
    if status == 200 {
        return Ok(body);
    }
    let text = |key: &str| body.pointer(&format!("/error/{key}")).and_then(Value::as_str).unwrap_or_default();
    let exit = match (status, text("code")) {
        (503, _) => Exit::Unavailable,
        (409, "later") | (504, _) => Exit::Temporary,
        (502, _) => Exit::Data,
        (409, _) => Exit::Config,
        (500, "unreadable") => Exit::Io,
        _ => Exit::Internal,
    };
    Err(Failure::new(exit, text("message")).hint(text("hint")))
}

fn rows(found: &Value) -> impl Iterator<Item = &Value> {
    found.get("journals").and_then(Value::as_array).into_iter().flatten()
}

fn number(row: &Value, path: &str) -> u64 {
    row.pointer(path).and_then(Value::as_u64).unwrap_or_default()
}

fn word<'a>(row: &'a Value, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Where each journal ends, by its name.
fn heads(found: &Value) -> BTreeMap<(String, String), u64> {
    rows(found).map(|row| (name(row), number(row, "/head"))).collect()
}

fn name(row: &Value) -> (String, String) {
    (word(row, "incarnation").to_owned(), word(row, "lane").to_owned())
}

/// How a finding stands, when all up to these heads is asked for.
fn standing(found: &Value, wanted: &BTreeMap<(String, String), u64>) -> Standing {
    let each = rows(found).map(|row| {
        let waiting = number(row, "/waiting") > 0;
        let lacking = number(row, "/hub_lacks/count") + number(row, "/device_lacks/count") > 0;
        match word(row, "verdict") {
            "equal" if number(row, "/stated") >= wanted.get(&name(row)).copied().unwrap_or_default() => {
                Standing::Equal
            }
            "equal" | "unreadable" | "begins-later" => Standing::OnTheWay,
            "differs" | "unknown" if waiting && !lacking => Standing::OnTheWay,
            _ => Standing::Different,
        }
    });
    each.max_by_key(|standing| match standing {
        Standing::Equal => 0,
        Standing::OnTheWay => 1,
        Standing::Different => 2,
    })
    .unwrap_or(Standing::OnTheWay)
}

fn page(found: &Value, receipt: Option<&Receipt>) -> Result<String, Failure> {
    let mut text = String::new();
    if let Some(receipt) = receipt {
        let [one, other] = receipt.names().map_err(|error| Failure::internal(&error))?;
        text += &receipt_page(&receipt.statement, [&one, &other]);
    }
    let hub = visible(word(found, "hub")).into_owned();
    for row in rows(found) {
        let waiting = number(row, "/waiting");
        let place = format!("{} {}", word(row, "lane"), word(row, "incarnation"));
        let said = match word(row, "verdict") {
            "equal" => String::new(),
            "differs" => format!(
                "not the same at {hub}: {} records are lacking there{}, {} here{}",
                number(row, "/hub_lacks/count"),
                ranges(row, "/hub_lacks/ranges"),
                number(row, "/device_lacks/count"),
                ranges(row, "/device_lacks/ranges"),
            ),
            "unknown" => format!("{hub} has nothing of it"),
            "begins-later" => {
                format!("{hub} keeps it from {} on, and this device less", number(row, "/hub_floor"))
            }
            _ => format!("{hub} cannot read it now"),
        };
        if !said.is_empty() {
            text += &format!("{place}: {said}\n");
        }
        if waiting > 0 {
            text += &format!(
                "{place}: {waiting} records are on their way: not acknowledged yet, and not compared\n"
            );
        }
    }
    Ok(text)
}

/// The first ranges in a line.
fn ranges(row: &Value, path: &str) -> String {
    let list = row.pointer(path).and_then(Value::as_array).into_iter().flatten();
    let shown: Vec<String> = list
        .filter_map(|pair| Some(format!("{}–{}", pair.get(0)?.as_u64()?, pair.get(1)?.as_u64()?)))
        .collect();
    if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(row: &Value) -> Value {
        let mut whole =
            json!({ "lane": "normal", "incarnation": "0a", "head": 9, "stated": 9, "waiting": 0 });
        whole.as_object_mut().unwrap().extend(row.as_object().unwrap().clone());
        json!({ "hub": "hub\u{7}1", "journals": [whole] })
    }

    #[test]
    fn what_is_on_its_way_is_no_difference_and_what_lacks_is_one() {
        let first = heads(&found(&json!({})));
        let stands = |row: Value| standing(&found(&row), &first);
        let lacking = json!({ "count": 3, "ranges": [[4, 6]] });
        assert_eq!(stands(json!({ "verdict": "equal" })), Standing::Equal);
        assert_eq!(stands(json!({ "verdict": "equal", "head": 20, "waiting": 11 })), Standing::Equal);
        assert_eq!(stands(json!({ "verdict": "equal", "stated": 5, "waiting": 4 })), Standing::OnTheWay);
        assert_eq!(stands(json!({ "verdict": "differs", "waiting": 4 })), Standing::OnTheWay);
        assert_eq!(stands(json!({ "verdict": "unknown", "stated": 0, "waiting": 9 })), Standing::OnTheWay);
        assert_eq!(stands(json!({ "verdict": "differs" })), Standing::Different);
        assert_eq!(
            stands(json!({ "verdict": "differs", "waiting": 4, "hub_lacks": lacking })),
            Standing::Different,
            "what was acknowledged lacks there"
        );
        assert_eq!(standing(&json!({}), &first), Standing::OnTheWay, "nothing was compared");
    }

    #[test]
    fn a_difference_is_named_and_a_hub_s_name_is_not_obeyed() {
        let row =
            json!({ "verdict": "differs", "hub_lacks": { "count": 3, "ranges": [[4, 6]] }, "waiting": 2 });
        let text = page(&found(&row), None).unwrap();
        assert!(text.contains("hub\\u{7}1: 3 records are lacking there (4–6), 0 here\n"), "{text}");
        assert!(text.contains("2 records are on their way"), "{text}");
    }
}
