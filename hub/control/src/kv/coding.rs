//! Commands and outcomes as bytes: in the log, and between hubs.
//!
//! ```text
//! batch := version:1 count (length command)*          outcomes := version:1 count (length outcome)*
//! ```
//! Kinds are numbers and are never used for something else; fields are only added at the end of a kind.

use bytes::Bytes;

use super::command::{Command, Compare, Op, RangeQuery, Relation, Target, Txn};
use super::limits::{COMMAND_BYTES_MAX, KEY_BYTES_MAX, OPS_MAX, RANGE_ROWS_MAX, VALUE_BYTES_MAX};
use super::outcome::{OpAnswer, Outcome, RangeAnswer, Refusal};
use super::range::KeyRange;
use super::value::KeyValue;
use crate::codec::{CodecError, Decoder, Encoder};

const VERSION: u8 = 1;

/// Commands in one batch: more never share an entry.
pub(crate) const BATCH_COMMANDS_MAX: usize = 4_096;

/// Bytes of one outcome: what a read may return, one key beyond it at each operation, and the revisions beside them.
const OUTCOME_BYTES_MAX: usize = 160 << 20;

/// A command in its encoded form.
pub(crate) fn encode_command(command: &Command) -> Bytes {
    let mut to = Encoder::with_capacity(64);
    match command {
        Command::Txn(txn) => {
            to.byte(1);
            to.count(txn.compares.len());
            txn.compares.iter().for_each(|compare| put_compare(&mut to, compare));
            for ops in [&txn.then, &txn.otherwise] {
                to.count(ops.len());
                ops.iter().for_each(|op| put_op(&mut to, op));
            }
        }
        Command::Grant { ttl_ms } => put_number(&mut to, 2, *ttl_ms),
        Command::Revoke { lease } => put_number(&mut to, 3, *lease),
        Command::Compact { revision } => put_number(&mut to, 4, *revision),
        Command::Budget { bytes } => put_number(&mut to, 5, *bytes),
        Command::Raise { revision, next_lease } => {
            put_number(&mut to, 6, *revision);
            to.number(*next_lease);
        }
    }
    to.finish()
}

fn put_number(to: &mut Encoder, kind: u8, number: u64) {
    to.byte(kind);
    to.number(number);
}

/// Encoded commands as one batch.
pub(crate) fn encode_batch(commands: &[Bytes]) -> Bytes {
    let bytes: usize = commands.iter().map(|command| command.len() + 4).sum();
    let mut to = Encoder::with_capacity(bytes + 8);
    to.byte(VERSION);
    to.count(commands.len());
    commands.iter().for_each(|command| to.bytes(command));
    to.finish()
}

/// A batch, still as bytes per command.
pub(crate) fn split_batch(bytes: Bytes) -> Result<Vec<Bytes>, CodecError> {
    let mut from = versioned(bytes)?;
    let commands =
        from.list("commands", BATCH_COMMANDS_MAX, |from| from.bytes("a command", COMMAND_BYTES_MAX))?;
    from.end()?;
    Ok(commands)
}

pub(crate) fn decode_command(bytes: Bytes) -> Result<Command, CodecError> {
    let mut from = Decoder::new(bytes);
    let command = match from.byte("command")? {
        1 => Command::Txn(Txn {
            compares: from.list("compares", OPS_MAX, take_compare)?,
            then: from.list("operations", OPS_MAX, take_op)?,
            otherwise: from.list("operations", OPS_MAX, take_op)?,
        }),
        2 => Command::Grant { ttl_ms: from.number("ttl")? },
        3 => Command::Revoke { lease: from.number("lease")? },
        4 => Command::Compact { revision: from.number("revision")? },
        5 => Command::Budget { bytes: from.number("budget")? },
        6 => Command::Raise { revision: from.number("revision")?, next_lease: from.number("next lease")? },
        found => return Err(CodecError::Unknown { what: "command", found: found.into() }),
    };
    from.end()?;
    Ok(command)
}

fn versioned(bytes: Bytes) -> Result<Decoder, CodecError> {
    let mut from = Decoder::new(bytes);
    match from.byte("version")? {
        VERSION => Ok(from),
        found => Err(CodecError::Unknown { what: "version", found: found.into() }),
    }
}

fn put_compare(to: &mut Encoder, compare: &Compare) {
    to.bytes(&compare.key);
    to.byte(match compare.relation {
        Relation::Equal => 1,
        Relation::NotEqual => 2,
        Relation::Less => 3,
        Relation::Greater => 4,
    });
    match &compare.target {
        Target::Value(value) => {
            to.byte(1);
            to.bytes(value);
        }
        Target::Version(number) => put_number(to, 2, *number),
        Target::Create(number) => put_number(to, 3, *number),
        Target::Mod(number) => put_number(to, 4, *number),
        Target::Lease(number) => put_number(to, 5, *number),
    }
}

fn take_compare(from: &mut Decoder) -> Result<Compare, CodecError> {
    let key = from.bytes("key", KEY_BYTES_MAX)?;
    let relation = match from.byte("relation")? {
        1 => Relation::Equal,
        2 => Relation::NotEqual,
        3 => Relation::Less,
        4 => Relation::Greater,
        found => return Err(CodecError::Unknown { what: "relation", found: found.into() }),
    };
    let target = match from.byte("target")? {
        1 => Target::Value(from.bytes("value", VALUE_BYTES_MAX)?),
        2 => Target::Version(from.number("version")?),
        3 => Target::Create(from.number("create revision")?),
        4 => Target::Mod(from.number("mod revision")?),
        5 => Target::Lease(from.number("lease")?),
        found => return Err(CodecError::Unknown { what: "target", found: found.into() }),
    };
    Ok(Compare { key, relation, target })
}

fn put_op(to: &mut Encoder, op: &Op) {
    match op {
        Op::Put { key, value, lease, previous } => {
            to.byte(1);
            to.bytes(key);
            to.bytes(value);
            to.number(*lease);
            to.flag(*previous);
        }
        Op::Delete { range, previous } => {
            to.byte(2);
            put_range(to, range);
            to.flag(*previous);
        }
        Op::Range(query) => {
            to.byte(3);
            put_range(to, &query.range);
            to.count(query.limit);
            to.flag(query.keys_only);
        }
    }
}

fn take_op(from: &mut Decoder) -> Result<Op, CodecError> {
    match from.byte("operation")? {
        1 => Ok(Op::Put {
            key: from.bytes("key", KEY_BYTES_MAX)?,
            value: from.bytes("value", VALUE_BYTES_MAX)?,
            lease: from.number("lease")?,
            previous: from.flag("previous")?,
        }),
        2 => Ok(Op::Delete { range: take_range(from)?, previous: from.flag("previous")? }),
        3 => Ok(Op::Range(RangeQuery {
            range: take_range(from)?,
            limit: from.count("limit", u32::MAX as usize)?,
            keys_only: from.flag("keys only")?,
        })),
        found => Err(CodecError::Unknown { what: "operation", found: found.into() }),
    }
}

fn put_range(to: &mut Encoder, range: &KeyRange) {
    match range {
        KeyRange::One(key) => {
            to.byte(1);
            to.bytes(key);
        }
        KeyRange::Between { start, end } => {
            to.byte(if end.is_some() { 2 } else { 3 });
            to.bytes(start);
            if let Some(end) = end {
                to.bytes(end);
            }
        }
    }
}

fn take_range(from: &mut Decoder) -> Result<KeyRange, CodecError> {
    let kind = from.byte("range")?;
    let start = from.bytes("key", KEY_BYTES_MAX)?;
    match kind {
        1 => Ok(KeyRange::One(start)),
        2 => Ok(KeyRange::Between { start, end: Some(from.bytes("key", KEY_BYTES_MAX)?) }),
        3 => Ok(KeyRange::Between { start, end: None }),
        found => Err(CodecError::Unknown { what: "range", found: found.into() }),
    }
}

pub(crate) fn encode_outcomes(outcomes: &[Outcome]) -> Bytes {
    let mut to = Encoder::with_capacity(outcomes.len() * 8 + 8);
    to.byte(VERSION);
    to.count(outcomes.len());
    for outcome in outcomes {
        let mut one = Encoder::default();
        put_outcome(&mut one, outcome);
        to.bytes(&one.finish());
    }
    to.finish()
}

pub(crate) fn decode_outcomes(bytes: Bytes) -> Result<Vec<Outcome>, CodecError> {
    let mut from = versioned(bytes)?;
    let outcomes = from.list("outcomes", BATCH_COMMANDS_MAX, |from| {
        let mut one = Decoder::new(from.bytes("an outcome", OUTCOME_BYTES_MAX)?);
        let outcome = take_outcome(&mut one)?;
        one.end()?;
        Ok(outcome)
    })?;
    from.end()?;
    Ok(outcomes)
}

fn put_outcome(to: &mut Encoder, outcome: &Outcome) {
    match outcome {
        Outcome::Txn { held, revision, answers } => {
            to.byte(1);
            to.flag(*held);
            to.number(*revision);
            to.count(answers.len());
            answers.iter().for_each(|answer| put_answer(to, answer));
        }
        Outcome::Granted { lease, ttl_ms } => {
            put_number(to, 2, *lease);
            to.number(*ttl_ms);
        }
        Outcome::Revoked { revision, deleted } => {
            put_number(to, 3, *revision);
            to.number(*deleted);
        }
        Outcome::Compacted { revision } => put_number(to, 4, *revision),
        Outcome::Budgeted { bytes } => put_number(to, 5, *bytes),
        Outcome::Refused(refusal) => {
            to.byte(6);
            put_refusal(to, refusal);
        }
        Outcome::Raised { revision, next_lease } => {
            put_number(to, 7, *revision);
            to.number(*next_lease);
        }
    }
}

fn take_outcome(from: &mut Decoder) -> Result<Outcome, CodecError> {
    Ok(match from.byte("outcome")? {
        1 => Outcome::Txn {
            held: from.flag("held")?,
            revision: from.number("revision")?,
            answers: from.list("answers", OPS_MAX, take_answer)?,
        },
        2 => Outcome::Granted { lease: from.number("lease")?, ttl_ms: from.number("ttl")? },
        3 => Outcome::Revoked { revision: from.number("revision")?, deleted: from.number("deleted")? },
        4 => Outcome::Compacted { revision: from.number("revision")? },
        5 => Outcome::Budgeted { bytes: from.number("budget")? },
        6 => Outcome::Refused(take_refusal(from)?),
        7 => Outcome::Raised { revision: from.number("revision")?, next_lease: from.number("next lease")? },
        found => return Err(CodecError::Unknown { what: "outcome", found: found.into() }),
    })
}

fn put_refusal(to: &mut Encoder, refusal: &Refusal) {
    match refusal {
        Refusal::Full { used_bytes, budget_bytes } => {
            put_number(to, 1, *used_bytes);
            to.number(*budget_bytes);
        }
        Refusal::NoLease(lease) => put_number(to, 2, *lease),
        Refusal::TooManyLeases(count) => put_number(to, 3, *count as u64),
        Refusal::Compacted { oldest } => put_number(to, 4, *oldest),
        Refusal::Future { asked, newest } => {
            put_number(to, 5, *asked);
            to.number(*newest);
        }
        Refusal::Invalid(what) => {
            to.byte(6);
            to.bytes(what.as_bytes());
        }
    }
}

fn take_refusal(from: &mut Decoder) -> Result<Refusal, CodecError> {
    Ok(match from.byte("refusal")? {
        1 => Refusal::Full { used_bytes: from.number("used")?, budget_bytes: from.number("budget")? },
        2 => Refusal::NoLease(from.number("lease")?),
        3 => Refusal::TooManyLeases(from.count("leases", usize::MAX)?),
        4 => Refusal::Compacted { oldest: from.number("oldest")? },
        5 => Refusal::Future { asked: from.number("asked")?, newest: from.number("newest")? },
        6 => Refusal::Invalid(from.text("why", 4_096)?),
        found => return Err(CodecError::Unknown { what: "refusal", found: found.into() }),
    })
}

fn put_answer(to: &mut Encoder, answer: &OpAnswer) {
    match answer {
        OpAnswer::Put { previous } => {
            to.byte(1);
            put_values(to, previous.as_slice());
        }
        OpAnswer::Deleted { count, previous } => {
            put_number(to, 2, *count);
            put_values(to, previous);
        }
        OpAnswer::Range(range) => {
            to.byte(3);
            put_values(to, &range.entries);
            to.flag(range.more);
            to.number(range.count);
            to.number(range.revision);
        }
    }
}

fn take_answer(from: &mut Decoder) -> Result<OpAnswer, CodecError> {
    Ok(match from.byte("answer")? {
        1 => OpAnswer::Put { previous: take_values(from)?.pop() },
        2 => OpAnswer::Deleted { count: from.number("count")?, previous: take_values(from)? },
        3 => OpAnswer::Range(RangeAnswer {
            entries: take_values(from)?,
            more: from.flag("more")?,
            count: from.number("count")?,
            revision: from.number("revision")?,
        }),
        found => return Err(CodecError::Unknown { what: "answer", found: found.into() }),
    })
}

fn put_values(to: &mut Encoder, values: &[KeyValue]) {
    to.count(values.len());
    for value in values {
        to.bytes(&value.key);
        to.bytes(&value.value);
        [value.create_revision, value.mod_revision, value.version, value.lease]
            .iter()
            .for_each(|number| to.number(*number));
    }
}

fn take_values(from: &mut Decoder) -> Result<Vec<KeyValue>, CodecError> {
    from.list("keys", RANGE_ROWS_MAX, |from| {
        Ok(KeyValue {
            key: from.bytes("key", KEY_BYTES_MAX)?,
            value: from.bytes("value", VALUE_BYTES_MAX)?,
            create_revision: from.number("create revision")?,
            mod_revision: from.number("mod revision")?,
            version: from.number("version")?,
            lease: from.number("lease")?,
        })
    })
}
