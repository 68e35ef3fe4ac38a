//! `/v1/kv`, `/v1/txn`: keys that the hubs decide together.
//!
//! Keys are text. A value that is no UTF-8 is shown as `value_base64`. Every read names its level: `linearizable`, the default,
//! sees everything that was acknowledged before it was asked, and needs a majority; `local` is what this hub has applied, with
//! the age of its knowledge. What the program keeps for itself (`millrace/`, `lock/`) can be read here and not written.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use millrace_host::http::Problem;
use millrace_hub_control::Level;
use millrace_hub_control::kv::limits::VALUE_BYTES_MAX;
use millrace_hub_control::kv::{
    Command, Compare, KeyRange, KeyValue, Op, OpAnswer, Outcome, RangeAnswer, RangeQuery, Relation, Target,
    Txn,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::undecided;
use super::{Answer, Api};
use crate::cluster::keys::{LOCKS, OURS};

/// How a read is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Reading {
    prefix: Option<String>,
    limit: Option<usize>,
    keys_only: bool,
    level: Option<String>,
    revision: Option<u64>,
}

/// How a write is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Writing {
    lease: Option<u64>,
    prefix: Option<String>,
}

/// The level that a read asks for.
pub(super) fn level(text: Option<&str>) -> Result<Level, Problem> {
    match text {
        None | Some("linearizable") => Ok(Level::Linearizable),
        Some("local") => Ok(Level::Local),
        Some(other) => {
            let hint = "write level=linearizable, which needs a majority of the hubs, or level=local";
            Err(Problem::bad_request(format!("`{other}` is no level"), hint))
        }
    }
}

pub(super) fn shown(found: &KeyValue, keys_only: bool) -> Value {
    let mut row = json!({
        "key": String::from_utf8_lossy(&found.key),
        "create_revision": found.create_revision,
        "mod_revision": found.mod_revision,
        "version": found.version,
        "lease": found.lease,
    });
    if let (Some(row), false) = (row.as_object_mut(), keys_only) {
        match std::str::from_utf8(&found.value) {
            Ok(text) => row.insert("value".to_owned(), text.into()),
            Err(_) => row.insert("value_base64".to_owned(), BASE64.encode(&found.value).into()),
        };
    }
    row
}

fn page(found: &RangeAnswer, keys_only: bool) -> Value {
    let rows: Vec<Value> = found.entries.iter().map(|entry| shown(entry, keys_only)).collect();
    json!({ "kvs": rows, "count": found.count, "more": found.more })
}

pub(super) async fn one(
    State(api): State<Api>,
    Path(key): Path<String>,
    Query(asked): Query<Reading>,
) -> Answer {
    if asked.prefix.is_some() {
        return Err(Problem::bad_request("a key and a prefix are asked for", "leave one of them out"));
    }
    read(&api, KeyRange::one(key), &asked).await
}

pub(super) async fn many(State(api): State<Api>, Query(asked): Query<Reading>) -> Answer {
    let range = match asked.prefix.as_deref() {
        None | Some("") => KeyRange::all(),
        Some(prefix) => KeyRange::prefix(prefix.to_owned()),
    };
    read(&api, range, &asked).await
}

async fn read(api: &Api, range: KeyRange, asked: &Reading) -> Answer {
    let level = level(asked.level.as_deref())?;
    let query = RangeQuery { range, limit: asked.limit.unwrap_or(0), keys_only: asked.keys_only };
    let read = api.control().range(&query, asked.revision, level).await.map_err(|error| undecided(&error))?;
    let mut answer = page(&read.value, asked.keys_only);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("revision".to_owned(), read.revision.into());
        let name = if level == Level::Local { "local" } else { "linearizable" };
        answer.insert("level".to_owned(), name.into());
        let age = read.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        answer.insert("age_ms".to_owned(), age.into());
    }
    Ok(Json(answer))
}

/// Whether somebody else than the program may write there.
fn theirs(range: &KeyRange) -> Result<(), Problem> {
    for (prefix, hint) in [
        (OURS, "change it with `millrace-hub token`, `devices`, `members` and `settings`"),
        (LOCKS, "take and give up locks with `millrace-hub lock`, or over /v1/locks"),
    ] {
        if range.overlaps(&KeyRange::prefix(prefix)) {
            let message = format!("keys below `{prefix}` are the program's own");
            return Err(Problem::new(StatusCode::FORBIDDEN, "reserved", message, hint));
        }
    }
    Ok(())
}

pub(super) async fn put(
    State(api): State<Api>,
    Path(key): Path<String>,
    Query(asked): Query<Writing>,
    value: Result<Bytes, BytesRejection>,
) -> Answer {
    let value = value.map_err(|error| unread(&error))?;
    theirs(&KeyRange::one(key.clone()))?;
    let put = Op::Put { key: key.into(), value, lease: asked.lease.unwrap_or(0), previous: false };
    let (_, revision, _) = decide(&api, Txn { then: vec![put], ..Txn::default() }).await?;
    Ok(Json(json!({ "revision": revision })))
}

/// A value that could not be read whole.
fn unread(error: &BytesRejection) -> Problem {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("a value has at most {VALUE_BYTES_MAX} bytes");
            let hint = "split it over several keys, or keep it elsewhere and its address here";
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, hint)
        }
        _ => Problem::bad_request(error.body_text(), "send it again"),
    }
}

pub(super) async fn delete_one(State(api): State<Api>, Path(key): Path<String>) -> Answer {
    delete(&api, KeyRange::one(key)).await
}

pub(super) async fn delete_many(State(api): State<Api>, Query(asked): Query<Writing>) -> Answer {
    match asked.prefix.filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => delete(&api, KeyRange::prefix(prefix)).await,
        None => Err(Problem::bad_request("no key and no prefix is named", "write /v1/kv/KEY or ?prefix=")),
    }
}

async fn delete(api: &Api, range: KeyRange) -> Answer {
    theirs(&range)?;
    let (_, revision, answers) = decide(api, Txn { then: vec![Op::delete(range)], ..Txn::default() }).await?;
    let count = answers.iter().map(|answer| match answer {
        OpAnswer::Deleted { count, .. } => *count,
        _ => 0,
    });
    Ok(Json(json!({ "deleted": count.sum::<u64>(), "revision": revision })))
}

async fn decide(api: &Api, txn: Txn) -> Result<(bool, u64, Vec<OpAnswer>), Problem> {
    match api.control().propose(&Command::Txn(txn)).await {
        Ok(Outcome::Txn { held, revision, answers }) => Ok((held, revision, answers)),
        Ok(other) => Err(Problem::internal(&format!("{other:?} is no answer to a transaction"))),
        Err(error) => Err(undecided(&error)),
    }
}

/// A transaction.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TxnRequest {
    #[serde(default)]
    compares: Vec<CompareRequest>,
    #[serde(default)]
    then: Vec<OpRequest>,
    #[serde(default, rename = "else")]
    otherwise: Vec<OpRequest>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CompareRequest {
    key: String,
    target: String,
    #[serde(default = "equal")]
    relation: String,
    value: Value,
}

fn equal() -> String {
    "=".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum OpRequest {
    Put(PutRequest),
    Delete(RangeRequest),
    Get(RangeRequest),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutRequest {
    key: String,
    value: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    lease: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeRequest {
    key: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    limit: usize,
}

impl RangeRequest {
    fn range(&self) -> Result<KeyRange, Problem> {
        match (&self.key, &self.prefix) {
            (Some(key), None) => Ok(KeyRange::one(key.clone())),
            (None, Some(prefix)) => Ok(KeyRange::prefix(prefix.clone())),
            _ => Err(Problem::bad_request("an operation names a key or a prefix", "name one of the two")),
        }
    }
}

impl OpRequest {
    fn op(self) -> Result<Op, Problem> {
        match self {
            Self::Put(PutRequest { key, value, value_base64, lease }) => {
                theirs(&KeyRange::one(key.clone()))?;
                let value = match (value, value_base64) {
                    (Some(text), None) => text.into_bytes(),
                    (None, Some(text)) => BASE64.decode(text).map_err(|error| {
                        Problem::bad_request(
                            format!("`value_base64` is none: {error}"),
                            "encode it (RFC 4648)",
                        )
                    })?,
                    _ => {
                        let hint = "give `value`, or `value_base64` for bytes that are no text";
                        return Err(Problem::bad_request(format!("no value for `{key}`"), hint));
                    }
                };
                Ok(Op::Put { key: key.into(), value: value.into(), lease, previous: false })
            }
            Self::Delete(range) => {
                let range = range.range()?;
                theirs(&range)?;
                Ok(Op::delete(range))
            }
            Self::Get(range) => {
                let query = RangeQuery { range: range.range()?, limit: range.limit, keys_only: false };
                Ok(Op::Range(query))
            }
        }
    }
}

impl CompareRequest {
    fn compare(self) -> Result<Compare, Problem> {
        let relation = match self.relation.as_str() {
            "=" => Relation::Equal,
            "!=" => Relation::NotEqual,
            "<" => Relation::Less,
            ">" => Relation::Greater,
            other => {
                return Err(Problem::bad_request(format!("`{other}` is no relation"), "write =, !=, < or >"));
            }
        };
        let number = || {
            let hint = "write a number: {\"target\": \"version\", \"relation\": \"=\", \"value\": 0}";
            let message = format!("`{}` of `{}` is compared with {}", self.target, self.key, self.value);
            self.value.as_u64().ok_or_else(|| Problem::bad_request(message, hint))
        };
        let target = match self.target.as_str() {
            "value" => match self.value.as_str() {
                Some(text) => Target::Value(text.to_owned().into()),
                None => {
                    return Err(Problem::bad_request("a value is compared with a text", "write a string"));
                }
            },
            "version" => Target::Version(number()?),
            "create" => Target::Create(number()?),
            "mod" => Target::Mod(number()?),
            "lease" => Target::Lease(number()?),
            other => {
                let hint = "compare value, version, create, mod or lease";
                return Err(Problem::bad_request(format!("`{other}` cannot be compared"), hint));
            }
        };
        Ok(Compare { key: self.key.into(), relation, target })
    }
}

pub(super) async fn txn(State(api): State<Api>, Json(asked): Json<TxnRequest>) -> Answer {
    let ops = |ops: Vec<OpRequest>| ops.into_iter().map(OpRequest::op).collect::<Result<Vec<_>, _>>();
    let compares = asked.compares.into_iter().map(CompareRequest::compare).collect::<Result<_, _>>()?;
    let txn = Txn { compares, then: ops(asked.then)?, otherwise: ops(asked.otherwise)? };
    let (held, revision, answers) = decide(&api, txn).await?;
    let answers: Vec<Value> = answers
        .iter()
        .map(|answer| match answer {
            OpAnswer::Put { .. } => json!({ "put": true }),
            OpAnswer::Deleted { count, .. } => json!({ "deleted": count }),
            OpAnswer::Range(found) => page(found, false),
        })
        .collect();
    Ok(Json(json!({ "held": held, "revision": revision, "answers": answers })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Txn, Problem> {
        let asked: TxnRequest = serde_json::from_str(text).unwrap();
        let ops = |ops: Vec<OpRequest>| ops.into_iter().map(OpRequest::op).collect::<Result<Vec<_>, _>>();
        let compares = asked.compares.into_iter().map(CompareRequest::compare).collect::<Result<_, _>>()?;
        Ok(Txn { compares, then: ops(asked.then)?, otherwise: ops(asked.otherwise)? })
    }

    #[test]
    fn a_transaction_is_read_whole() {
        let txn = asked(
            r#"{"compares": [{"key": "a", "target": "version", "relation": ">", "value": 3}],
                "then": [{"put": {"key": "a", "value": "1", "lease": 7}}, {"delete": {"prefix": "b/"}}],
                "else": [{"get": {"key": "a"}}]}"#,
        )
        .unwrap();
        assert_eq!(txn.compares[0].target, Target::Version(3));
        assert_eq!((txn.then.len(), txn.otherwise.len()), (2, 1));
    }

    #[test]
    fn what_the_program_keeps_for_itself_is_not_written() {
        for text in [
            r#"{"then": [{"put": {"key": "millrace/devices/x", "value": ""}}]}"#,
            r#"{"then": [{"put": {"key": "lock/1/a/x", "value": ""}}]}"#,
            r#"{"else": [{"delete": {"prefix": "m"}}]}"#,
        ] {
            assert_eq!(asked(text).unwrap_err().status(), StatusCode::FORBIDDEN, "{text}");
        }
        assert!(asked(r#"{"then": [{"get": {"prefix": "millrace/"}}]}"#).is_ok(), "reading is for all");
    }

    #[test]
    fn a_value_that_is_no_text_is_shown_in_base_64() {
        let value = KeyValue { key: "a".into(), value: Bytes::from_static(&[255, 0]), ..KeyValue::default() };
        assert_eq!(shown(&value, false)["value_base64"], "/wA=");
        assert_eq!(shown(&value, true).get("value"), None);
    }
}
