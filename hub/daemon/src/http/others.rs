//! Asking every other hub the same question.
//!
//! Promise: one answer or one name of a hub that did not answer in time, for each hub that keeps readings.
//! Absent: what is asked, and what the answers mean.

use std::time::Duration;

use bytes::Bytes;
use millrace_model::NodeId;
use millrace_wire::CallKind;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::Api;

/// How long another hub may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The answers by the names of the hubs, and the names of those that did not answer, in order; of all other hubs, or of the one called
/// `only`. A witness is not asked: it takes no agents and keeps no readings.
pub(super) async fn ask<T: DeserializeOwned + Send + 'static>(
    api: &Api,
    question: &'static [u8],
    only: Option<&str>,
) -> (Vec<(String, T)>, Vec<String>) {
    let cluster = api.0.registry.cluster();
    let table = cluster.table();
    let others = table.others(cluster.me());
    let mut asked: JoinSet<(String, Result<T, String>)> = JoinSet::new();
    let meant = |name: &str| only.is_none_or(|only| only == name);
    for (node, record) in others.into_iter().filter(|(_, record)| !record.witness && meant(&record.name)) {
        let (api, name) = (api.clone(), record.name.clone());
        asked.spawn(async move { (name, one(&api, node, question).await) });
    }
    let (mut answers, mut unheard) = (Vec::new(), Vec::new());
    while let Some(answered) = asked.join_next().await {
        match answered {
            Ok((name, Ok(answer))) => answers.push((name, answer)),
            Ok((name, Err(why))) => {
                tracing::debug!(hub = name, why, "a hub does not answer a question of the API");
                unheard.push(name);
            }
            Err(error) => tracing::error!(%error, "asking another hub failed"),
        }
    }
    answers.sort_by(|(a, _), (b, _)| a.cmp(b));
    unheard.sort();
    (answers, unheard)
}

async fn one<T: DeserializeOwned>(api: &Api, node: NodeId, question: &'static [u8]) -> Result<T, String> {
    let answer = api.0.peers.call(node, CallKind::Api, Bytes::from_static(question), PATIENCE).await;
    let answer = answer.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|error| error.to_string())
}
