//! What is present at a holder, as the bytes of an [`Outline`](crate::question::Outline).
//!
//! ```text
//! present := range*
//! range   := 4 · distance + 0 : LEB128, length − 1 : LEB128
//!          | 4 · (length − 1) + 1 : LEB128      the distance is the usual one
//!          | 4 · distance + 2 : LEB128          the length is one
//! distance: of the first range from where the question began, usually 0; of each other one from the last number of the range before, usually 2
//! ```
//!
//! So a single record that is missing costs one number, in an outline as in what is asked for; the usual distance goes before the length of one.
//!
//! Promise: one set has one form; what is not in that form, or is too long, is refused.

use bytes::Bytes;
use millrace_model::canon::DecodeError;
use millrace_model::varint::{Cursor, put_tagged, put_u64};
use millrace_model::{RangeSet, Seq, SeqRange};

use crate::question::SPANS_MAX;

/// Distance and length are written.
const BOTH: u8 = 0;

/// The distance is the usual one; the length is written.
const USUAL: u8 = 1;

/// The length is one; the distance is written.
const SINGLE: u8 = 2;

/// The usual distance of a range behind another: one number is missing between them.
const GAP_OF_ONE: u64 = 2;

/// Why bytes are no ranges.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpansError {
    /// A number is cut off or badly written.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// Two ranges that should have been one.
    #[error("ranges touch or overlap")]
    Touching,
    /// The same range has a shorter form, or there is no such form.
    #[error("a range is not in its shortest form")]
    Form,
    /// Numbers have 64 bits.
    #[error("a range ends past the last number")]
    Overflow,
    /// Over the limit.
    #[error("more than {SPANS_MAX} ranges")]
    TooMany,
}

/// The bytes of the first [`SPANS_MAX`] ranges of what is present from `from` on, and whether there are more.
#[must_use]
pub fn encode(present: &RangeSet, from: Seq) -> (Bytes, bool) {
    let asked = SeqRange::new(from, Seq::MAX).map(|asked| present.within(asked)).unwrap_or_default();
    let (mut bytes, mut end, mut usual) = (Vec::new(), from, 0);
    for range in asked.iter().take(SPANS_MAX) {
        let (distance, more) = (range.first() - end, range.last() - range.first());
        match (distance, more) {
            _ if distance == usual => put_tagged(&mut bytes, more, USUAL),
            (_, 0) => put_tagged(&mut bytes, distance, SINGLE),
            _ => {
                put_tagged(&mut bytes, distance, BOTH);
                put_u64(&mut bytes, more);
            }
        }
        (end, usual) = (range.last(), GAP_OF_ONE);
    }
    (bytes.into(), asked.range_count() > SPANS_MAX)
}

/// The ranges with these bytes.
///
/// # Errors
/// When the bytes are not what [`encode`] writes.
pub fn decode(bytes: &[u8], from: Seq) -> Result<RangeSet, SpansError> {
    let mut cursor = Cursor::new(bytes);
    let (mut ranges, mut end, mut usual) = (RangeSet::new(), from, 0);
    while !cursor.is_empty() {
        let (distance, more) = match cursor.tagged()? {
            (more, USUAL) => (usual, more),
            (distance, SINGLE) if distance != usual => (distance, 0),
            (distance, BOTH) if distance != usual => match cursor.u64()? {
                0 => return Err(SpansError::Form),
                more => (distance, more),
            },
            _ => return Err(SpansError::Form),
        };
        if ranges.range_count() == SPANS_MAX {
            return Err(SpansError::TooMany);
        }
        if distance < GAP_OF_ONE && !ranges.is_empty() {
            return Err(SpansError::Touching);
        }
        let first = end.checked_add(distance).ok_or(SpansError::Overflow)?;
        end = first.checked_add(more).ok_or(SpansError::Overflow)?;
        if let Some(range) = SeqRange::new(first, end) {
            ranges.insert(range);
        }
        usual = GAP_OF_ONE;
    }
    Ok(ranges)
}

/// For fields that carry ranges: `#[serde(with = "millrace_merkle::spans")]`. A list of numbers would take up to twice as much.
///
/// # Errors
/// When the format cannot carry bytes, or there are more than [`SPANS_MAX`] ranges: then it must not be sent.
pub fn serialize<S: serde::Serializer>(ranges: &RangeSet, to: S) -> Result<S::Ok, S::Error> {
    let (bytes, more) = encode(ranges, 0);
    if more {
        return Err(serde::ser::Error::custom(SpansError::TooMany));
    }
    to.serialize_bytes(&bytes)
}

/// The other direction.
///
/// # Errors
/// When they are no ranges.
pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<RangeSet, D::Error> {
    let bytes = <Bytes as serde::Deserialize>::deserialize(from)?;
    decode(&bytes, 0).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    fn ranges(pairs: &[(u64, u64)]) -> RangeSet {
        pairs.iter().filter_map(|(first, last)| SeqRange::new(*first, *last)).collect()
    }

    proptest! {
        #[test]
        fn what_is_present_reads_back_from_where_it_was_asked_for(
            pairs in proptest::collection::vec((0_u64..500, 0_u64..30), 0..40), from in 0_u64..600, large in any::<bool>(),
        ) {
            let offset = if large { u64::MAX - 600 } else { 0 };
            let pairs: Vec<_> = pairs.iter().map(|(first, more)| (first + offset, first + more + offset)).collect();
            let (set, from) = (ranges(&pairs), from + offset);
            let (bytes, more) = encode(&set, from);
            assert_eq!(decode(&bytes, from), Ok(set.within(SeqRange::new(from, u64::MAX).unwrap())));
            assert!(!more);
        }

        #[test]
        fn no_bytes_make_it_panic_and_what_it_takes_it_would_write(bytes in proptest::collection::vec(any::<u8>(), 0..60), from in any::<u64>()) {
            if let Ok(set) = decode(&bytes, from) {
                assert_eq!(encode(&set, from).0, bytes);
            }
        }
    }

    #[test]
    fn ranges_beyond_the_limit_are_told_on_the_next_page() {
        let all: RangeSet = (0..SPANS_MAX as u64 + 5).map(|at| SeqRange::only(at * 2 + 1)).collect();
        let (bytes, more) = encode(&all, 1);
        let first = decode(&bytes, 1).unwrap();
        assert_eq!((first.range_count(), more), (SPANS_MAX, true));
        let from = first.last().unwrap() + 1;
        let (bytes, more) = encode(&all, from);
        assert!(!more);
        let mut both = first;
        both.extend(&decode(&bytes, from).unwrap());
        assert_eq!(both, all);
    }

    #[test]
    fn a_single_missing_record_costs_one_number_wherever_it_is_told() {
        let bytes = |pairs: &[(u64, u64)], from| encode(&ranges(pairs), from).0.to_vec();
        assert_eq!(bytes(&[(1, 10), (12, 20), (22, 22)], 1), [9 * 4 + 1, 8 * 4 + 1, 1]);
        assert_eq!(bytes(&[(11, 11), (21, 21)], 0), [11 * 4 + 2, 10 * 4 + 2]);
        assert_eq!(bytes(&[(3, 10), (14, 20)], 1), [2 * 4, 7, 4 * 4, 6]);
    }

    #[test]
    fn as_many_ranges_as_there_may_be_have_seventeen_bytes_each_at_most() {
        let step = u64::MAX / SPANS_MAX as u64;
        let all: RangeSet = (0..SPANS_MAX as u64)
            .filter_map(|at| SeqRange::new(at * step + step / 2, (at + 1) * step - 2))
            .collect();
        let (bytes, more) = encode(&all, 0);
        assert!(!more && bytes.len() <= 17 * SPANS_MAX, "{}", bytes.len());
    }

    #[test]
    fn ranges_that_touch_overflow_or_are_too_many_are_refused() {
        assert_eq!(decode(&[1, 4 + 2], 1), Err(SpansError::Touching));
        assert_eq!(decode(&[1, 2], 1), Err(SpansError::Touching));
        assert_eq!(decode(&[1, 4, 1], 1), Err(SpansError::Touching));
        assert_eq!(decode(&[4 + 2], u64::MAX), Err(SpansError::Overflow));
        assert_eq!(decode(&[4 + 1], u64::MAX), Err(SpansError::Overflow));
        assert_eq!(decode(&[1, 1], u64::MAX - 1), Err(SpansError::Overflow));
        assert_eq!(decode(&[1; SPANS_MAX + 1], 1), Err(SpansError::TooMany));
        assert!(matches!(decode(&[4], 1), Err(SpansError::Malformed(_))));
        assert!(matches!(decode(&[0x80, 0, 1], 1), Err(SpansError::Malformed(_))));
    }

    #[test]
    fn a_range_in_a_longer_form_than_it_has_is_refused() {
        // Usual distances that are written, a length of one that is written, and a form that there is not.
        for bytes in [&[0, 5][..], &[2], &[1, 2 * 4, 5], &[1, 2 * 4 + 2], &[3 * 4, 0], &[3], &[1, 3]] {
            assert_eq!(decode(bytes, 1), Err(SpansError::Form), "{bytes:?}");
        }
    }
}
