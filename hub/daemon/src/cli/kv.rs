//! `millrace-hub kv`: keys that the hubs decide together. `watch` follows them.

mod watch;

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::{Args, Subcommand};
use millrace_host::Exit;
use millrace_host::terminal::{note, say, say_bytes, say_json, visible, visible_lines};
use serde_json::Value;

use super::Which;
use super::look::{number, text};
use crate::client::encoded;
use millrace_host::Failure;

/// Read and change keys that all hubs agree on.
///
/// Reads are linearizable and need a majority of the hubs; with --local this hub answers from what it knows, with its age. Keys
/// below millrace/ and lock/ are the program's own and can only be read. Without a majority changes exit with 75. A key that is
/// not there exits with 1.
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
    Watch(watch::Watch),
}

/// What stands before a value that is no text, in a line of several keys.
const IN_BASE64: &str = "base64:";

/// Print the value of a key, or all keys with a prefix.
///
/// Into a file or a pipe the value of one key is written as it is, byte for byte, without a newline. On a terminal, and with
/// --prefix, a value that is no text is shown as base64:…, and so is a text that begins like that. Exit code 1 when there is no
/// such key.
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
/// It is read as JSON from a file or from standard input: {"compares": […], "then": […], "else": […]}, each of which may be left
/// out. A compare has a key, a target (value, version, create, mod or lease), a relation (=, !=, < or >; = when it is left out) and
/// a value: a text for the target value, else a number. A key that does not exist has version 0. An operation is one of
/// {"put": {"key", "value" or "value_base64", "lease"}}, {"delete": {"key" or "prefix"}} and {"get": {"key" or "prefix", "limit"}}.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub kv txn change.json\n  echo '{\"compares\":[{\"key\":\"n\",\"target\":\"mod\",\"relation\":\"<\",\"value\":42}],\"then\":[{\"delete\":{\"prefix\":\"n\"}}]}' | millrace-hub kv txn\n\n  echo '{\"compares\":[{\"key\":\"a\",\"target\":\"version\",\"value\":0}],\"then\":[{\"put\":{\"key\":\"a\",\"value\":\"1\"}}],\"else\":[{\"get\":{\"key\":\"a\"}}]}' | millrace-hub kv txn"
)]
struct Txn {
    /// The file; standard input when it is left out.
    file: Option<PathBuf>,
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

/// A key that is to name one: `hint` says how to name all.
fn named<'a>(key: &'a str, hint: &str) -> Result<&'a str, Failure> {
    match key {
        "" => Err(Failure::new(Exit::Usage, "the key is empty").hint(hint)),
        key => Ok(key),
    }
}

/// A value as one line shows it: nobody takes bytes for a text, nor a text for bytes.
fn value(row: &Value) -> String {
    match row.get("value").and_then(Value::as_str) {
        Some(text) if text.starts_with(IN_BASE64) => format!("{IN_BASE64}{}", BASE64.encode(text)),
        Some(text) => text.to_owned(),
        None => row
            .get("value_base64")
            .and_then(Value::as_str)
            .map(|bytes| format!("{IN_BASE64}{bytes}"))
            .unwrap_or_default(),
    }
}

/// A value as it is.
fn bytes(row: &Value) -> Result<Cow<'_, [u8]>, Failure> {
    if let Some(text) = row.get("value").and_then(Value::as_str) {
        return Ok(text.as_bytes().into());
    }
    let decoded = BASE64.decode(text(row, "value_base64"));
    decoded
        .map(Cow::from)
        .map_err(|error| Failure::new(Exit::Data, format!("the hub's answer is not in base 64: {error}")))
}

/// Prints the value of one key: for people, or as it is for whatever reads it.
fn say_value(row: &Value, terminal: bool) -> Result<(), Failure> {
    if !terminal {
        return say_bytes(&bytes(row)?);
    }
    say(&format!("{}\n", visible_lines(&value(row))))?;
    if row.get("value").is_none() {
        note("note: the value is no text; into a file or a pipe it is written as it is");
    }
    Ok(())
}

impl Get {
    async fn perform(self) -> Result<Exit, Failure> {
        let mut asked = match self.prefix {
            true => format!("/v1/kv?prefix={}", encoded(&self.key)),
            false => {
                let hint = "name a key; `millrace-hub kv get '' --prefix --keys-only` lists all";
                format!("{}?", path(named(&self.key, hint)?))
            }
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
            match self.keys_only {
                true => say(&format!("{}\n", visible(text(row, "key"))))?,
                false => say_value(row, std::io::stdout().is_terminal())?,
            }
        }
        if rows.is_empty() && !self.prefix {
            let failure = Failure::new(Exit::Absent, format!("there is no key `{}`", self.key));
            return Err(failure.hint("`millrace-hub kv get '' --prefix --keys-only` lists all"));
        }
        Ok(Exit::Ok)
    }
}

impl Put {
    async fn perform(self) -> Result<Exit, Failure> {
        let value = if self.value == "-" { input()? } else { self.value.into_bytes() };
        let lease = self.lease.map(|lease| format!("?lease={lease}")).unwrap_or_default();
        let asked = format!("{}{lease}", path(named(&self.key, "name a key, for example plant/recipe")?));
        let answer = self.which.client()?.put(&asked, Bytes::from(value)).await?;
        answered(&self.which, &answer, || format!("revision {}\n", number(&answer, "revision")))
    }
}

impl Del {
    async fn perform(self) -> Result<Exit, Failure> {
        let key = named(
            &self.key,
            "name a key, or with --prefix what keys begin with; all at once are not deleted",
        )?;
        let asked = match self.prefix {
            true => format!("/v1/kv?prefix={}", encoded(key)),
            false => path(key),
        };
        let answer = self.which.client()?.delete(&asked).await?;
        answered(&self.which, &answer, || format!("{} deleted\n", number(&answer, "deleted")))
    }
}

impl Txn {
    async fn perform(self) -> Result<Exit, Failure> {
        let text = match &self.file {
            Some(file) => std::fs::read(file).map_err(|error| unreadable(file, &error))?,
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

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::io(&format!("{} cannot be read", file.display()), error);
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
            Failure { exit: Exit::Usage, ..failure }.hint("name the file that holds the transaction")
        }
        _ => failure,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_come_back_as_they_are_and_are_never_taken_for_a_text() {
        let binary = json!({ "key": "a", "value_base64": "/wAK" });
        assert_eq!((&*bytes(&binary).unwrap(), value(&binary).as_str()), (&[255, 0, 10][..], "base64:/wAK"));
        let text = json!({ "key": "a", "value": "base64:/wAK" });
        assert_eq!(&*bytes(&text).unwrap(), b"base64:/wAK");
        assert_eq!(value(&text), "base64:YmFzZTY0Oi93QUs=", "its bytes, too");
        assert_eq!(value(&json!({ "key": "a", "value": "17" })), "17");
    }

    #[test]
    fn a_missing_file_is_a_wrong_argument() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nosuch.json");
        let failure = unreadable(&file, &std::fs::read(&file).unwrap_err());
        assert_eq!(failure.exit, Exit::Usage, "{failure}");
        assert_eq!(named("", "x").unwrap_err().exit, Exit::Usage);
    }
}
