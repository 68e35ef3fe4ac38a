//! `millrace-hub kv`: keys that the hubs decide together.

use std::io::Read as _;
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, Subcommand};
use millrace_host::Exit;
use millrace_host::terminal::{note, say, say_json, say_json_line, visible};
use serde_json::Value;

use super::Which;
use super::look::{number, text};
use crate::client::encoded;
use millrace_host::Failure;

/// Read and change keys that all hubs agree on.
///
/// Reads are linearizable and need a majority of the hubs; with --local this hub answers from what it knows, with its age. Keys
/// below millrace/ and lock/ are the program's own and can only be read. Without a majority changes exit with 75.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub kv put plant/line-2/recipe 17\n  millrace-hub kv get plant/line-2/recipe\n  millrace-hub kv get plant/ --prefix --local\n  millrace-hub kv watch plant/ --prefix --json"
)]
pub(super) struct Kv {
    #[command(subcommand)]
    command: KvCommand,
}

#[derive(Debug, Subcommand)]
enum KvCommand {
    Get(Get),
    Put(Put),
    Del(Del),
    Txn(Txn),
    Watch(Watch),
}

/// Print the value of a key, or all keys with a prefix.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub kv get plant/line-2/recipe\n  millrace-hub kv get plant/ --prefix --json\n  millrace-hub kv get plant/ --prefix --revision 41"
)]
struct Get {
    /// The key, or with --prefix what keys begin with.
    key: String,
    /// All keys that begin so.
    #[arg(long)]
    prefix: bool,
    /// What this hub knows, with its age; works without a majority.
    #[arg(long)]
    local: bool,
    /// As it was at this revision.
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
    /// At most so many keys.
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Without the values.
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    which: Which,
}

/// Set a key.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub kv put plant/line-2/recipe 17\n  millrace-hub kv put plant/layout - < layout.bin\n  millrace-hub kv put plant/here yes --lease 5"
)]
struct Put {
    /// The key.
    key: String,
    /// The value; `-` reads it from standard input.
    value: String,
    /// The lease that it ends with.
    #[arg(long, value_name = "LEASE")]
    lease: Option<u64>,
    #[command(flatten)]
    which: Which,
}

/// Delete a key, or all keys with a prefix.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub kv del plant/line-2/recipe\n  millrace-hub kv del plant/line-2/ --prefix"
)]
struct Del {
    /// The key, or with --prefix what keys begin with.
    key: String,
    /// All keys that begin so.
    #[arg(long)]
    prefix: bool,
    #[command(flatten)]
    which: Which,
}

/// Carry out a transaction: all of `then` when every compare holds, or else all of `else`.
///
/// It is read as JSON from a file or from standard input. Compares are on value, version, create, mod or lease; a key that does
/// not exist has version 0.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  echo '{\"compares\":[{\"key\":\"a\",\"target\":\"version\",\"value\":0}],\"then\":[{\"put\":{\"key\":\"a\",\"value\":\"1\"}}],\"else\":[{\"get\":{\"key\":\"a\"}}]}' | millrace-hub kv txn"
)]
struct Txn {
    /// The file; standard input when it is left out.
    file: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

/// Follow a key, or all keys with a prefix.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub kv watch plant/line-2/recipe\n  millrace-hub kv watch plant/ --prefix --revision 42 --json"
)]
struct Watch {
    /// The key, or with --prefix what keys begin with.
    key: String,
    /// All keys that begin so.
    #[arg(long)]
    prefix: bool,
    /// Begin with the changes of this revision instead of now.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    revision: u64,
    #[command(flatten)]
    which: Which,
}

impl Kv {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        match self.command {
            KvCommand::Get(get) => get.perform().await,
            KvCommand::Put(put) => put.perform().await,
            KvCommand::Del(del) => del.perform().await,
            KvCommand::Txn(txn) => txn.perform().await,
            KvCommand::Watch(watch) => watch.perform().await,
        }
    }
}

/// The path of a key. Its slashes stay, so that it reads as it is written.
fn path(key: &str) -> String {
    let parts: Vec<String> = key.split('/').map(encoded).collect();
    format!("/v1/kv/{}", parts.join("/"))
}

/// A value as it is printed.
fn value(row: &Value) -> String {
    match row.get("value").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => {
            row.get("value_base64").and_then(Value::as_str).map(|b| format!("base64:{b}")).unwrap_or_default()
        }
    }
}

impl Get {
    async fn perform(self) -> Result<Exit, Failure> {
        let mut asked = match self.prefix {
            true => format!("/v1/kv?prefix={}", encoded(&self.key)),
            false => format!("{}?", path(&self.key)),
        };
        asked.push_str(if self.local { "&level=local" } else { "&level=linearizable" });
        if let Some(revision) = self.revision {
            asked.push_str(&format!("&revision={revision}"));
        }
        if let Some(limit) = self.limit {
            asked.push_str(&format!("&limit={limit}"));
        }
        if self.keys_only {
            asked.push_str("&keys_only=true");
        }
        let answer = self.which.client()?.get(&asked.replace("?&", "?")).await?;
        let rows = answer.get("kvs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if self.local {
            note(&format!("note: as this hub knew it {} ms ago", number(&answer, "age_ms")));
        }
        if self.which.json {
            say_json(&answer)?;
        } else if self.prefix {
            let line = |row: &Value| match self.keys_only {
                true => format!("{}\n", visible(text(row, "key"))),
                false => format!("{}\t{}\n", visible(text(row, "key")), visible(&value(row))),
            };
            say(&rows.iter().map(line).collect::<String>())?;
            if answer.get("more") == Some(&Value::Bool(true)) {
                note(&format!("note: {} of {} keys are shown", rows.len(), number(&answer, "count")));
            }
        } else if let Some(row) = rows.first() {
            say(&format!("{}\n", value(row)))?;
        }
        if rows.is_empty() && !self.prefix {
            let failure = Failure::new(Exit::Usage, format!("there is no key `{}`", self.key));
            return Err(failure.hint("`millrace-hub kv get '' --prefix --keys-only` lists all"));
        }
        Ok(Exit::Ok)
    }
}

impl Put {
    async fn perform(self) -> Result<Exit, Failure> {
        let value = if self.value == "-" { input()? } else { self.value.into_bytes() };
        let lease = self.lease.map(|lease| format!("?lease={lease}")).unwrap_or_default();
        let asked = format!("{}{lease}", path(&self.key));
        let answer = self.which.client()?.put(&asked, Bytes::from(value)).await?;
        answered(&self.which, &answer, || format!("revision {}\n", number(&answer, "revision")))
    }
}

impl Del {
    async fn perform(self) -> Result<Exit, Failure> {
        let asked = match self.prefix {
            true => format!("/v1/kv?prefix={}", encoded(&self.key)),
            false => path(&self.key),
        };
        let answer = self.which.client()?.delete(&asked).await?;
        answered(&self.which, &answer, || format!("{} deleted\n", number(&answer, "deleted")))
    }
}

impl Txn {
    async fn perform(self) -> Result<Exit, Failure> {
        let text = match &self.file {
            Some(file) => std::fs::read(file)
                .map_err(|error| Failure::io(&format!("{} cannot be read", file.display()), &error))?,
            None => input()?,
        };
        let asked: Value = serde_json::from_slice(&text).map_err(|error| {
            let failure = Failure::new(Exit::Usage, format!("the transaction is no JSON: {error}"));
            failure.hint("see `millrace-hub kv txn --help`")
        })?;
        let answer = self.which.client()?.post("/v1/txn", &asked).await?;
        say_json(&answer)?;
        Ok(Exit::Ok)
    }
}

impl Watch {
    async fn perform(self) -> Result<Exit, Failure> {
        let what = if self.prefix { "prefix" } else { "key" };
        let path = format!("/v1/watch?{what}={}&revision={}", encoded(&self.key), self.revision);
        let mut events = self.which.client()?.events(&path).await?;
        while let Some((name, data)) = events.next().await? {
            let Ok(change) = serde_json::from_str::<Value>(&data) else { continue };
            match name.as_str() {
                "" if self.which.json => say_json_line(&change)?,
                "" => {
                    let (kind, revision) = (text(&change, "type"), number(&change, "mod_revision"));
                    let (key, value) = (text(&change, "key"), value(&change));
                    say(&format!("{revision}\t{kind}\t{}\t{}\n", visible(key), visible(&value)))?;
                }
                "compacted" => {
                    let oldest = number(&change, "oldest");
                    let message = format!("changes before revision {oldest} are forgotten");
                    return Err(Failure::new(Exit::Data, message)
                        .hint("read the present state and watch from behind its revision"));
                }
                _ => {}
            }
        }
        Err(Failure::new(Exit::Unavailable, "the hub has stopped").hint("start again when it is back"))
    }
}

fn input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    read.map_err(|error| Failure::io("standard input cannot be read", &error))?;
    Ok(bytes)
}

/// Prints an answer: whole as JSON, or in words.
pub(super) fn answered(
    which: &Which,
    answer: &Value,
    words: impl FnOnce() -> String,
) -> Result<Exit, Failure> {
    if which.json {
        say_json(answer)?;
    } else {
        say(&words())?;
    }
    Ok(Exit::Ok)
}
