//! The parameters of a request for records, checked.
//!
//! Promise: an unknown parameter is an error that lists the known ones; a repeated one counts where a list makes sense.

use millrace_host::http::Problem;
use millrace_journal::{Order, QUERY_ROWS_MAX, Query};
use millrace_model::{DeviceId, Kind, Lane, Wall};

use crate::registry::Registry;

/// Rows of a page when nothing else is asked for.
pub(super) const LIMIT_DEFAULT: usize = 100;
/// Topic filters of one request.
const TOPICS_MAX: usize = 32;

const KNOWN: &str = "device, lane, topic, kind, from, to, order, limit, cursor, local";

/// Whether only what this hub itself keeps is asked for (`local=true`), and the other parameters.
pub(super) fn here_only(pairs: Vec<(String, String)>) -> Result<(bool, Vec<(String, String)>), Problem> {
    let mut only = false;
    let mut others = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        match (key.as_str(), value.as_str()) {
            ("local", "true") => only = true,
            ("local", "false") => only = false,
            ("local", _) => {
                let message = format!("`{value}` is neither true nor false");
                return Err(Problem::bad_request(message, "write local=true"));
            }
            _ => others.push((key, value)),
        }
    }
    Ok((only, others))
}

/// The query that `pairs` ask for.
pub(super) fn query(pairs: &[(String, String)], registry: &Registry, now: Wall) -> Result<Query, Problem> {
    let mut query = Query { limit: LIMIT_DEFAULT, ..Query::default() };
    for (key, value) in pairs {
        match key.as_str() {
            "device" => query.devices.get_or_insert_default().push(device(value, registry)?),
            "lane" => query.lanes.get_or_insert_default().push(lane(value)?),
            "topic" => query.topics.push(filter(value)?),
            "kind" => query.kinds = kinds(value)?,
            "from" => query.from = Some(time("from", value, now)?),
            "to" => query.to = Some(time("to", value, now)?),
            "order" => query.order = order(value)?,
            "limit" => query.limit = limit(value)?,
            "cursor" => query.cursor = Some(cursor(value)?),
            unknown => {
                let message = format!("there is no parameter `{unknown}`");
                return Err(Problem::bad_request(message, format!("known are {KNOWN}")));
            }
        }
    }
    if query.topics.len() > TOPICS_MAX {
        let message = format!("a request may have {TOPICS_MAX} topic filters");
        return Err(Problem::bad_request(message, "ask with a wider filter, or several times"));
    }
    if matches!((query.from, query.to), (Some(from), Some(to)) if from >= to) {
        return Err(Problem::bad_request("`from` is not before `to`", "swap them, or leave one out"));
    }
    Ok(query)
}

pub(super) fn device(text: &str, registry: &Registry) -> Result<DeviceId, Problem> {
    if let Some(device) = registry.find(text) {
        return Ok(device.id);
    }
    // Records of a device may be here although the registry does not know it.
    text.parse()
        .map_err(|_| Problem::not_found(format!("there is no device `{text}`"), "list them with /v1/devices"))
}

fn lane(text: &str) -> Result<Lane, Problem> {
    text.parse().map_err(|error: String| Problem::bad_request(error, "write lane=normal"))
}

fn filter(text: &str) -> Result<String, Problem> {
    let wrong = |why: &str| {
        let message = format!("`{text}` is not a topic filter: {why}");
        Problem::bad_request(message, "write for example topic=plant/+/temp or topic=plant/%23 (`#`)")
    };
    if text.is_empty() || text.len() > millrace_model::limits::TOPIC_BYTES_MAX {
        return Err(wrong("it is empty or too long"));
    }
    let levels = text.split('/').count();
    for (place, level) in (1..).zip(text.split('/')) {
        if level.contains('#') && (level != "#" || place != levels) {
            return Err(wrong("`#` stands alone in the last level"));
        }
        if level.contains('+') && level != "+" {
            return Err(wrong("`+` stands for a whole level"));
        }
    }
    Ok(text.to_owned())
}

fn kinds(text: &str) -> Result<Vec<Kind>, Problem> {
    let known = [Kind::DATA, Kind::OPEN, Kind::GAP, Kind::CLOCK, Kind::REPORT];
    if text == "all" {
        return Ok(Vec::new());
    }
    let named = |name: &str| known.into_iter().find(|kind| kind.name() == name);
    text.split(',').map(|name| named(name.trim())).collect::<Option<Vec<Kind>>>().ok_or_else(|| {
        let message = format!("`{text}` is not a kind of record");
        Problem::bad_request(message, "write data, open, gap, clock, report, or all")
    })
}

fn time(key: &str, text: &str, now: Wall) -> Result<Wall, Problem> {
    millrace_host::times::parse(text, now)
        .map_err(|error| Problem::bad_request(error, format!("write {key}=-15m")))
}

fn order(text: &str) -> Result<Order, Problem> {
    match text {
        "oldest" | "asc" => Ok(Order::OldestFirst),
        "newest" | "desc" => Ok(Order::NewestFirst),
        _ => Err(Problem::bad_request(
            format!("`{text}` is not an order"),
            "write order=oldest or order=newest",
        )),
    }
}

fn limit(text: &str) -> Result<usize, Problem> {
    let fits = text.parse().ok().filter(|limit| (1..=QUERY_ROWS_MAX).contains(limit));
    fits.ok_or_else(|| {
        let hint = format!("write 1 to {QUERY_ROWS_MAX}, and go on with `cursor`");
        Problem::bad_request(format!("`{text}` is not a limit"), hint)
    })
}

fn cursor(text: &str) -> Result<millrace_journal::Cursor, Problem> {
    let hint = "pass on `next` of the page before, or leave it out";
    text.parse().map_err(|error: millrace_journal::ReadError| Problem::bad_request(error.to_string(), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(pairs: &[(&str, &str)]) -> Result<Query, Problem> {
        let dir = tempfile::tempdir().unwrap();
        let registry = crate::registry::tests::lone(dir.path()).await;
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        query(&pairs, &registry, Wall(1_800_000_000_000_000))
    }

    #[tokio::test]
    async fn a_whole_request_is_understood() {
        let id = "0f".repeat(16);
        let query = ask(&[
            ("device", &id),
            ("lane", "bulk"),
            ("topic", "plant/+/temp"),
            ("topic", "plant/#"),
            ("kind", "data,gap"),
            ("from", "-15m"),
            ("to", "now"),
            ("order", "newest"),
            ("limit", "10000"),
        ])
        .await
        .unwrap();
        assert_eq!(query.devices, Some(vec![DeviceId::from_bytes([15; 16])]));
        assert_eq!((query.lanes, query.topics.len()), (Some(vec![Lane::Bulk]), 2));
        assert_eq!(query.kinds, [Kind::DATA, Kind::GAP]);
        assert_eq!(query.to.unwrap().0 - query.from.unwrap().0, 900_000_000);
        assert_eq!((query.order, query.limit), (Order::NewestFirst, 10_000));
        assert_eq!(ask(&[]).await.unwrap().kinds, [Kind::DATA]);
        assert_eq!(ask(&[("kind", "all")]).await.unwrap().kinds, []);
    }

    #[tokio::test]
    async fn what_is_not_understood_is_answered_with_the_fix() {
        for (key, value) in [
            ("devise", "x"),
            ("device", "press-99"),
            ("lane", "fast"),
            ("topic", ""),
            ("topic", "a/#/b"),
            ("topic", "a+/b"),
            ("kind", "readings"),
            ("from", "yesterday"),
            ("order", "up"),
            ("limit", "0"),
            ("limit", "10001"),
            ("cursor", "zzz"),
        ] {
            let problem = ask(&[(key, value)]).await.unwrap_err();
            let body: serde_json::Value = serde_json::from_str(&problem.body()).unwrap();
            assert!(body["error"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{key}={value}");
            for word in ["message", "hint"] {
                let spoken = crate::client::spoken(body["error"][word].as_str().unwrap());
                let http = spoken.contains(['=', '%']) || spoken.contains("/v1/");
                assert!(!http || key == "devise", "the command line speaks its own words: {spoken}");
            }
        }
        let swapped = ask(&[("from", "now"), ("to", "-1h")]).await.unwrap_err();
        assert!(crate::client::spoken(&swapped.body()).contains("`--from` is not before `--to`"));
    }
}
