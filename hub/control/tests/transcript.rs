//! The core as a conversation: commands in, outcomes out, in `tests/transcripts/*.txt`.
//!
//! A line that begins with `>` is a command; what follows up to the next is what the core answers. With
//! `MILLRACE_WRITE_TRANSCRIPTS=1` the answers are written anew; read the difference before committing it.
//!
//! | command | |
//! |---|---|
//! | `put KEY VALUE [lease=N] [prev]`, `del KEY`, `del FROM..TO`, `get KEY`, `get FROM..TO [at=REVISION]` | one operation |
//! | `if CONDITION; … then OPERATION; … else OPERATION; …` | a transaction; conditions as `mod(KEY)=N`, `value(KEY)!=TEXT` |
//! | `grant MS`, `revoke LEASE`, `compact REVISION`, `budget BYTES`, `watch FROM..TO REVISION`, `usage` | |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fmt::Write as _;

use bytes::Bytes;
use millrace_hub_control::kv::{
    Command, Compare, KeyRange, KeyValue, Op, OpAnswer, Outcome, RangeAnswer, RangeQuery, Relation, Store,
    Target, Txn, Watch,
};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn range(text: &str) -> KeyRange {
    match text.split_once("..") {
        None => KeyRange::one(text.to_owned()),
        Some((start, "")) => KeyRange::Between { start: Bytes::from(start.to_owned()), end: None },
        Some((start, end)) => {
            KeyRange::Between { start: Bytes::from(start.to_owned()), end: Some(Bytes::from(end.to_owned())) }
        }
    }
}

fn operation(text: &str) -> Op {
    let words: Vec<&str> = text.split_whitespace().collect();
    let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    match words[..] {
        ["put", key, value, ..] => Op::Put {
            key: Bytes::from(key.to_owned()),
            value: Bytes::from(value.to_owned()),
            lease: option("lease=").map_or(0, |n| n.parse().unwrap()),
            previous: words.contains(&"prev"),
        },
        ["del", keys, ..] => Op::Delete { range: range(keys), previous: words.contains(&"prev") },
        ["get", keys, ..] => Op::Range(RangeQuery {
            limit: option("limit=").map_or(0, |n| n.parse().unwrap()),
            keys_only: words.contains(&"keys"),
            range: range(keys),
        }),
        _ => panic!("{text}"),
    }
}

fn compare(text: &str) -> Compare {
    let (what, rest) = text.trim().split_once('(').unwrap();
    let (key, rest) = rest.split_once(')').unwrap();
    let relations =
        [("!=", Relation::NotEqual), ("=", Relation::Equal), ("<", Relation::Less), (">", Relation::Greater)];
    let (sign, relation) = relations.into_iter().find(|(sign, _)| rest.starts_with(sign)).unwrap();
    let value = &rest[sign.len()..];
    let number = || value.parse().unwrap();
    let target = match what {
        "value" => Target::Value(Bytes::from(value.to_owned())),
        "version" => Target::Version(number()),
        "create" => Target::Create(number()),
        "mod" => Target::Mod(number()),
        "lease" => Target::Lease(number()),
        other => panic!("{other}"),
    };
    Compare { key: Bytes::from(key.to_owned()), relation, target }
}

fn transaction(text: &str) -> Txn {
    let (conditions, rest) = text.split_once(" then ").unwrap();
    let (then, otherwise) = rest.split_once(" else ").unwrap_or((rest, ""));
    let ops = |text: &str| text.split(';').filter(|op| !op.trim().is_empty()).map(operation).collect();
    Txn { compares: conditions.split(';').map(compare).collect(), then: ops(then), otherwise: ops(otherwise) }
}

fn show(found: &KeyValue) -> String {
    let KeyValue { key, value, create_revision, mod_revision, version, lease } = found;
    let lease = if *lease == 0 { String::new() } else { format!(" lease {lease}") };
    let (key, value) = (text(key), text(value));
    format!(
        "  {key} = {value} (created {create_revision}, changed {mod_revision}, version {version}{lease})\n"
    )
}

fn show_range(range: &RangeAnswer) -> String {
    let entries: String = range.entries.iter().map(show).collect();
    let more = if range.more { ", more follow" } else { "" };
    format!("{} found at {}{more}\n{entries}", range.count, range.revision)
}

fn show_answer(answer: &OpAnswer) -> String {
    match answer {
        OpAnswer::Put { previous } => {
            let before: String = previous.iter().map(show).collect();
            format!("put\n{before}")
        }
        OpAnswer::Deleted { count, previous } => {
            let before: String = previous.iter().map(show).collect();
            format!("{count} deleted\n{before}")
        }
        OpAnswer::Range(range) => show_range(range),
    }
}

fn show_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Txn { held, revision, answers } => {
            let answers: String = answers.iter().map(show_answer).collect();
            format!("{}, revision {revision}\n{answers}", if *held { "held" } else { "did not hold" })
        }
        Outcome::Refused(refusal) => format!("refused: {refusal}\n"),
        other => format!("{other:?}\n"),
    }
}

fn watch(store: &Store, keys: &str, from: u64) -> String {
    match Watch::from(range(keys), from).poll(store) {
        Err(error) => format!("{error}\n"),
        Ok(None) => "nothing yet\n".to_owned(),
        Ok(Some(batch)) => {
            let mut shown = format!("through {}\n", batch.through);
            for change in &batch.changes {
                let (key, at) = (text(&change.current.key), change.current.mod_revision);
                let before =
                    change.previous.as_ref().map_or("nothing".to_owned(), |before| text(&before.value));
                let now = if change.is_delete() { "deleted".to_owned() } else { text(&change.current.value) };
                writeln!(shown, "  {at}: {key} {before} -> {now}").unwrap();
            }
            shown
        }
    }
}

fn run(store: &mut Store, line: &str) -> String {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let command = match word {
        "usage" => return format!("{:?}\n", store.usage()),
        "watch" => {
            let (keys, from) = rest.split_once(' ').unwrap();
            return watch(store, keys, from.parse().unwrap());
        }
        "get" if rest.contains("at=") => {
            let (keys, at) = rest.split_once(" at=").unwrap();
            let read = store.range(&RangeQuery::of(range(keys)), Some(at.parse().unwrap()));
            return read.map_or_else(|error| format!("refused: {error}\n"), |found| show_range(&found));
        }
        "if" => Command::Txn(transaction(rest)),
        "grant" => Command::Grant { ttl_ms: rest.parse().unwrap() },
        "revoke" => Command::Revoke { lease: rest.parse().unwrap() },
        "compact" => Command::Compact { revision: rest.parse().unwrap() },
        "raise" => {
            let (revision, lease) = rest.split_once(' ').unwrap();
            Command::Raise { revision: revision.parse().unwrap(), next_lease: lease.parse().unwrap() }
        }
        "budget" => Command::Budget { bytes: rest.parse().unwrap() },
        _ => Command::Txn(Txn { then: vec![operation(line)], ..Txn::default() }),
    };
    show_outcome(&store.apply(&[command]).0[0])
}

#[test]
fn the_core_answers_as_the_transcripts_say() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 4);
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let mut store = Store::default();
        let mut found = String::new();
        for line in expected.lines().filter(|line| line.starts_with('>') || line.starts_with('#')) {
            writeln!(found, "{line}").unwrap();
            if let Some(command) = line.strip_prefix("> ") {
                found.push_str(&run(&mut store, command));
                found.push('\n');
            }
        }
        if std::env::var_os("MILLRACE_WRITE_TRANSCRIPTS").is_some() {
            std::fs::write(&path, &found).unwrap();
        } else {
            assert_eq!(found, expected, "{}", path.display());
        }
    }
}
