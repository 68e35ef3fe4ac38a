//! Routes: which local subscriber gets which message.
//!
//! Promise: publishing takes no lock while subscriptions stay as they are: a connection keeps the table that it read
//! and asks one atomic number whether it is still the current one. A slow subscriber never holds up a publisher: what its
//! outbox cannot take is dropped and counted.
//! Absent: readings' way to the disk. A subscriber sees a reading when it arrives, not when it is flushed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::retained::Retained;
use crate::mqtt::filter::Filter;
use crate::mqtt::packet::Qos;
use crate::mqtt::status::{StatusHandle, count};

/// A message on its way to one subscriber.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Forward {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
}

/// A message as it was published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// The session that published it, if it was a client.
    pub(super) by: Option<u64>,
}

/// One granted subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Route {
    pub(super) filter: Filter,
    pub(super) qos: Qos,
    pub(super) no_local: bool,
    pub(super) keep_retain_flag: bool,
}

/// One session's subscriptions and the way to it.
#[derive(Clone, Debug)]
struct Subscriber {
    routes: Vec<Route>,
    outbox: mpsc::Sender<Forward>,
}

/// All subscriptions at one moment.
#[derive(Debug, Default)]
pub(super) struct Table {
    version: u64,
    subscribers: BTreeMap<u64, Subscriber>,
}

/// The current table and the retained messages.
#[derive(Debug)]
pub(super) struct Routes {
    table: Mutex<Arc<Table>>,
    version: AtomicU64,
    retained: Mutex<Retained>,
    status: StatusHandle,
}

/// A lock whose holder cannot leave things half done: nothing between lock and unlock panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Routes {
    pub(super) fn new(retained_topics_max: usize, retained_bytes_max: usize, status: StatusHandle) -> Self {
        Self {
            table: Mutex::default(),
            version: AtomicU64::new(0),
            retained: Mutex::new(Retained::new(retained_topics_max, retained_bytes_max)),
            status,
        }
    }

    /// The current table.
    pub(super) fn table(&self) -> Arc<Table> {
        Arc::clone(&lock(&self.table))
    }

    /// Replaces a table that is no longer the current one.
    pub(super) fn refresh(&self, table: &mut Arc<Table>) {
        if self.version.load(Ordering::Acquire) != table.version {
            *table = self.table();
        }
    }

    /// Sets the subscriptions of a session; none removes it from the table.
    pub(super) fn set(&self, session: u64, routes: Vec<Route>, outbox: &mpsc::Sender<Forward>) {
        let mut current = lock(&self.table);
        let mut subscribers = current.subscribers.clone();
        if routes.is_empty() {
            subscribers.remove(&session);
        } else {
            subscribers.insert(session, Subscriber { routes, outbox: outbox.clone() });
        }
        self.replace(&mut current, subscribers);
    }

    /// Forgets a session's subscriptions.
    pub(super) fn remove(&self, session: u64) {
        let mut current = lock(&self.table);
        if current.subscribers.contains_key(&session) {
            let mut subscribers = current.subscribers.clone();
            subscribers.remove(&session);
            self.replace(&mut current, subscribers);
        }
    }

    fn replace(&self, current: &mut Arc<Table>, subscribers: BTreeMap<u64, Subscriber>) {
        let version = current.version + 1;
        *current = Arc::new(Table { version, subscribers });
        self.version.store(version, Ordering::Release);
    }

    /// Sends a message to whoever subscribed to its topic, each at most once, and retains it if asked to.
    pub(super) fn forward(&self, table: &Table, sent: &Sent<'_>) {
        if sent.retain && !lock(&self.retained).keep(sent.topic, sent.payload, sent.qos) {
            tracing::warn!(topic = sent.topic, "no room to retain this message; it still became a reading");
        }
        // Made when the first subscriber is found: most readings have none.
        let mut shared: Option<(Arc<str>, Bytes)> = None;
        for (session, subscriber) in &table.subscribers {
            let own = sent.by == Some(*session);
            let covering =
                subscriber.routes.iter().filter(|r| !(own && r.no_local) && r.filter.covers(sent.topic));
            let Some((qos, keep)) =
                covering.map(|r| (r.qos, r.keep_retain_flag)).reduce(|a, b| (a.0.max(b.0), a.1 | b.1))
            else {
                continue;
            };
            // A copy: the payload is a slice of a read buffer that must not live as long as a slow subscriber.
            let (topic, payload) =
                shared.get_or_insert_with(|| (sent.topic.into(), Bytes::copy_from_slice(sent.payload)));
            let forward = Forward {
                topic: Arc::clone(topic),
                payload: payload.clone(),
                qos: qos.min(sent.qos).min(Qos::AtLeastOnce),
                retain: sent.retain && keep,
            };
            if subscriber.outbox.try_send(forward).is_err() {
                count(&self.status.counters().forwards_dropped, 1);
            }
        }
    }

    /// Sends the retained messages that a new subscription covers.
    pub(super) fn send_retained(&self, route: &Route, outbox: &mpsc::Sender<Forward>) {
        for (topic, payload, qos) in lock(&self.retained).covered(&route.filter) {
            let qos = qos.min(route.qos).min(Qos::AtLeastOnce);
            let forward = Forward { topic: topic.into(), payload: payload.clone(), qos, retain: true };
            if outbox.try_send(forward).is_err() {
                count(&self.status.counters().forwards_dropped, 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(filter: &str, qos: Qos) -> Route {
        Route { filter: Filter::new(filter).unwrap(), qos, no_local: false, keep_retain_flag: false }
    }

    fn sent<'a>(topic: &'a str, payload: &'a Bytes, retain: bool) -> Sent<'a> {
        Sent { topic, payload, qos: Qos::ExactlyOnce, retain, by: None }
    }

    #[test]
    fn overlapping_subscriptions_get_one_copy_with_the_best_qos() {
        let routes = Routes::new(8, 1_024, StatusHandle::new());
        let (outbox, mut got) = mpsc::channel(4);
        routes.set(1, vec![route("a/#", Qos::AtMostOnce), route("a/+", Qos::AtLeastOnce)], &outbox);
        routes.forward(&routes.table(), &sent("a/b", &Bytes::from_static(b"x"), false));
        assert_eq!(got.try_recv().unwrap().qos, Qos::AtLeastOnce);
        assert!(got.try_recv().is_err());
    }

    #[test]
    fn a_full_outbox_drops_counts_and_does_not_wait() {
        let status = StatusHandle::new();
        let routes = Routes::new(8, 1_024, status.clone());
        let (outbox, _kept) = mpsc::channel(1);
        routes.set(1, vec![route("#", Qos::AtMostOnce)], &outbox);
        for _ in 0..3 {
            routes.forward(&routes.table(), &sent("a", &Bytes::from_static(b"x"), false));
        }
        assert_eq!(status.snapshot().forwards_dropped_total, 2);
    }

    #[test]
    fn a_held_table_notices_a_new_subscription() {
        let routes = Routes::new(8, 1_024, StatusHandle::new());
        let mut held = routes.table();
        let (outbox, mut got) = mpsc::channel(1);
        routes.set(1, vec![route("#", Qos::AtMostOnce)], &outbox);
        routes.refresh(&mut held);
        routes.forward(&held, &sent("a", &Bytes::from_static(b"x"), false));
        assert!(got.try_recv().is_ok());
    }

    #[test]
    fn a_later_subscriber_gets_the_retained_message_with_its_flag() {
        let routes = Routes::new(8, 1_024, StatusHandle::new());
        routes.forward(&routes.table(), &sent("a", &Bytes::from_static(b"x"), true));
        let (outbox, mut got) = mpsc::channel(1);
        routes.send_retained(&route("#", Qos::AtLeastOnce), &outbox);
        assert!(got.try_recv().unwrap().retain);
    }
}
