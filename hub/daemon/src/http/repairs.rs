//! `GET /v1/repairs`: what is being mended, and what was, at every hub.
//!
//! ```text
//!  caller ──▶ this hub ──"which repairs?"──▶ every other hub that it reaches
//!                      ──what they told before──▶ `repairs.json`
//! ```
//!
//! Promise: each hub speaks for itself; those that did not answer are named, and what they told before is shown. A report that another
//! hub has kept here is kept under the identity of the connection that it came on.
//! Absent: telling others ([`crate::repairs::telling`]), having comparisons begin ([`super::repair`]).

mod filter;

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Query as Parameters, State};
use bytes::Bytes;
use millrace_host::http::Problem;
use millrace_host::times::rfc3339;
use millrace_hub_engine::Mend;
use millrace_model::{HubId, JournalId, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Api, others, stopping};
use crate::peers::Caller;
use crate::repairs::telling::{Reached, Telling};
use crate::repairs::{Compared, Copies, KEPT_MAX, Numbered};
use filter::Filter;
pub(crate) use filter::LIMIT_MAX;

/// What another hub is asked.
const QUESTION: &[u8] = br#"{"which_repairs":true}"#;

/// Reports that this hub answers to another one. What it told before, the other one has copies of.
const TOLD_MAX: usize = 200;

/// What one hub says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Repairs {
    running: Vec<Running>,
    comparing: Vec<Compared>,
    /// Comparisons that somebody asked for and that are not over.
    demanded: usize,
    reports: Vec<Numbered>,
}

/// A journal that is being mended.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    at: String,
    journal: JournalId,
    lost: u64,
    fetched: u64,
    left: u64,
    bytes: u64,
    took_ms: u64,
    /// When it will be over at the present rate; nothing before anything has come.
    eta_ms: Option<u64>,
    /// Who is asked now.
    asked: Option<String>,
}

impl Running {
    fn of(mend: &Mend) -> Self {
        let took_ms = u64::try_from(mend.took.as_millis()).unwrap_or(u64::MAX);
        let eta_ms = (mend.fetched > 0).then(|| took_ms.saturating_mul(mend.left) / mend.fetched);
        Self {
            at: rfc3339(mend.at),
            journal: mend.journal,
            lost: mend.lost,
            fetched: mend.fetched,
            left: mend.left,
            bytes: mend.bytes,
            took_ms,
            eta_ms,
            asked: mend.asked.map(|source| source.to_string()),
        }
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    Parameters(pairs): Parameters<Vec<(String, String)>>,
) -> Answer {
    let filter = Filter::read(&pairs)?;
    let me = &api.0.endpoint.name;
    let only = filter.hub.as_deref();
    let mut said = BTreeMap::new();
    let mine = here(&api, KEPT_MAX).await.ok_or_else(stopping)?;
    let demanded = mine.demanded;
    if only.is_none_or(|only| only == me) {
        said.insert(me.clone(), mine);
    }
    // Nobody else speaks for this hub.
    let alone = only.is_some_and(|only| only == me);
    let (theirs, unheard) =
        if alone { Default::default() } else { others::ask::<Repairs>(&api, QUESTION, only).await };
    said.extend(theirs);
    let copies = copies(&api);
    if let Some(name) = only
        && !said.contains_key(name)
        && unheard.is_empty()
        && !copies.iter().any(|(hub, _)| hub == name)
    {
        return Err(Problem::not_found(
            format!("no hub is called {name}"),
            "`millrace-hub members` lists them",
        ));
    }
    let of_hub = |hub: &str, one: Value| named(&api, of_hub(hub, one));
    let (mut running, mut comparing) = (Vec::new(), Vec::new());
    for (hub, repairs) in &said {
        running.extend(repairs.running.iter().map(|one| of_hub(hub, json!(one))));
        comparing.extend(repairs.comparing.iter().map(|one| of_hub(hub, json!(one))));
    }
    let told = said.iter().flat_map(|(hub, repairs)| repairs.reports.iter().map(|one| (hub.as_str(), one)));
    let copied = copies.iter().flat_map(|(hub, of)| of.reports.iter().map(|one| (hub.as_str(), one)));
    let (reports, cut) = newest(told.chain(copied), &filter);
    let reports: Vec<Value> = reports.into_iter().map(|(hub, one)| of_hub(hub, json!(one))).collect();
    Ok(Json(json!({
        "hub": me, "unheard": unheard, "running": running, "comparing": comparing, "demanded": demanded,
        "reports": reports, "cut": cut,
    })))
}

/// The newest of the reports that are asked for, the newest first, and whether there are more of them. Each with the name of its hub.
fn newest<'a>(
    all: impl Iterator<Item = (&'a str, &'a Numbered)>,
    filter: &Filter,
) -> (Vec<(&'a str, &'a Numbered)>, bool) {
    let mut known = BTreeSet::new();
    let mut found: Vec<(&str, &Numbered)> = all
        .filter(|(hub, one)| filter.takes(hub, one))
        // A hub that answers also told before. One that numbers nothing never did.
        .filter(|(hub, one)| one.number == 0 || known.insert((*hub, one.number)))
        .collect();
    found.sort_by(|(_, a), (_, b)| (b.report.at(), b.number).cmp(&(a.report.at(), a.number)));
    let cut = found.len() > filter.limit;
    found.truncate(filter.limit);
    (found, cut)
}

/// What other hubs have told before, by their names as they are now.
fn copies(api: &Api) -> Vec<(String, Copies)> {
    let table = api.0.registry.cluster().table();
    let name = |hub: HubId, copies: &Copies| {
        let record = table.node_of(&hub).and_then(|node| table.hub(node));
        record.map_or_else(|| copies.name.clone(), |record| record.name.clone())
    };
    api.0.repairs.copies().into_iter().map(|(hub, copies)| (name(hub, &copies), copies)).collect()
}

/// What this hub says, with so many of its newest reports.
async fn here(api: &Api, limit: usize) -> Option<Repairs> {
    let snapshot = api.0.driver.snapshot().await?;
    let running = snapshot.mending.iter().map(Running::of).collect();
    let comparing = snapshot.rounds.iter().map(Compared::from).collect();
    // After the comparisons that are not over: one that ends between the two is among the reports.
    let (demanded, reports) = (snapshot.demanded, api.0.repairs.latest(limit));
    Some(Repairs { running, comparing, demanded, reports })
}

/// Hubs and devices by the names that people gave them.
pub(super) fn named(api: &Api, mut shown: Value) -> Value {
    let cluster = api.0.registry.cluster();
    let table = cluster.table();
    let hub = |text: &str| {
        let node = NodeId(text.strip_prefix("hub n")?.parse().ok()?);
        table.hub(node).map(|record| json!(record.name))
    };
    let device = |text: &str| api.0.registry.name_of(&text.parse().ok()?);
    let Some(fields) = shown.as_object_mut() else { return shown };
    for key in ["partner", "asked", "sources"] {
        let texts: Vec<&mut Value> = match fields.get_mut(key) {
            Some(Value::Array(several)) => several.iter_mut().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        for text in texts {
            if let Some(name) = text.as_str().and_then(hub) {
                *text = name;
            }
        }
    }
    let of = fields.get("device").and_then(Value::as_str);
    let of = of.or_else(|| fields.get("partner")?.as_str()?.strip_prefix("device "));
    if let Some(name) = of.and_then(device) {
        fields.insert("name".to_owned(), json!(name));
    }
    shown
}

fn of_hub(hub: &str, mut shown: Value) -> Value {
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("hub".to_owned(), json!(hub));
        let device = fields.get("journal").and_then(|journal| journal.get("device")).cloned();
        fields.extend(device.map(|device| ("device".to_owned(), device)));
    }
    shown
}

/// Whether another hub asks for the repairs of this one.
pub(super) fn is_asked(body: &[u8]) -> bool {
    body == QUESTION
}

/// What another hub is answered.
pub(super) async fn for_peer(api: &Api) -> Result<Bytes, String> {
    let repairs = here(api, TOLD_MAX).await.ok_or("the hub is stopping")?;
    serde_json::to_vec(&repairs).map(Bytes::from).map_err(|error| error.to_string())
}

/// Whether, and what, another hub tells of its repairs.
pub(super) fn told(body: &[u8]) -> Option<Telling> {
    serde_json::from_slice(body).ok()
}

/// Keeps it, and says up to which number. What a crash takes before it is written is told again on the next connection.
pub(super) fn keep(api: &Api, from: &Caller, told: Telling) -> Result<Bytes, String> {
    let table = api.0.registry.cluster().table();
    let record = from.node.and_then(|node| table.hub(node)).ok_or("only hubs of the table may tell")?;
    let (newest, changed) = api.0.repairs.take_copies(from.hub, &record.name, told.repair_reports)?;
    if changed {
        drop(api.0.repairs.save_soon());
    }
    serde_json::to_vec(&Reached { newest }).map(Bytes::from).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repairs::tests::{compared, mended};

    fn filter(pairs: &[(&str, &str)]) -> Filter {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Filter::read(&pairs.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_a_hub_says_and_told_before_is_shown_once_and_the_limit_counts_what_is_asked_for() {
        let all = [
            ("hub-2", vec![mended(5), mended(6)]),
            ("hub-3", vec![mended(0), mended(0)]),
            ("hub-2", vec![mended(4), mended(5), compared(7, "demand")]),
        ];
        let found = |pairs: &[(&str, &str)]| {
            let all = all.iter().flat_map(|(hub, reports)| reports.iter().map(move |one| (*hub, one)));
            let (found, cut) = newest(all, &filter(pairs));
            (found.into_iter().map(|(hub, one)| (hub, one.number)).collect::<Vec<_>>(), cut)
        };
        let second = |number: u64| ("hub-2", number);
        let everything = vec![second(7), second(6), second(5), second(4), ("hub-3", 0), ("hub-3", 0)];
        assert_eq!(found(&[]), (everything, false));
        assert_eq!(found(&[("limit", "2")]), (vec![second(7), second(6)], true));
        assert_eq!(found(&[("limit", "1"), ("kind", "mended"), ("after", "5")]), (vec![second(6)], false));
        assert_eq!(found(&[("hub", "hub-3"), ("limit", "2")]).0.len(), 2);
    }

    #[test]
    fn what_other_hubs_tell_is_told_apart_from_what_they_ask() {
        let telling = serde_json::to_vec(&Telling { repair_reports: vec![mended(4)] }).unwrap();
        assert_eq!(told(&telling).unwrap().repair_reports, [mended(4)]);
        for other in [QUESTION, br#"{"whose_sessions":true}"#, br#"{"pairs":[],"partitions":""}"#, b"{"] {
            assert!(told(other).is_none());
        }
        assert!(is_asked(QUESTION) && !is_asked(&telling));
    }
}
