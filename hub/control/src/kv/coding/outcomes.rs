//! Outcomes as bytes, on their way from the leader to whoever asked.
//!
//! Promise: what does not fit into one message is left out alone, as an outcome of no bytes: its command was carried out, and
//! all others get their answer. Absent: outcomes of the leader's own callers; those are never encoded.

use bytes::Bytes;

use super::{BATCH_COMMANDS_MAX, VERSION, put_number, versioned};
use crate::codec::{CodecError, Decoder, Encoder};
use crate::kv::limits::{KEY_BYTES_MAX, OPS_MAX, RANGE_ROWS_MAX, VALUE_BYTES_MAX};
use crate::kv::outcome::{OpAnswer, Outcome, RangeAnswer, Refusal};
use crate::kv::value::KeyValue;

/// Bytes of one outcome: what a read may return, one key beyond it at each operation, and the revisions beside them.
const OUTCOME_BYTES_MAX: usize = 160 << 20;

/// Outcomes in at most `bytes_max`: the largest are left out until the others fit.
pub(crate) fn encode_outcomes(outcomes: &[Outcome], bytes_max: usize) -> Bytes {
    let mut sizes: Vec<usize> = outcomes.iter().map(outcome_bytes_max).collect();
    let mut bytes = sizes.iter().sum::<usize>() + outcomes.len() * 5 + 8;
    let mut largest: Vec<usize> = (0..sizes.len()).collect();
    largest.sort_by_key(|at| sizes.get(*at).copied());
    while bytes > bytes_max {
        let Some(size) = largest.pop().and_then(|at| sizes.get_mut(at)) else { break };
        bytes -= std::mem::take(size);
    }
    let mut to = Encoder::with_capacity(bytes);
    to.byte(VERSION);
    to.count(outcomes.len());
    for (outcome, size) in outcomes.iter().zip(sizes) {
        let mut one = Encoder::with_capacity(size);
        if size > 0 {
            put_outcome(&mut one, outcome);
        }
        to.bytes(&one.finish());
    }
    to.finish()
}

/// How many bytes an outcome has at most when it is encoded.
fn outcome_bytes_max(outcome: &Outcome) -> usize {
    /// Kinds, flags and numbers of one answer.
    const FRAME: usize = 32;
    /// Lengths and numbers beside a key and its value.
    const ROW: usize = 48;
    let rows = |values: &[KeyValue]| {
        values.iter().map(|value| value.key.len() + value.value.len() + ROW).sum::<usize>()
    };
    let answer = |answer: &OpAnswer| {
        FRAME
            + match answer {
                OpAnswer::Put { previous } => rows(previous.as_slice()),
                OpAnswer::Deleted { previous, .. } => rows(previous),
                OpAnswer::Range(range) => rows(&range.entries),
            }
    };
    FRAME
        + match outcome {
            Outcome::Txn { answers, .. } => answers.iter().map(answer).sum(),
            Outcome::Refused(Refusal::Invalid(what)) => what.len(),
            _ => 0,
        }
}

/// Outcomes; none where one was left out.
pub(crate) fn decode_outcomes(bytes: Bytes) -> Result<Vec<Option<Outcome>>, CodecError> {
    let mut from = versioned(bytes)?;
    let outcomes = from.list("outcomes", BATCH_COMMANDS_MAX, |from| {
        let one = from.bytes("an outcome", OUTCOME_BYTES_MAX)?;
        if one.is_empty() {
            return Ok(None);
        }
        let mut one = Decoder::new(one);
        let outcome = take_outcome(&mut one)?;
        one.end()?;
        Ok(Some(outcome))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: usize) -> Outcome {
        let entries = vec![KeyValue { key: "a".into(), value: vec![7; value].into(), ..KeyValue::default() }];
        let range = RangeAnswer { entries, ..RangeAnswer::default() };
        Outcome::Txn { held: true, revision: 3, answers: vec![OpAnswer::Range(range)] }
    }

    #[test]
    fn an_outcome_that_does_not_fit_is_left_out_alone() {
        let small = Outcome::Granted { lease: 1, ttl_ms: 2 };
        let all = [read(600), small.clone(), read(900), read(500)];
        let bytes = encode_outcomes(&all, 1_600);
        assert!(bytes.len() <= 1_600);
        let expected = [Some(read(600)), Some(small), None, Some(read(500))];
        assert_eq!(decode_outcomes(bytes).unwrap(), expected);
        let whole = encode_outcomes(&all, 1 << 20);
        assert_eq!(decode_outcomes(whole).unwrap(), all.map(Some));
    }

    #[test]
    fn no_outcome_has_more_bytes_than_are_counted_for_it() {
        let largest = KeyValue {
            key: vec![1; KEY_BYTES_MAX].into(),
            value: vec![2; 70_000].into(),
            create_revision: u64::MAX,
            mod_revision: u64::MAX,
            version: u64::MAX,
            lease: u64::MAX,
        };
        let range = RangeAnswer {
            entries: vec![largest.clone(); 3],
            more: true,
            count: u64::MAX,
            revision: u64::MAX,
        };
        let previous = vec![largest.clone(); 2];
        let answers = vec![
            OpAnswer::Put { previous: Some(largest) },
            OpAnswer::Deleted { count: u64::MAX, previous },
            OpAnswer::Range(range),
        ];
        let all = [
            Outcome::Txn { held: true, revision: u64::MAX, answers },
            Outcome::Granted { lease: u64::MAX, ttl_ms: u64::MAX },
            Outcome::Refused(Refusal::Invalid("x".repeat(300))),
            Outcome::Refused(Refusal::Full { used_bytes: u64::MAX, budget_bytes: u64::MAX }),
        ];
        for outcome in all {
            let mut one = Encoder::default();
            put_outcome(&mut one, &outcome);
            assert!(one.finish().len() <= outcome_bytes_max(&outcome), "{outcome:?}");
        }
    }
}
