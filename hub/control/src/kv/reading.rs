//! Reading: now, and at an older revision.
//!
//! Promise: a read at a revision shows exactly what stood there then, as long as that revision is in the window.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::command::RangeQuery;
use super::limits::{RANGE_BYTES_MAX, RANGE_ROWS_MAX};
use super::outcome::{RangeAnswer, Refusal};
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
        let values = self.keys.range(query.range.bounds()).map(|(_, slot)| &slot.value);
        answer(values, query, revision, bytes_max)
    }

    /// Undoes what came later, newest first.
    fn range_then(&self, query: &RangeQuery, revision: u64) -> RangeAnswer {
        let now = self.keys.range(query.range.bounds());
        let mut then: BTreeMap<&Bytes, &Arc<KeyValue>> = now.map(|(key, slot)| (key, &slot.value)).collect();
        for event in self.history.since_in(revision + 1, &query.range).rev() {
            let key = &event.slot.value.key;
            match &event.previous {
                Some(before) => then.insert(key, &before.value),
                None => then.remove(key),
            };
        }
        answer(then.into_values(), query, revision, RANGE_BYTES_MAX)
    }
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
        found.count += 1;
        if found.more {
            continue;
        }
        let size = value.key.len() + if query.keys_only { 0 } else { value.value.len() };
        if found.entries.len() >= limit || (bytes + size > bytes_max && !found.entries.is_empty()) {
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
    found
}
