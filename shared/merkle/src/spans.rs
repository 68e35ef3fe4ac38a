//! What is present at a holder, as the bytes of an [`Outline`](crate::question::Outline).
//!
//! ```text
//! present := (distance:LEB128 length−1:LEB128)*
//! distance: of the first range from where the question began; of each other one from the last number of the range before (2 or more)
//! ```
//!
//! Promise: one set has one form; what is not in that form, or is too long, is refused.

use bytes::Bytes;
use millrace_model::canon::DecodeError;
use millrace_model::varint::{Cursor, put_u64};
use millrace_model::{RangeSet, Seq, SeqRange};

use crate::question::SPANS_MAX;

/// Why bytes are no ranges.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpansError {
    /// A number is cut off or badly written.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// Two ranges that should have been one.
    #[error("ranges touch or overlap")]
    Touching,
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
    let (mut bytes, mut end) = (Vec::new(), from);
    for range in asked.iter().take(SPANS_MAX) {
        put_u64(&mut bytes, range.first() - end);
        put_u64(&mut bytes, range.last() - range.first());
        end = range.last();
    }
    (bytes.into(), asked.range_count() > SPANS_MAX)
}

/// The ranges with these bytes.
///
/// # Errors
/// When the bytes are not what [`encode`] writes.
pub fn decode(bytes: &[u8], from: Seq) -> Result<RangeSet, SpansError> {
    let mut cursor = Cursor::new(bytes);
    let (mut ranges, mut end) = (RangeSet::new(), from);
    while !cursor.is_empty() {
        let (distance, more) = (cursor.u64()?, cursor.u64()?);
        if ranges.range_count() == SPANS_MAX {
            return Err(SpansError::TooMany);
        }
        if distance < 2 && !ranges.is_empty() {
            return Err(SpansError::Touching);
        }
        let first = end.checked_add(distance).ok_or(SpansError::Overflow)?;
        end = first.checked_add(more).ok_or(SpansError::Overflow)?;
        if let Some(range) = SeqRange::new(first, end) {
            ranges.insert(range);
        }
    }
    Ok(ranges)
}

/// For fields that carry ranges: `#[serde(with = "millrace_merkle::spans")]`. A list of numbers would take a quarter more.
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
    fn ranges_that_touch_overflow_or_are_too_many_are_refused() {
        assert_eq!(decode(&[0, 0, 1, 0], 1), Err(SpansError::Touching));
        assert_eq!(decode(&[0, 0, 0, 0], 1), Err(SpansError::Touching));
        assert_eq!(decode(&[1, 0], u64::MAX), Err(SpansError::Overflow));
        assert_eq!(decode(&[0, 1], u64::MAX), Err(SpansError::Overflow));
        assert_eq!(decode(&[2, 0].repeat(SPANS_MAX + 1), 1), Err(SpansError::TooMany));
        assert!(matches!(decode(&[1], 1), Err(SpansError::Malformed(_))));
        assert!(matches!(decode(&[0x80, 0, 1], 1), Err(SpansError::Malformed(_))));
    }
}
