//! Which keys are meant: one, all from here to there, or all with a prefix.
//!
//! Absent: limits and order; those belong to the query.

use std::ops::Bound;

use bytes::Bytes;

/// A range of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyRange {
    /// One key.
    One(Bytes),
    /// From `start` to before `end`; without an end, to the last.
    Between {
        /// The first key.
        start: Bytes,
        /// The first key that is not meant any more.
        end: Option<Bytes>,
    },
}

impl KeyRange {
    /// One key.
    #[must_use]
    pub fn one(key: impl Into<Bytes>) -> Self {
        Self::One(key.into())
    }

    /// All keys.
    #[must_use]
    pub const fn all() -> Self {
        Self::Between { start: Bytes::new(), end: None }
    }

    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let mut end = start.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return Self::Between { start, end: Some(end.into()) };
            }
        }
        Self::Between { start, end: None }
    }

    /// Whether `key` is meant.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::Between { start, end } => start <= key && end.as_ref().is_none_or(|end| key < end),
        }
    }

    /// Whether some key could be meant by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(one), range) | (range, Self::One(one)) => range.contains(one),
            (Self::Between { start, end }, Self::Between { start: other_start, end: other_end }) => {
                end.as_ref().is_none_or(|end| other_start < end)
                    && other_end.as_ref().is_none_or(|end| start < end)
            }
        }
    }

    /// As bounds of an ordered map.
    pub(crate) fn bounds(&self) -> (Bound<Bytes>, Bound<Bytes>) {
        match self {
            Self::One(key) => (Bound::Included(key.clone()), Bound::Included(key.clone())),
            // A range that ends before it begins would make the map panic.
            Self::Between { start, end: Some(end) } if end <= start => {
                (Bound::Included(start.clone()), Bound::Excluded(start.clone()))
            }
            Self::Between { start, end } => {
                (Bound::Included(start.clone()), end.clone().map_or(Bound::Unbounded, Bound::Excluded))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_where_the_next_one_begins() {
        let cases: [(&[u8], Option<&[u8]>); 4] =
            [(b"a", Some(b"b")), (b"a\xff", Some(b"b")), (b"\xff\xff", None), (b"", None)];
        for (prefix, end) in cases {
            let range = KeyRange::prefix(prefix);
            let expected = KeyRange::Between { start: prefix.into(), end: end.map(Bytes::from_static) };
            assert_eq!(range, expected);
            assert!(range.contains(&[prefix, b"x"].concat()));
        }
        assert!(!KeyRange::prefix("a").contains(b"b"));
    }

    #[test]
    fn ranges_that_share_a_key_overlap() {
        let between = |start: &'static str, end: &'static str| KeyRange::Between {
            start: start.into(),
            end: Some(end.into()),
        };
        assert!(between("a", "c").overlaps(&between("b", "d")));
        assert!(!between("a", "c").overlaps(&between("c", "d")));
        assert!(KeyRange::one("b").overlaps(&between("a", "c")));
        assert!(KeyRange::all().overlaps(&KeyRange::one("x")));
        assert!(!KeyRange::one("a").overlaps(&KeyRange::one("b")));
    }
}
