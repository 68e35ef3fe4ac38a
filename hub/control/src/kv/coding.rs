//! Commands and outcomes as bytes: in the log, and between hubs.
//!
//! ```text
//! batch := version:1 count (length command)*          outcomes := version:1 count (length outcome)*
//! ```
//! Kinds are numbers and are never used for something else; fields are only added at the end of a kind.

use bytes::Bytes;

use super::command::{Command, Compare, Op, RangeQuery, Relation, Target, Txn};
use super::limits::{COMMAND_BYTES_MAX, KEY_BYTES_MAX, OPS_MAX, VALUE_BYTES_MAX};
use super::range::KeyRange;
use crate::codec::{CodecError, Decoder, Encoder};

mod outcomes;

pub(crate) use outcomes::{decode_outcomes, encode_outcomes};

const VERSION: u8 = 1;

/// Commands in one batch: more never share an entry.
pub(crate) const BATCH_COMMANDS_MAX: usize = 4_096;

/// Bytes of one batch: commands up to [`COMMAND_BYTES_MAX`] together, and the length before each.
pub(crate) const BATCH_BYTES_MAX: usize = COMMAND_BYTES_MAX + 4 * BATCH_COMMANDS_MAX + 8;

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

/// Whether a batch that somebody else made may be written down: it is as large as one that is made here at most, and every
/// command is understood.
pub(crate) fn check_batch(bytes: &Bytes) -> Result<(), CodecError> {
    if bytes.len() > BATCH_BYTES_MAX {
        let (found, limit) = (bytes.len() as u64, BATCH_BYTES_MAX as u64);
        return Err(CodecError::TooMany { what: "bytes of commands", found, limit });
    }
    split_batch(bytes.clone())?.into_iter().try_for_each(|command| decode_command(command).map(drop))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_no_entry_has_room_for_is_refused() {
        let put = |bytes: usize| encode_command(&Command::put("a", vec![0; bytes]));
        assert_eq!(check_batch(&encode_batch(&[put(1 << 20), put(300 << 10)])), Ok(()));
        let refused = check_batch(&encode_batch(&[put(1 << 20), put(500 << 10)]));
        assert!(matches!(refused, Err(CodecError::TooMany { .. })), "{refused:?}");
        let largest = vec![put(10); BATCH_COMMANDS_MAX];
        assert_eq!(check_batch(&encode_batch(&largest)), Ok(()));
        assert!(
            check_batch(&encode_batch(&[Bytes::from_static(&[99])])).is_err(),
            "nobody knows that command"
        );
    }
}
