//! `GET /v1/watch`: changes of keys as they come, as server-sent events.
//!
//! ```text
//! id: 40
//! event: began      data: {"revision": 41}              changes from this revision on follow
//!                   data: {"type": "put", "key": …}     one change of several in revision 42
//! id: 42            data: {"type": "put", "key": …}     the last one of revision 42; resume with ?revision=43
//! event: compacted  data: {"oldest": 90}                too far behind: read, and watch again
//! ```
//! Whoever comes back with `Last-Event-ID: 42`, as an EventSource does by itself, goes on behind revision 42, whatever its address asks
//! for.
//!
//! A watcher that does not read costs no memory: it is a place in the window of past changes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use millrace_host::http::Problem;
use millrace_hub_control::Watcher;
use millrace_hub_control::kv::{Change, KeyRange};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::feed::Feed;
use super::{Api, kv};

/// Watchers at once; more are refused.
pub(super) const WATCHERS_MAX: usize = 256;
/// Pieces that wait for a watcher. When full, it stays where it is in the window.
const PIECES_MAX: usize = 16;
/// A sign of life, so that proxies keep the connection.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// How an EventSource says what it had (WHATWG HTML, server-sent events).
const LAST_EVENT_ID: &str = "last-event-id";

/// What is to be watched.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Watching {
    key: Option<String>,
    prefix: Option<String>,
    revision: u64,
}

pub(super) async fn follow(
    State(api): State<Api>,
    Query(asked): Query<Watching>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let revision = from_revision(asked.revision, &headers)?;
    let range = match (asked.key, asked.prefix) {
        (Some(key), None) => KeyRange::one(key),
        (None, Some(prefix)) if prefix.is_empty() => KeyRange::all(),
        (None, Some(prefix)) => KeyRange::prefix(prefix),
        _ => {
            return Err(Problem::bad_request("a watch needs a key or a prefix", "write ?key= or ?prefix="));
        }
    };
    let Ok(place) = Arc::clone(&api.0.watchers).try_acquire_owned() else {
        return Err(Problem::unavailable("as many watch as may", "read instead, or wait"));
    };
    let watch = api.control().watch(range, revision);
    let (pieces, feed) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let gone = pieces.clone();
        tokio::select! {
            () = pass_on(watch, pieces) => {}
            () = gone.closed() => {}
            () = api.0.shutdown.triggered() => {}
        }
        drop(place);
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(Feed(feed))).into_response())
}

/// The revision from which on changes are to follow; 0: from now on.
fn from_revision(asked: u64, headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(last) = headers.get(LAST_EVENT_ID) else { return Ok(asked) };
    let last = last.to_str().ok().and_then(|last| last.trim().parse::<u64>().ok());
    last.map(|last| last.saturating_add(1)).ok_or_else(|| {
        let hint = "send the id of the last event that came, or leave the header out";
        Problem::bad_request("the last-event-id header is no revision", hint)
    })
}

fn began(next_revision: u64) -> String {
    let began = json!({ "revision": next_revision });
    format!("id: {}\nevent: began\ndata: {began}\n\n", next_revision.saturating_sub(1))
}

async fn pass_on(mut watch: Watcher, pieces: mpsc::Sender<Bytes>) {
    let mut text = began(watch.next_revision());
    loop {
        if pieces.send(Bytes::from(text)).await.is_err() {
            return;
        }
        text = match tokio::time::timeout(ALIVE_EVERY, watch.next()).await {
            Err(_) => ": alive\n\n".to_owned(),
            Ok(Ok(batch)) => events(&batch.changes),
            Ok(Err(compacted)) => {
                let told = json!({ "oldest": compacted.oldest });
                // Whoever has gone need not know.
                let _ = pieces.send(format!("event: compacted\ndata: {told}\n\n").into()).await;
                return;
            }
        };
    }
}

/// Changes as events, whole revisions at a time. Only the last event of a revision has an `id`: whoever is cut off before it
/// resumes behind the revision before.
fn events(changes: &[Change]) -> String {
    let revision = |change: &Change| change.current.mod_revision;
    let mut text = String::new();
    for (place, change) in changes.iter().enumerate() {
        let next = changes.get(place + 1).map(revision);
        if next != Some(revision(change)) {
            text.push_str(&format!("id: {}\n", revision(change)));
        }
        let mut shown = kv::shown(&change.current, change.is_delete());
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("type".to_owned(), if change.is_delete() { "delete" } else { "put" }.into());
        }
        text.push_str(&format!("data: {shown}\n\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use millrace_hub_control::kv::KeyValue;

    use super::*;

    #[test]
    fn whoever_comes_back_with_the_last_id_goes_on_behind_it() {
        let with =
            |id: &'static str| HeaderMap::from_iter([(LAST_EVENT_ID.parse().unwrap(), id.parse().unwrap())]);
        assert_eq!(from_revision(63, &HeaderMap::new()).unwrap(), 63);
        assert_eq!(from_revision(63, &with("64")).unwrap(), 65, "the address is that of the first time");
        assert_eq!(from_revision(0, &with("64")).unwrap(), 65, "not from now on");
        assert_eq!(from_revision(0, &with("abc")).unwrap_err().status(), StatusCode::BAD_REQUEST);
        // Who is cut off before the first change has an id, too.
        let id = began(41).lines().find_map(|line| line.strip_prefix("id: ")?.parse::<u64>().ok());
        assert_eq!(id.map(|id| id + 1), Some(41));
    }

    #[test]
    fn whoever_is_cut_off_within_a_revision_resumes_before_it() {
        let change = |key: &str, revision| Change {
            current: Arc::new(KeyValue {
                key: Bytes::copy_from_slice(key.as_bytes()),
                value: Bytes::from("1"),
                create_revision: revision,
                mod_revision: revision,
                version: 1,
                lease: 0,
            }),
            previous: None,
        };
        let text = events(&[change("a", 7), change("b", 8), change("c", 8), change("d", 8), change("e", 9)]);
        let ids = text.split("\n\n").filter(|event| !event.is_empty()).map(|event| {
            event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap_or_default().to_owned()
        });
        assert_eq!(ids.collect::<Vec<_>>(), ["7", "", "", "8", "9"]);
    }
}
