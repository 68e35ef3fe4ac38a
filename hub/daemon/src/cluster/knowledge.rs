//! What this hub knows of the cluster's decisions: the table and the book of devices, kept current by a watch.
//!
//! ```text
//!  control ──read all, once──▶ knowledge ──▶ table (whoever asks, or waits for the next one)
//!          ══watch millrace/══▶           ──▶ book (the door, names)
//!                                         ──▶ devices that were revoked (the driver)
//! ```
//!
//! Promise: asking never waits; a decision of this hub is known here when its caller hears of it. A watch that fell
//! behind reads everything again, and no revocation is missed by that.
//! Absent: deciding.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use millrace_hub_control::kv::{KeyRange, KeyValue, RangeQuery, Store};
use millrace_hub_control::{Control, ControlError, Level};
use millrace_model::DeviceId;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::keys::{Key, OURS};
use super::table::{Table, read};
use crate::registry::book::{Book, Expelled};

/// How long a decision may take from the leader to here before its caller goes on without it: some round trips.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// What is known. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Knowledge(Arc<Parts>);

struct Parts {
    book: RwLock<Book>,
    table: watch::Sender<Arc<Table>>,
    /// Up to which revision everything is known.
    through: watch::Sender<u64>,
    /// Devices that were revoked or replaced since the driver last asked: one entry for each device at most.
    revoked: Mutex<BTreeMap<DeviceId, Expelled>>,
    has_revoked: Notify,
}

impl Knowledge {
    /// Reads what this node has applied.
    pub(crate) async fn of(control: &Control) -> Result<Self, ControlError> {
        let everything = control.read(Level::Local, all).await?;
        let knowledge = Self::empty();
        knowledge.begin_again(&everything.value, everything.revision);
        // Who was revoked before this process began has no session in it.
        knowledge.take_revoked();
        Ok(knowledge)
    }

    fn empty() -> Self {
        Self(Arc::new(Parts {
            book: RwLock::default(),
            table: watch::Sender::new(Arc::default()),
            through: watch::Sender::new(0),
            revoked: Mutex::default(),
            has_revoked: Notify::new(),
        }))
    }

    /// Keeps it current, for as long as the task is not aborted.
    pub(crate) async fn follow(self, control: Control) {
        loop {
            let next = *self.0.through.borrow() + 1;
            let mut watch = control.watch(KeyRange::prefix(OURS), next);
            while let Ok(batch) = watch.advance().await {
                let changes = batch.changes.iter().map(|change| &change.current);
                let changes = changes.map(|value| (&value.key, standing(value), value.mod_revision));
                self.take_in(None, changes);
                self.0.through.send_replace(batch.through);
            }
            match control.read(Level::Local, all).await {
                Ok(all) => self.begin_again(&all.value, all.revision),
                Err(error) => {
                    tracing::error!(%error, "what the cluster decided cannot be read");
                    return;
                }
            }
        }
    }

    fn begin_again(&self, entries: &[KeyValue], revision: u64) {
        let before = self.book().marks();
        // Known here, and the driver has not heard of them yet.
        let waiting = self.take_revoked();
        let entries = entries.iter().map(|value| (&value.key, standing(value), value.mod_revision));
        self.take_in(Some(Table::default()), entries);
        self.0.through.send_replace(revision);
        // Those that were known to be revoked need not be told again.
        let book = self.book();
        let mut revoked = self.revoked();
        revoked.retain(|device, _| {
            let mark = before.get(device).copied().unwrap_or_default();
            book.device(device).is_some_and(|device| mark.expelled(device).is_some())
        });
        revoked.extend(waiting);
        if !revoked.is_empty() {
            self.0.has_revoked.notify_one();
        }
    }

    /// Takes changes in; with a `table` to begin from, they are everything there is.
    fn take_in<'a>(
        &self,
        mut table: Option<Table>,
        entries: impl Iterator<Item = (&'a Bytes, Option<&'a [u8]>, u64)>,
    ) {
        let mut book = self.write();
        if table.is_some() {
            *book = Book::default();
        }
        for (key, value, revision) in entries {
            let Some(key) = Key::of(key) else { continue };
            match &key {
                Key::Device(id) => match value.and_then(read) {
                    Some(device) => {
                        if let Some(expelled) = book.put_device(device, revision) {
                            self.revoked().insert(*id, expelled);
                        }
                    }
                    None => book.remove_device(id),
                },
                Key::Token(fingerprint) => match value.and_then(read) {
                    Some(token) => book.put_token(token, revision),
                    None => book.remove_token(fingerprint),
                },
                key => {
                    let table = table.get_or_insert_with(|| Table::clone(&self.table()));
                    table.take_in(key, value, revision);
                }
            }
        }
        drop(book);
        if let Some(table) = table {
            self.0.table.send_replace(Arc::new(table));
        }
        if !self.revoked().is_empty() {
            self.0.has_revoked.notify_one();
        }
    }

    /// The table now.
    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.table.borrow())
    }

    /// The table, and every later one.
    pub(crate) fn tables(&self) -> watch::Receiver<Arc<Table>> {
        self.0.table.subscribe()
    }

    /// The devices and tokens.
    pub(crate) fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.0.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Book> {
        self.0.book.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoked(&self) -> std::sync::MutexGuard<'_, BTreeMap<DeviceId, Expelled>> {
        self.0.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_revoked(&self) -> BTreeMap<DeviceId, Expelled> {
        std::mem::take(&mut self.revoked())
    }

    /// Waits for devices that are revoked, or whose place another machine takes, from now on, each once.
    pub(crate) async fn next_revoked(&self) -> BTreeMap<DeviceId, Expelled> {
        loop {
            let revoked = self.take_revoked();
            if !revoked.is_empty() {
                return revoked;
            }
            self.0.has_revoked.notified().await;
        }
    }

    /// Waits until everything up to `revision` is known here, but not for ever: a hub that was cut off right after it was
    /// answered learns of it later.
    pub(crate) async fn caught_up(&self, revision: u64) {
        let mut through = self.0.through.subscribe();
        let known = through.wait_for(|through| *through >= revision);
        if timeout(CATCHING_UP, known).await.is_err() {
            tracing::warn!(revision, "what was decided has not come back to this hub yet");
        }
    }
}

fn standing(value: &KeyValue) -> Option<&[u8]> {
    (value.version > 0).then_some(&*value.value)
}

/// All keys of the program's own. One look, so that they fit together.
fn all(store: &Store) -> Vec<KeyValue> {
    let mut found: Vec<KeyValue> = Vec::new();
    let mut range = KeyRange::prefix(OURS);
    loop {
        let Ok(page) = store.range(&RangeQuery::of(range.clone()), None) else { return found };
        let more = page.more;
        found.extend(page.entries);
        let (Some(last), true) = (found.last(), more) else { return found };
        // The first key behind the last one.
        let start = Bytes::from([&last.key[..], b"\0"].concat());
        let KeyRange::Between { end, .. } = range else { return found };
        range = KeyRange::Between { start, end };
    }
}

#[cfg(test)]
mod tests {
    use millrace_link::KeyHash;
    use millrace_model::Wall;

    use super::*;
    use crate::cluster::keys;
    use crate::registry::{Device, Revocation};

    /// A device as it stands under its key since `revision`; revoked when there is a reason.
    fn device(number: u8, reason: Option<&str>, revision: u64) -> KeyValue {
        let id = DeviceId::from_bytes([number; 16]);
        let device = Device {
            id,
            name: format!("press-{number}"),
            labels: BTreeMap::new(),
            key: KeyHash::from_bytes([number; 32]),
            certificates: Vec::new(),
            enrolled_at: Wall(0),
            last_seen: None,
            software: String::new(),
            revoked: reason.map(|reason| Revocation { at: Wall(0), reason: reason.to_owned() }),
            replaced: None,
        };
        KeyValue {
            key: keys::device(&id),
            value: serde_json::to_vec(&device).unwrap().into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: 0,
        }
    }

    #[tokio::test]
    async fn a_revocation_that_nobody_took_yet_outlives_reading_everything_again() {
        let knowledge = Knowledge::empty();
        knowledge.begin_again(&[device(1, None, 1), device(2, None, 1), device(3, Some("sold"), 1)], 1);
        assert_eq!(knowledge.next_revoked().await.into_keys().next(), Some(DeviceId::from_bytes([3; 16])));
        let stolen = device(1, Some("stolen"), 2);
        knowledge.take_in(None, std::iter::once((&stolen.key, standing(&stolen), 2)));
        knowledge.begin_again(&[stolen, device(2, Some("lost"), 3), device(3, Some("sold"), 1)], 3);
        let revoked: Vec<Expelled> = knowledge.next_revoked().await.into_values().collect();
        let expected = ["stolen", "lost"].map(|reason| Expelled::Revoked(reason.to_owned()));
        assert_eq!(revoked, expected, "and who was told of before is not told of again");
    }
}
