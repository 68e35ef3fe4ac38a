//! `GET /v1/records`: one page of records, wherever in the cluster they are kept.
//!
//! ```text
//!  caller ──▶ this hub ──what it keeps──▶ its store ─────────────┐
//!                      ──the rest, by Api calls──▶ other hubs ──▶ gathering ──▶ one page
//! ```
//!
//! Promise: an answer that may lack something says so (`complete`), and what. A hub that is asked by another answers from its own
//! store alone. Absent: who keeps what ([`super::owners`]), how pages are put together ([`super::gathering`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Json;
use axum::extract::{Query as Parameters, State};
use bytes::Bytes;
use millrace_host::http::Problem;
use millrace_host::rows;
use millrace_journal::{Damage, Query};
use millrace_model::{DeviceId, NodeId, Partition};
use millrace_wire::CallKind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::gathering::Sheet;
use super::owners::{Keeper, Owners, asked, from_text, to_text};
use super::{Answer, Api, attest, devices, parameters, repairs, stopping};
use crate::peers::Caller;
use crate::reading::ReadingError;

/// Damaged places that one page hands to the writer; the next page finds the rest. The writer's queue is for agents.
const MOVED_PER_PAGE: usize = 16;

/// How long another hub may take for its part. Then the answer comes without it, and says so.
const OWNER_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an answer to another hub: it must fit into one call. A page that is larger ends earlier, with a cursor.
const ANSWER_BYTES_MAX: usize = 3 << 20;

/// Where an answer to another hub says of which partitions it lacks something.
const HURT: &str = "hurt";

/// Another hub's page, and the partitions of which it lacks something itself.
type Part = (Sheet, BTreeSet<Partition>);

/// What another hub is asked.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    /// The caller's parameters.
    pairs: Vec<(String, String)>,
    /// Which partitions are meant.
    partitions: String,
}

pub(super) async fn page(
    State(api): State<Api>,
    Parameters(pairs): Parameters<Vec<(String, String)>>,
) -> Answer {
    let (here_only, pairs) = parameters::here_only(pairs)?;
    let query = parameters::query(&pairs, &api.0.registry, api.0.clock.wall())?;
    let begun = api.0.clock.moment();
    let cluster = api.0.registry.cluster();
    let whole = api.store().is_some_and(|store| store.full);
    let hurt = api.0.driver.hurt().await.ok_or_else(stopping)?;
    let asked = asked(query.devices.as_deref());
    let keeper = Keeper { me: cluster.me(), whole, hurt: &hurt };
    let mut owners = Owners::of(&asked, &cluster.table(), keeper, &api.reachable());
    if here_only {
        // What others keep is left out on purpose.
        let missing = asked.intersection(&hurt).copied().collect();
        owners = Owners { here: asked, missing, ..Owners::default() };
    }
    let sheet = if owners.elsewhere.is_empty() {
        local(&api, query, None).await?
    } else {
        gathered(&api, query, pairs, &mut owners).await?
    };
    // What was moved aside meanwhile may be what this page lacks.
    let hurt = api.0.driver.hurt().await.ok_or_else(stopping)?;
    owners.missing.extend(owners.here.intersection(&hurt).copied().collect::<Vec<_>>());
    let took = api.0.clock.moment().since(begun);
    api.0.meters.query_seconds.observe(took.as_secs_f64());
    let mut answer = sheet.shown();
    if let Value::Object(answer) = &mut answer {
        let missing: Vec<String> = owners.missing.iter().map(Partition::to_string).collect();
        answer.insert("complete".to_owned(), json!(missing.is_empty()));
        if !missing.is_empty() {
            answer.insert("incomplete_partitions".to_owned(), json!(missing));
        }
    }
    Ok(Json(answer))
}

/// What another hub asks this one for.
pub(crate) async fn for_peer(api: &Api, from: &Caller, body: &[u8]) -> Result<Bytes, String> {
    if devices::is_asked(body) {
        return devices::for_peer(api).await;
    }
    if repairs::is_asked(body) {
        return repairs::for_peer(api).await;
    }
    if let Some(told) = repairs::told(body) {
        return repairs::keep(api, from, told);
    }
    if let Some(asked) = attest::asked(body) {
        return attest::for_peer(api, from, asked).await;
    }
    let question: Question = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let partitions = from_text(&question.partitions).ok_or("the partitions cannot be read")?;
    if !api.store().is_some_and(|store| store.full) {
        return Err("the store of this hub is not full".to_owned());
    }
    let query = parameters::query(&question.pairs, &api.0.registry, api.0.clock.wall());
    let query = query.map_err(|problem| problem.to_string())?;
    let order = query.order;
    let ended = || "the hub is stopping".to_owned();
    let mut hurt = api.0.driver.hurt().await.ok_or_else(ended)?;
    let sheet = local(api, query, Some(&partitions)).await.map_err(|problem| problem.to_string())?;
    hurt.extend(api.0.driver.hurt().await.ok_or_else(ended)?);
    let mut answer = sheet.within(ANSWER_BYTES_MAX, order)?.shown();
    let hurt: BTreeSet<Partition> = partitions.intersection(&hurt).copied().collect();
    if let (Value::Object(answer), false) = (&mut answer, hurt.is_empty()) {
        answer.insert(HURT.to_owned(), json!(to_text(&hurt)));
    }
    serde_json::to_vec(&answer).map(Bytes::from).map_err(|error| error.to_string())
}

/// Asks everybody at once, and puts the pages together.
async fn gathered(
    api: &Api,
    query: Query,
    pairs: Vec<(String, String)>,
    owners: &mut Owners,
) -> Result<Sheet, Problem> {
    let (order, limit) = (query.order, query.limit.max(1));
    let mut asked: JoinSet<(NodeId, Result<Part, String>)> = JoinSet::new();
    for (node, partitions) in &owners.elsewhere {
        let question = Question { pairs: pairs.clone(), partitions: to_text(partitions) };
        let (api, node) = (api.clone(), *node);
        asked.spawn(async move { (node, ask(&api, node, &question).await) });
    }
    let mut sheets = Vec::new();
    while let Some(answered) = asked.join_next().await {
        match answered {
            Ok((_, Ok((sheet, hurt)))) => {
                sheets.push(sheet);
                owners.missing.extend(hurt);
            }
            Ok((node, Err(why))) => {
                tracing::warn!(%node, why, "a hub did not answer its part of a query");
                owners.failed(node);
            }
            Err(error) => return Err(Problem::internal(&error)),
        }
    }
    // What nobody else answered for is shown as far as it is here.
    let here: BTreeSet<Partition> = owners.here.union(&owners.missing).copied().collect();
    sheets.push(local(api, query, Some(&here)).await?);
    Sheet::merged(sheets, order, limit).map_err(|error| Problem::internal(&error))
}

async fn ask(api: &Api, node: NodeId, question: &Question) -> Result<Part, String> {
    let body = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    let answer = api.0.peers.call(node, CallKind::Api, body.into(), OWNER_PATIENCE).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
    let hurt = answer.get(HURT).and_then(Value::as_str).and_then(from_text).unwrap_or_default();
    Ok((Sheet::read(&answer)?, hurt))
}

/// A page from this hub's own store: of everything, or of some partitions.
async fn local(
    api: &Api,
    mut query: Query,
    partitions: Option<&BTreeSet<Partition>>,
) -> Result<Sheet, Problem> {
    if let Some(partitions) = partitions {
        let wanted = |device: &DeviceId| partitions.contains(&Partition::of(device));
        let devices = match query.devices.take() {
            Some(devices) => devices,
            None => {
                let snapshot = api.0.driver.snapshot().await.ok_or_else(stopping)?;
                snapshot.devices.into_iter().map(|summary| summary.device).collect()
            }
        };
        query.devices = Some(devices.into_iter().filter(wanted).collect());
    }
    let registry = std::sync::Arc::clone(&api.0.registry);
    let read = api.0.reading.run(move |reader| {
        let page = reader.query(&query)?;
        let mut names: BTreeMap<DeviceId, Option<String>> = BTreeMap::new();
        let found = page.rows.iter().map(|found| {
            let device = found.journal.device;
            let name = names.entry(device).or_insert_with(|| registry.name_of(&device));
            rows::row(&found.journal, found.seq, &found.record, name.as_deref())
        });
        let sheet = Sheet {
            records: found.collect(),
            next: page.next,
            damaged: page.damaged.iter().map(place).collect(),
            damages: page.damages,
        };
        Ok((sheet, page.damaged))
    });
    let (sheet, damaged) = read.await.map_err(|error| refusal(api, &error))?;
    for damage in damaged.iter().take(MOVED_PER_PAGE) {
        api.0.reading.move_aside(damage.journal, damage.range, &damage.what);
    }
    Ok(sheet)
}

fn place(damage: &Damage) -> Value {
    json!({
        "journal": damage.journal.to_string(),
        "device": damage.journal.device.to_string(),
        "lane": damage.journal.lane,
        "first": damage.range.first(),
        "last": damage.range.last(),
        "what": damage.what,
    })
}

/// What a caller is told when nothing could be read.
pub(super) fn refusal(api: &Api, error: &ReadingError) -> Problem {
    match error {
        ReadingError::Busy => {
            api.0.meters.queries_refused.inc();
            Problem::unavailable(error.to_string(), "try again in a second, or raise http.readers")
        }
        ReadingError::Store(millrace_journal::ReadError::Damaged { .. }) => Problem::unavailable(
            "stored records that the query touches are damaged, and are being moved aside",
            "try again in a second; the log says which records",
        ),
        error => Problem::internal(error),
    }
}
