//! `GET /v1/tail`: new records as they arrive, as server-sent events.
//!
//! Each event is one record in the form of `/v1/records`. A reader that lags more than [`crate::driver::STORED_KEPT_MAX`]
//! batches behind gets an event `missed`, and goes on with what comes then; what it missed is in `/v1/records`.
//!
//! Only what arrives at this hub is followed. Where it is no replica of what is asked about, the stream begins with
//! `event: partial`, `data: {"hub": "hub-a", "partitions": ["3", …]}`: of these only what agents bring to this hub itself comes.
//!
//! Absent: what was there before; ask `/v1/records` for that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query as Parameters, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use millrace_host::http::Problem;
use millrace_host::rows;
use millrace_journal::{Query, Reader};
use millrace_model::{DeviceId, JournalId, NodeId, Partition, SeqRange};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use super::feed::Feed;
use super::owners::asked;
use super::{Api, parameters};
use crate::cluster::Table;
use crate::driver::input::Stored;
use crate::reading::ReadingError;

/// Callers that follow at once.
const FOLLOWERS_MAX: i64 = 32;
/// Pieces that wait for a reader. When full, reading the store waits, and then batches are missed.
const PIECES_MAX: usize = 64;
/// Bytes of runs that are read at once.
const READ_BYTES_MAX: usize = 2 << 20;
/// A sign of life, so that proxies keep the connection.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How long to wait when other queries have taken all connections.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn follow(
    State(api): State<Api>,
    Parameters(pairs): Parameters<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let unfit = pairs.iter().find(|(key, _)| !matches!(key.as_str(), "device" | "lane" | "topic" | "kind"));
    if let Some((key, _)) = unfit {
        let message = format!("`{key}` makes no sense for records that are yet to come");
        return Err(Problem::bad_request(message, "known are device, lane, topic, kind"));
    }
    let query = parameters::query(&pairs, &api.0.registry, api.0.clock.wall())?;
    if api.0.meters.followers.get() >= FOLLOWERS_MAX {
        return Err(Problem::unavailable(
            "as many callers follow as may",
            "ask /v1/records instead, or wait",
        ));
    }
    let partial = partial(&api, query.devices.as_deref());
    api.0.meters.followers.inc();
    let (pieces, feed) = mpsc::channel(PIECES_MAX);
    let new = api.0.driver.follow();
    let follower = Follower { api, query, partial, pieces };
    tokio::spawn(async move {
        let (shutdown, pieces) = (follower.api.0.shutdown.clone(), follower.pieces.clone());
        let followers = follower.api.0.meters.followers.clone();
        tokio::select! {
            () = follower.run(new) => {}
            () = pieces.closed() => {}
            () = shutdown.triggered() => {}
        }
        followers.dec();
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(Feed(feed))).into_response())
}

/// The event that says of which partitions this hub keeps no replica; empty when it keeps all that are asked about.
fn partial(api: &Api, devices: Option<&[DeviceId]>) -> String {
    let cluster = api.0.registry.cluster();
    let apart = apart(&cluster.table(), cluster.me(), devices);
    if apart.is_empty() {
        return String::new();
    }
    let partitions: Vec<String> = apart.iter().map(Partition::to_string).collect();
    let told = json!({ "hub": api.0.endpoint.name, "partitions": partitions });
    format!("event: partial\ndata: {told}\n\n")
}

/// The partitions of these devices, or of all, of which `me` keeps no replica. Where nothing is decided a hub is alone.
fn apart(table: &Table, me: NodeId, devices: Option<&[DeviceId]>) -> BTreeSet<Partition> {
    let mut apart = asked(devices);
    apart.retain(|partition| {
        table.placement.value.of(*partition).is_some_and(|decided| !decided.replicas.contains(&me))
    });
    apart
}

struct Follower {
    api: Api,
    query: Query,
    partial: String,
    pieces: mpsc::Sender<Bytes>,
}

impl Follower {
    async fn run(self, mut new: broadcast::Receiver<Stored>) {
        if !self.put(format!(": following\n\n{}", self.partial)).await {
            return;
        }
        loop {
            let next = tokio::time::timeout(ALIVE_EVERY, new.recv()).await;
            let goes_on = match next {
                Err(_) => self.put(": alive\n\n".to_owned()).await,
                Ok(Ok(stored)) => self.pass_on(&stored).await,
                Ok(Err(RecvError::Lagged(batches))) => {
                    self.put(format!("event: missed\ndata: {{\"batches\":{batches}}}\n\n")).await
                }
                Ok(Err(RecvError::Closed)) => false,
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn put(&self, text: String) -> bool {
        self.pieces.send(Bytes::from(text)).await.is_ok()
    }

    /// Reads what was stored and passes on what fits the query. `false` when the reader has gone.
    async fn pass_on(&self, stored: &Stored) -> bool {
        let JournalId { device, lane, .. } = stored.journal;
        let wanted = self.query.devices.as_ref().is_none_or(|some| some.contains(&device))
            && self.query.lanes.as_ref().is_none_or(|some| some.contains(&lane));
        if !wanted {
            return true;
        }
        for range in stored.ranges.iter() {
            let mut rest = Some(range);
            while let Some(range) = rest {
                let Some((text, next)) = self.read(stored.journal, range).await else { return true };
                if !text.is_empty() && !self.put(text).await {
                    return false;
                }
                rest = next;
            }
        }
        true
    }

    /// The events of the first records of `range`, and what is left of it.
    async fn read(&self, journal: JournalId, range: SeqRange) -> Option<(String, Option<SeqRange>)> {
        loop {
            let (query, registry) = (self.query.clone(), Arc::clone(&self.api.0.registry));
            let read = self.api.0.reading.run(move |reader| {
                let name = registry.name_of(&journal.device);
                events(reader, journal, range, &query, name.as_deref())
            });
            match read.await {
                Ok(found) => return Some(found),
                Err(ReadingError::Busy) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) => {
                    tracing::warn!(%error, %journal, %range, "new records could not be shown to a follower");
                    return None;
                }
            }
        }
    }
}

fn events(
    reader: &Reader,
    journal: JournalId,
    range: SeqRange,
    query: &Query,
    name: Option<&str>,
) -> Result<(String, Option<SeqRange>), millrace_journal::ReadError> {
    let (mut text, mut last, mut read_bytes) = (String::new(), None, 0);
    reader.each(&journal, range, |seq, record| {
        let fits = (query.kinds.is_empty() || query.kinds.contains(&record.kind))
            && (query.topics.is_empty() || query.topics.iter().any(|filter| record.topic.matches(filter)));
        if fits {
            let shown = rows::row(&journal, seq, record, name);
            text.push_str(&format!("data: {shown}\n\n"));
        }
        last = Some(seq);
        read_bytes += record.weight();
        read_bytes < READ_BYTES_MAX
    })?;
    let rest = last.and_then(|last| SeqRange::new(last.saturating_add(1), range.last()));
    Ok((text, rest))
}

#[cfg(test)]
mod tests {
    use millrace_hub_engine::placement::{Site, target};
    use millrace_model::partition::PARTITIONS;

    use super::*;

    #[test]
    fn a_follower_is_told_of_which_partitions_this_hub_is_no_replica() {
        let mut table = Table::default();
        assert!(apart(&table, NodeId(1), None).is_empty(), "a hub that is alone keeps all");
        let sites: Vec<Site> =
            (1..=3).map(|n| Site { node: NodeId(n), region: format!("region-{n}") }).collect();
        table.placement.value.begin(&target(&sites, 2));
        let all = apart(&table, NodeId(1), None);
        assert!(!all.is_empty() && all.len() < PARTITIONS);
        assert_eq!(apart(&table, NodeId(9), None).len(), PARTITIONS, "a hub outside keeps none");
        let device = DeviceId::from_bytes([5; 16]);
        let own = Partition::of(&device);
        assert_eq!(apart(&table, NodeId(1), Some(&[device])).contains(&own), all.contains(&own));
    }
}
