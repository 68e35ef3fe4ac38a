//! The window of past changes, oldest first.
//!
//! Promise: whole revisions: a window holds every change after its beginning. Bounded in changes and in bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::limits::{HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX};
use super::range::KeyRange;
use super::store::Slot;
use super::value::KeyValue;

/// One change of one key, as the store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub(crate) slot: Slot,
    pub(crate) previous: Option<Slot>,
}

/// One change of one key, as a watcher sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What stands there from now on. A deleted key has version 0 and no value; its mod revision is that of the deletion.
    pub current: Arc<KeyValue>,
    /// What stood there before, when it is still known.
    pub previous: Option<Arc<KeyValue>>,
}

impl Change {
    /// Whether the key was deleted.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        self.current.version == 0
    }
}

impl Event {
    pub(crate) fn is_delete(&self) -> bool {
        self.slot.value.version == 0
    }

    fn revision(&self) -> u64 {
        self.slot.value.mod_revision
    }

    fn cost_bytes(&self) -> u64 {
        self.slot.value.cost_bytes() + self.previous.as_ref().map_or(0, |slot| slot.value.cost_bytes())
    }

    pub(crate) fn change(&self) -> Change {
        let previous = self.previous.as_ref().map(|slot| Arc::clone(&slot.value));
        Change { current: Arc::clone(&self.slot.value), previous }
    }
}

/// The window.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct History {
    events: VecDeque<Event>,
    bytes: u64,
}

impl History {
    pub(crate) fn push(&mut self, event: Event) {
        self.bytes += event.cost_bytes();
        self.events.push_back(event);
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes = self.bytes.saturating_sub(event.cost_bytes());
        Some(event)
    }

    /// Revision of the oldest change.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.events.front().map(Event::revision)
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.events.len() > HISTORY_EVENTS_MAX || self.bytes > HISTORY_BYTES_MAX
    }

    /// Changes from `revision` on, oldest first.
    pub(crate) fn since(&self, revision: u64) -> impl DoubleEndedIterator<Item = &Event> {
        let first = self.events.partition_point(|event| event.revision() < revision);
        self.events.range(first..)
    }

    /// As [`History::since`], of keys in `range`.
    pub(crate) fn since_in<'a>(
        &'a self,
        revision: u64,
        range: &'a KeyRange,
    ) -> impl DoubleEndedIterator<Item = &'a Event> {
        self.since(revision).filter(|event| range.contains(&event.slot.value.key))
    }
}
