//! Sets of sequence numbers, kept as ranges: what a holder has, what a peer lacks, what was acknowledged.
//!
//! Promise: ranges are sorted, disjoint and never adjacent, so equal sets have equal forms. Memory grows with
//! the number of holes, not with the number of members.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Seq;
use crate::limits::RANGES_MAX;

/// Consecutive sequence numbers, both ends included; never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeqRange {
    first: Seq,
    last: Seq,
}

impl SeqRange {
    /// From `first` to `last`, both included; `None` when that is empty.
    #[must_use]
    pub const fn new(first: Seq, last: Seq) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// `count` numbers from `first` on; `None` when `count` is 0 or the end would overflow.
    #[must_use]
    pub const fn starting(first: Seq, count: u64) -> Option<Self> {
        match count.checked_sub(1) {
            None => None,
            Some(more) => match first.checked_add(more) {
                None => None,
                Some(last) => Some(Self { first, last }),
            },
        }
    }

    /// Just `seq`.
    #[must_use]
    pub const fn only(seq: Seq) -> Self {
        Self { first: seq, last: seq }
    }

    /// The first number.
    #[must_use]
    pub const fn first(self) -> Seq {
        self.first
    }

    /// The last number.
    #[must_use]
    pub const fn last(self) -> Seq {
        self.last
    }

    /// How many numbers; saturates for the one range that has 2⁶⁴.
    #[must_use]
    pub const fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Whether `seq` is in it.
    #[must_use]
    pub const fn contains(self, seq: Seq) -> bool {
        self.first <= seq && seq <= self.last
    }

    /// What both have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }
}

impl fmt::Display for SeqRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(out, "{}", self.first)
        } else {
            write!(out, "{}–{}", self.first, self.last)
        }
    }
}

/// Ranges that [`RangeSet::brief`] writes out.
const BRIEF_MAX: usize = 8;

/// The first ranges of a set, and how many more it has.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a>(&'a RangeSet);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ranges(self.0.iter().take(BRIEF_MAX), out)?;
        match self.0.range_count().saturating_sub(BRIEF_MAX) {
            0 => Ok(()),
            more => write!(out, " and {more} more"),
        }
    }
}

/// With commas between them.
fn write_ranges(ranges: impl Iterator<Item = SeqRange>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut comma = "";
    for range in ranges {
        write!(out, "{comma}{range}")?;
        comma = ",";
    }
    if comma.is_empty() { out.write_str("none") } else { Ok(()) }
}

/// A set of sequence numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RangeSet(Vec<SeqRange>);

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// For people: at most eight of its ranges, and how many more there are. However scattered a loss is, one line says it.
    #[must_use]
    pub const fn brief(&self) -> Brief<'_> {
        Brief(self)
    }

    /// Its ranges, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = SeqRange> + ExactSizeIterator + '_ {
        self.0.iter().copied()
    }

    /// How many separate ranges it has: its cost in memory and on the wire.
    #[must_use]
    pub const fn range_count(&self) -> usize {
        self.0.len()
    }

    /// How many numbers are in it (saturating).
    #[must_use]
    pub fn count(&self) -> u64 {
        self.iter().fold(0, |sum, range| sum.saturating_add(range.count()))
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lowest member.
    #[must_use]
    pub fn first(&self) -> Option<Seq> {
        self.0.first().map(|range| range.first)
    }

    /// The highest member.
    #[must_use]
    pub fn last(&self) -> Option<Seq> {
        self.0.last().map(|range| range.last)
    }

    /// Whether `seq` is a member.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        self.range_of(seq).is_some()
    }

    /// The range that `seq` lies in.
    #[must_use]
    pub fn range_of(&self, seq: Seq) -> Option<SeqRange> {
        let after = self.0.partition_point(|range| range.first <= seq);
        self.0.get(after.checked_sub(1)?).copied().filter(|range| range.contains(seq))
    }

    /// Whether every number of `range` is a member.
    #[must_use]
    pub fn covers(&self, range: SeqRange) -> bool {
        self.range_of(range.first).is_some_and(|found| found.last >= range.last)
    }

    /// The highest number below which, from `from` on, nothing is missing; `from − 1` when `from` itself is.
    #[must_use]
    pub fn frontier(&self, from: Seq) -> Seq {
        self.range_of(from).map_or(from.saturating_sub(1), |range| range.last)
    }

    /// Adds all of `range`.
    pub fn insert(&mut self, range: SeqRange) {
        // Everything that overlaps or touches melts into one. Appending at the end is the common case.
        let start = self.0.partition_point(|held| held.last < range.first && held.last + 1 < range.first);
        let end = self.0.partition_point(|held| held.first <= range.last.saturating_add(1));
        let mut merged = range;
        if let Some(touched) = self.0.get(start..end) {
            for held in touched {
                merged.first = merged.first.min(held.first);
                merged.last = merged.last.max(held.last);
            }
        }
        if start == end {
            self.0.insert(start, merged);
        } else {
            self.0.splice(start..end, [merged]);
        }
    }

    /// Removes all of `range`.
    pub fn remove(&mut self, range: SeqRange) {
        let start = self.0.partition_point(|held| held.last < range.first);
        let end = self.0.partition_point(|held| held.first <= range.last);
        if start >= end {
            return;
        }
        let mut rest = Vec::with_capacity(2);
        if let Some(touched) = self.0.get(start..end) {
            for held in touched {
                if range.first > 0 {
                    rest.extend(SeqRange::new(held.first, held.last.min(range.first - 1)));
                }
                if range.last < Seq::MAX {
                    rest.extend(SeqRange::new(held.first.max(range.last + 1), held.last));
                }
            }
        }
        self.0.splice(start..end, rest);
    }

    /// Adds every member of `other`.
    pub fn extend(&mut self, other: &Self) {
        other.iter().for_each(|range| self.insert(range));
    }

    /// Removes every member of `other`: one range in place, more of them in one pass over both.
    pub fn subtract(&mut self, other: &Self) {
        match other.0.as_slice() {
            [] => {}
            [range] => self.remove(*range),
            _ => *self = self.difference(other),
        }
    }

    /// Members of this set that are not in `other`. One pass over both: either may come from a peer.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut rest = Vec::new();
        let mut others = other.iter().peekable();
        for range in self.iter() {
            while others.next_if(|cut| cut.last < range.first).is_some() {}
            let mut left = Some(range);
            while let (Some(part), Some(cut)) = (left, others.peek().copied()) {
                if cut.first > part.last {
                    break;
                }
                if let Some(before) = cut.first.checked_sub(1) {
                    rest.extend(SeqRange::new(part.first, before));
                }
                left = cut.last.checked_add(1).and_then(|after| SeqRange::new(after, part.last));
                if left.is_some() {
                    others.next();
                }
            }
            rest.extend(left);
        }
        Self(rest)
    }

    /// Members of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut common = Vec::new();
        let (mut mine, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            common.extend(a.intersection(*b));
            if a.last < b.last {
                mine.next();
            } else {
                theirs.next();
            }
        }
        Self(common)
    }

    /// Members that lie in `range`.
    #[must_use]
    pub fn within(&self, range: SeqRange) -> Self {
        let start = self.0.partition_point(|held| held.last < range.first);
        let clipped = self.0.iter().skip(start).map_while(|held| held.intersection(range));
        Self(clipped.collect())
    }
}

impl From<SeqRange> for RangeSet {
    fn from(range: SeqRange) -> Self {
        Self(vec![range])
    }
}

impl FromIterator<SeqRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = SeqRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ranges(self.iter(), out)
    }
}

impl fmt::Debug for RangeSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{{{self}}}")
    }
}

/// On the wire: a flat list of distances, `[first₁, count₁ − 1, first₂ − last₁, count₂ − 1, …]`. Small numbers
/// are short in CBOR, and no malformed order can be written down.
impl Serialize for RangeSet {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut end = 0;
        to.collect_seq(self.iter().flat_map(|range| {
            let distance = range.first - end;
            end = range.last;
            [distance, range.last - range.first]
        }))
    }
}

impl<'de> Deserialize<'de> for RangeSet {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = RangeSet;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a list of at most {RANGES_MAX} pairs of distance and length")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<RangeSet, A::Error> {
                use serde::de::Error;
                let (mut ranges, mut end) = (Vec::new(), 0_u64);
                while let Some(distance) = list.next_element::<u64>()? {
                    let more =
                        list.next_element::<u64>()?.ok_or_else(|| A::Error::custom("a range has no end"))?;
                    if ranges.len() == RANGES_MAX {
                        return Err(A::Error::custom(format_args!("more than {RANGES_MAX} ranges")));
                    }
                    // The first range may begin anywhere; a later one that touches its neighbour would be a
                    // second way to write the same set.
                    if distance < 2 && !ranges.is_empty() {
                        return Err(A::Error::custom("ranges touch or overlap"));
                    }
                    let range = end
                        .checked_add(distance)
                        .and_then(|first| Some(SeqRange { first, last: first.checked_add(more)? }))
                        .ok_or_else(|| A::Error::custom("a range ends past the last number"))?;
                    end = range.last;
                    ranges.push(range);
                }
                Ok(RangeSet(ranges))
            }
        }
        from.deserialize_seq(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scattered_set_is_named_in_one_short_line() {
        let every_third = |count: u64| (1..=count).map(|at| SeqRange::only(3 * at)).collect::<RangeSet>();
        assert_eq!(every_third(0).brief().to_string(), "none");
        assert_eq!(RangeSet::from(SeqRange { first: 4, last: 9 }).brief().to_string(), "4–9");
        assert_eq!(every_third(8).brief().to_string(), every_third(8).to_string());
        assert_eq!(every_third(9).brief().to_string(), "3,6,9,12,15,18,21,24 and 1 more");
        assert!(every_third(100_000).brief().to_string().ends_with(" and 99992 more"));
    }
}
