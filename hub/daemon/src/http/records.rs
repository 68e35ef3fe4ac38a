//! `GET /v1/records`: one page of records.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query as Parameters, State};
use millrace_host::http::Problem;
use millrace_host::rows;
use millrace_journal::Damage;
use millrace_model::DeviceId;
use serde_json::{Value, json};

use super::{Answer, Api, parameters};
use crate::reading::ReadingError;

/// Damaged places that one page hands to the writer; the next page finds the rest. The writer's queue is for agents.
const MOVED_PER_PAGE: usize = 16;

pub(super) async fn page(
    State(api): State<Api>,
    Parameters(pairs): Parameters<Vec<(String, String)>>,
) -> Answer {
    let query = parameters::query(&pairs, &api.0.registry, api.0.clock.wall())?;
    let begun = api.0.clock.moment();
    let registry = std::sync::Arc::clone(&api.0.registry);
    let read = api.0.reading.run(move |reader| {
        let page = reader.query(&query)?;
        let mut names: BTreeMap<DeviceId, Option<String>> = BTreeMap::new();
        let found: Vec<_> = page
            .rows
            .iter()
            .map(|found| {
                let device = found.journal.device;
                let name = names.entry(device).or_insert_with(|| registry.name_of(&device));
                rows::row(&found.journal, found.seq, &found.record, name.as_deref())
            })
            .collect();
        let damaged: Vec<_> = page.damaged.iter().map(place).collect();
        let next = page.next.map(|cursor| cursor.to_string());
        let answer = json!({ "records": found, "next": next, "damaged": damaged, "damages": page.damages });
        Ok((answer, page.damaged))
    });
    let (answer, damaged) = read.await.map_err(|error| refusal(&api, &error))?;
    for damage in damaged.iter().take(MOVED_PER_PAGE) {
        api.0.reading.move_aside(damage.journal, damage.range, &damage.what);
    }
    let took = api.0.clock.moment().since(begun);
    api.0.meters.query_seconds.observe(took.as_secs_f64());
    Ok(Json(answer))
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
