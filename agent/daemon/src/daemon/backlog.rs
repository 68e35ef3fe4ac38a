//! The backlog: what waits for a hub, measured beside the writer.
//!
//! Promise: reads three rows and one record per lane, whatever the size of the backlog; never writes.
//! Absent: what is shipped when (the engine's).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_agent_engine::Status;
use millrace_host::times::rfc3339;
use millrace_host::{Clock, Shutdown};
use millrace_journal::{Options, ReadError, Reader};
use millrace_model::{JournalId, Seq, SeqRange, Wall};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

/// How often scrapers get a new measure. Fifteen seconds between scrapes are usual.
const EVERY: Duration = Duration::from_secs(10);

/// Page cache of the connection that measures: the rows of a few journals.
const CACHE_BYTES: u64 = 64 << 10;

/// What waits for a hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Backlog {
    /// Records that are stored here and that no hub has acknowledged.
    pub records: u64,
    /// Bytes that they take in the store, about: the share of their journal.
    pub bytes: u64,
    /// When the oldest of them arrived, by this device's clock.
    #[serde(serialize_with = "as_text")]
    pub oldest: Option<Wall>,
    /// How long ago that was.
    pub oldest_age_s: Option<u64>,
}

fn as_text<S: serde::Serializer>(wall: &Option<Wall>, serializer: S) -> Result<S::Ok, S::Error> {
    wall.map(rfc3339).serialize(serializer)
}

impl Backlog {
    /// Without what hubs have acknowledged and the store has not noted yet: it notes acks with the next commit, and the
    /// engine, by which `pending` records wait, knows them at once.
    #[must_use]
    fn of(self, pending: u64) -> Self {
        if pending == 0 {
            return Self::default();
        }
        let records = self.records.min(pending);
        let bytes = u128::from(self.bytes) * u128::from(records) / u128::from(self.records.max(1));
        Self { records, bytes: u64::try_from(bytes).unwrap_or(u64::MAX), ..self }
    }
}

/// Measures the backlog. Cheap to clone.
#[derive(Clone)]
pub struct Gauging {
    reader: Arc<Mutex<Reader>>,
    clock: Clock,
    latest: Arc<Mutex<Option<Backlog>>>,
}

impl Gauging {
    /// Over the store at `path`, which must be there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(
        path: &std::path::Path,
        options: &Options,
        clock: Clock,
    ) -> Result<Self, millrace_journal::OpenError> {
        let options = Options { page_cache_bytes: CACHE_BYTES, ..options.clone() };
        let reader = Arc::new(Mutex::new(Reader::open(path, &options)?));
        Ok(Self { reader, clock, latest: Arc::default() })
    }

    /// The backlog when it was measured last, if it was.
    #[must_use]
    pub fn latest(&self) -> Option<Backlog> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backlog now, by an engine for which `pending` records wait; the latest measure when the store cannot be read.
    pub async fn now(&self, pending: u64) -> Backlog {
        let gauging = self.clone();
        let measured = tokio::task::spawn_blocking(move || {
            let reader = gauging.reader.lock().unwrap_or_else(PoisonError::into_inner);
            measure(&reader, gauging.clock.wall()).map(|backlog| backlog.of(pending))
        });
        match measured.await {
            Ok(Ok(backlog)) => *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(backlog),
            Ok(Err(error)) => tracing::warn!(%error, "the backlog cannot be measured"),
            // Only when the process ends.
            Err(_) => {}
        }
        self.latest().unwrap_or_default()
    }

    /// Measures again and again, until `shutdown`; `status` is the engine's.
    pub async fn run(self, status: Arc<Mutex<Status>>, shutdown: Shutdown) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // Not at once: the engine's status is renewed every second, and the first one knows of nothing.
        ticks.reset();
        loop {
            tokio::select! {
                () = shutdown.triggered() => return,
                _ = ticks.tick() => {
                    let pending = status.lock().unwrap_or_else(PoisonError::into_inner).ledger.pending;
                    self.now(pending).await;
                }
            }
        }
    }
}

fn measure(reader: &Reader, now: Wall) -> Result<Backlog, ReadError> {
    let mut backlog = Backlog::default();
    for journal in reader.journals()? {
        let waiting = journal.present.difference(&journal.acked);
        let Some(first) = waiting.first() else { continue };
        let (count, present) = (waiting.count(), journal.present.count().max(1));
        let share = u128::from(journal.stored_bytes) * u128::from(count) / u128::from(present);
        backlog.records += count;
        backlog.bytes = backlog.bytes.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
        if let Some(arrived) = arrival(reader, &journal.journal, first) {
            backlog.oldest = Some(backlog.oldest.map_or(arrived, |oldest| oldest.min(arrived)));
        }
    }
    // A clock that was set back makes no negative ages.
    backlog.oldest_age_s =
        backlog.oldest.map(|oldest| u64::try_from(now.0.saturating_sub(oldest.0)).unwrap_or(0) / 1_000_000);
    Ok(backlog)
}

/// When the record at `seq` arrived. A damaged one has no time; whoever ships it will see to the damage.
fn arrival(reader: &Reader, journal: &JournalId, seq: Seq) -> Option<Wall> {
    let mut arrived = None;
    let read = reader.each(journal, SeqRange::only(seq), |_, record| {
        arrived = Some(record.wall);
        false
    });
    read.ok().and(arrived)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millrace_journal::{Author, Store};
    use millrace_model::store::Change;
    use millrace_model::{DeviceId, Incarnation, Lane, RangeSet, Record, Topic};

    use super::*;

    #[test]
    fn the_backlog_is_what_no_hub_has_and_its_age_that_of_the_oldest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        let author =
            Author { device: DeviceId::from_bytes([1; 16]), incarnation_if_new: Incarnation::new(7) };
        let options = Options::agent(author);
        let mut store = Store::open(&path, &options).unwrap();
        let reader = Reader::open(&path, &options).unwrap();
        assert_eq!(measure(&reader, Wall(0)).unwrap(), Backlog::default());
        let record = |second: i64| {
            let payload = Bytes::from(vec![b'x'; 300]);
            Record::data(Topic::new("a/b").unwrap(), payload, Wall(second * 1_000_000), 0)
        };
        for lane in [Lane::Normal, Lane::Bulk] {
            store.commit(1, &[Change::Append { lane, records: (10..20).map(record).collect() }]).unwrap();
        }
        let normal = store.journals().into_iter().find(|state| state.journal.lane == Lane::Normal).unwrap();
        let whole = measure(&reader, Wall(100_000_000)).unwrap();
        assert_eq!((whole.records, whole.oldest_age_s), (20, Some(90)));
        let bulk = store.journals().into_iter().find(|state| state.journal.lane == Lane::Bulk).unwrap();
        for (journal, through) in [(normal.journal, 4), (bulk.journal, 2)] {
            let ranges: RangeSet = [SeqRange::new(1, through).unwrap()].into_iter().collect();
            store.commit(2, &[Change::Acknowledge { journal, ranges }]).unwrap();
        }
        let rest = measure(&reader, Wall(100_000_000)).unwrap();
        assert_eq!((rest.records, rest.oldest, rest.oldest_age_s), (14, Some(Wall(12_000_000)), Some(88)));
        assert!(rest.bytes > 0 && rest.bytes < whole.bytes, "{rest:?} of {whole:?}");
        assert_eq!(measure(&reader, Wall(0)).unwrap().oldest_age_s, Some(0), "a clock that was set back");
        let acked = rest.of(7);
        assert_eq!((acked.records, acked.bytes), (7, rest.bytes / 2), "acks that are not noted yet");
        assert_eq!((rest.of(0), rest.of(99)), (Backlog::default(), rest));
    }
}
