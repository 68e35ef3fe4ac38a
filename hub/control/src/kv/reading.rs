//! Reading: now, and at an older revision.
//!
//! Promise: a read at a revision shows exactly what stood there then, as long as that revision is in the window. However many
//! keys a range has, a read looks at no more than it returns, what it counts, and the window.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::command::RangeQuery;
use super::limits::{COUNT_MAX, KEY_OVERHEAD_BYTES, RANGE_BYTES_MAX, RANGE_ROWS_MAX};
use super::outcome::{RangeAnswer, Refusal};
use super::range::KeyRange;
use super::store::Store;
use super::value::KeyValue;

impl Store {
    /// One key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Arc<KeyValue>> {
        self.keys.get(key).map(|slot| Arc::clone(&slot.value))
    }

    /// Keys in a range, now or at `revision`.
    ///
    /// # Errors
    /// [`Refusal::Compacted`] and [`Refusal::Future`] for revisions outside the window.
    pub fn range(&self, query: &RangeQuery, revision: Option<u64>) -> Result<RangeAnswer, Refusal> {
        let newest = self.meta.revision;
        match revision {
            None => Ok(self.range_now(query, newest, RANGE_BYTES_MAX)),
            Some(asked) if asked == newest => Ok(self.range_now(query, newest, RANGE_BYTES_MAX)),
            Some(asked) if asked > newest => Err(Refusal::Future { asked, newest }),
            Some(asked) if asked < self.meta.compacted => {
                Err(Refusal::Compacted { oldest: self.meta.compacted })
            }
            Some(asked) => Ok(self.range_then(query, asked)),
        }
    }

    pub(crate) fn range_now(&self, query: &RangeQuery, revision: u64, bytes_max: usize) -> RangeAnswer {
        answer(self.scan(&query.range), query, revision, bytes_max)
    }

    /// All keys in a range as they stand now, without a limit and without copying them.
    pub(crate) fn scan<'a>(&'a self, range: &KeyRange) -> impl Iterator<Item = &'a Arc<KeyValue>> + use<'a> {
        self.keys.range(range.bounds()).map(|(_, slot)| &slot.value)
    }

    /// Undoes what came later, newest first.
    fn range_then(&self, query: &RangeQuery, revision: u64) -> RangeAnswer {
        let mut undone: BTreeMap<&Bytes, Option<&Arc<KeyValue>>> = BTreeMap::new();
        for event in self.history.since_in(revision + 1, &query.range).rev() {
            undone.insert(&event.slot.value.key, event.previous.as_ref().map(|before| &before.value));
        }
        answer(beside(self.scan(&query.range), undone), query, revision, RANGE_BYTES_MAX)
    }
}

/// The values of now, in the order of their keys, with those put in their place that were others then.
fn beside<'a>(
    now: impl Iterator<Item = &'a Arc<KeyValue>>,
    then: BTreeMap<&'a Bytes, Option<&'a Arc<KeyValue>>>,
) -> impl Iterator<Item = &'a Arc<KeyValue>> {
    let (mut now, mut then) = (now.peekable(), then.into_iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let other = match (now.peek(), then.peek()) {
                (Some(value), Some((key, _))) => value.key.cmp(*key),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            if other.is_lt() {
                return now.next();
            }
            if other.is_eq() {
                now.next();
            }
            if let Some((_, Some(value))) = then.next() {
                return Some(value);
            }
        }
    })
}

fn answer<'a>(
    values: impl Iterator<Item = &'a Arc<KeyValue>>,
    query: &RangeQuery,
    revision: u64,
    bytes_max: usize,
) -> RangeAnswer {
    let limit = if query.limit == 0 { RANGE_ROWS_MAX } else { query.limit.min(RANGE_ROWS_MAX) };
    let mut found = RangeAnswer { revision, ..RangeAnswer::default() };
    let mut bytes = 0;
    for value in values {
        if found.more && found.count >= COUNT_MAX {
            break;
        }
        found.count += 1;
        if found.more {
            continue;
        }
        let content = value.key.len() + if query.keys_only { 0 } else { value.value.len() };
        let size = content as u64 + KEY_OVERHEAD_BYTES;
        if found.entries.len() >= limit || (bytes + size > bytes_max as u64 && !found.entries.is_empty()) {
            found.more = true;
            continue;
        }
        bytes += size;
        let mut value = KeyValue::clone(value);
        if query.keys_only {
            value.value = Bytes::new();
        }
        found.entries.push(value);
    }
    found.count = found.count.min(COUNT_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Command, Op, Txn};

    #[test]
    fn one_key_of_many_is_read_without_counting_all() {
        let mut store = Store::default();
        for hundred in 0..150_u64 {
            let puts = (0..100).map(|n| Op::put(format!("{:08}", hundred * 100 + n), "x")).collect();
            store.apply(&[Command::Txn(Txn { then: puts, ..Txn::default() })]);
        }
        let one = RangeQuery { limit: 1, ..RangeQuery::of(KeyRange::all()) };
        for revision in [None, Some(149)] {
            let found = store.range(&one, revision).unwrap();
            assert_eq!((found.entries.len(), found.more, found.count), (1, true, COUNT_MAX));
        }
        let all = store.range(&RangeQuery::of(KeyRange::all()), None).unwrap();
        assert_eq!((all.entries.len(), all.count), (RANGE_ROWS_MAX, COUNT_MAX));
        let some = RangeQuery { limit: 1, ..RangeQuery::of(KeyRange::prefix("000000")) };
        assert_eq!(store.range(&some, None).unwrap().count, 100);
    }
}
