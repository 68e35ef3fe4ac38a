//! `millrace-hub verify --peer NAME`: compares all that two hubs both keep, until it is equal or time is up, and shows the receipt.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use millrace_host::config::Span;
use millrace_host::terminal::{keep_receipt, note, note_receipt, receipt_page, say, say_json, visible};
use millrace_host::{Exit, Failure};
use millrace_link::receipt::Receipt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::look::number;
use crate::client::{Client, Target};
use crate::http::AttestRequest;
use crate::places::Places;

/// Between two exchanges.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// With which hub to compare.
#[derive(Debug, Args)]
pub(super) struct WithPeer {
    /// Compare with this other hub, both running, and show a receipt that both have signed.
    #[arg(long, value_name = "NAME")]
    pub(super) peer: Option<String>,
    /// Keep the receipt in this file.
    #[arg(short = 'o', long = "output", value_name = "FILE", requires = "peer")]
    output: Option<PathBuf>,
    /// How long to wait until what is on its way has arrived.
    #[arg(long, value_name = "TIME", default_value = "15s", requires = "peer")]
    wait: Span,
}

impl WithPeer {
    pub(super) async fn perform(&self, peer: &str, places: &Places, json: bool) -> Result<Exit, Failure> {
        let client = Client::new(Target::Socket(places.socket()));
        let request = json!(AttestRequest { hub: peer.to_owned() });
        let deadline = Instant::now() + self.wait.duration();
        let first = client.post("/v1/attest", &request).await?;
        let mut found = first.clone();
        while left(&found) > 0 && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            found = client.post("/v1/attest", &request).await?;
        }
        let receipt = Receipt::in_answer(&found).map_err(|error| Failure::internal(&error))?;
        if let (Some(path), Some(receipt)) = (&self.output, &receipt) {
            let text = receipt.to_json().map_err(|error| Failure::internal(&error))?;
            keep_receipt(path, &text)?;
        }
        let exit = standing(&first, &found);
        if json {
            let mut answer = found.clone();
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("all_equal".to_owned(), json!(exit == Exit::Ok));
                fields.insert("on_the_way".to_owned(), json!(exit == Exit::Temporary));
            }
            say_json(&answer)?;
        } else {
            say(&page(&found, peer, receipt.as_ref())?)?;
            note_receipt(self.output.as_deref(), receipt.is_some(), "millrace-hub");
        }
        match exit {
            Exit::Temporary => {
                note("records are still on their way between the two hubs; that is no difference");
            }
            Exit::Data => {
                note(&format!("which journals differ: `millrace-hub repair --hub {peer} --dry-run`"));
            }
            _ => {}
        }
        Ok(exit)
    }
}

fn left(found: &Value) -> usize {
    found.get("differing").and_then(Value::as_array).map_or(0, Vec::len)
}

/// A difference counts when nothing moved between the first look and the last: otherwise something may be on its way.
fn standing(first: &Value, last: &Value) -> Exit {
    let of = |found: &Value| (found.get("differing").cloned(), found.get("roots").cloned());
    if left(last) == 0 {
        Exit::Ok
    } else if of(first) == of(last) && number(last, "owed") == 0 {
        Exit::Data
    } else {
        Exit::Temporary
    }
}

fn page(found: &Value, peer: &str, receipt: Option<&Receipt>) -> Result<String, Failure> {
    let mut text = String::new();
    if let Some(receipt) = receipt {
        let [one, other] = receipt.names().map_err(|error| Failure::internal(&error))?;
        text += &receipt_page(&receipt.statement, [&one, &other]);
    }
    let list = found.get("differing").and_then(Value::as_array).into_iter().flatten();
    let differing: Vec<&str> = list.filter_map(Value::as_str).collect();
    if !differing.is_empty() {
        text +=
            &format!("not the same at {}: partitions {}\n", visible(peer), visible(&differing.join(", ")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_counts_only_when_nothing_moves() {
        let found = |differing: &[&str], mine: &str, owed: u64| json!({ "differing": differing, "roots": [mine, "b"], "owed": owed });
        let still = found(&["p003"], "a", 0);
        assert_eq!(standing(&still, &found(&[], "a", 0)), Exit::Ok);
        assert_eq!(standing(&still, &still), Exit::Data);
        assert_eq!(standing(&still, &found(&["p003"], "c", 0)), Exit::Temporary);
        assert_eq!(standing(&still, &found(&["p003"], "a", 4)), Exit::Temporary);
    }

    #[test]
    fn what_differs_is_named_and_no_name_is_obeyed() {
        let found = json!({ "differing": ["p003", "p007"], "receipt": null });
        let text = page(&found, "hub\u{7}2", None).unwrap();
        assert_eq!(text, "not the same at hub\\u{7}2: partitions p003, p007\n");
        assert!(Receipt::in_answer(&found).unwrap().is_none());
    }
}
