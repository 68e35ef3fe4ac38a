//! The metrics of an agent. Names begin with `millrace_agent_`; what each means stands beside it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use millrace_agent_engine::Status;
use millrace_host::metrics::{Counter, Family, Gauge, Metrics, NameTaken};
use prometheus_client::encoding::EncodeLabelSet;

use super::driver::clock_is_uncertain;

/// Which lane, and which part of its ledger.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Entry {
    lane: &'static str,
    state: &'static str,
}

/// The metrics.
pub struct Gauges {
    /// Publications stored and acknowledged.
    pub accepted: Counter,
    /// Publications refused by policy, their loss declared.
    pub rejected: Counter,
    /// Commits flushed.
    pub commits: Counter,
    /// Alarms raised.
    pub alarms: Counter,
    /// Stored bytes that the scrub has read.
    pub scrubbed: Counter,
    ledger: Family<Entry, Gauge<i64, AtomicI64>>,
    used: Gauge,
    written: Gauge,
    session: Gauge,
    restored_records: Gauge,
    restored_bytes: Gauge,
    restore_left: Gauge,
    regained: Gauge,
    regain_left: Gauge,
    balanced: Gauge,
    uncertain: AtomicBool,
    shown: AtomicU64,
}

/// The wall clock's quality is asked for once in this many shows.
const CLOCK_EVERY: u64 = 10;

impl Gauges {
    /// Registers all of them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(metrics: &Metrics) -> Result<Self, NameTaken> {
        Ok(Self {
            accepted: metrics.counter("publications_stored", "publications flushed and then acknowledged")?,
            rejected: metrics
                .counter("publications_rejected", "publications refused by policy, their loss declared")?,
            commits: metrics.counter("commits", "commits flushed")?,
            alarms: metrics.counter("alarms", "alarms raised; the log says which")?,
            scrubbed: metrics.counter("scrubbed_bytes", "stored bytes that the scrub has read and hashed")?,
            ledger: metrics
                .gauges("ledger_records", "what became of every record: ingested = the sum of the others")?,
            used: metrics.gauge("store_used_bytes", "bytes that the store takes on disk")?,
            written: metrics
                .gauge("store_written_bytes", "bytes written to the store's files since the start")?,
            session: metrics.gauge("session_open", "1 while a session with a hub is open")?,
            restored_records: metrics
                .gauge("restored_records", "records of older incarnations that came back from the hubs")?,
            restored_bytes: metrics.gauge("restored_bytes", "bytes of them, as they travelled")?,
            restore_left: metrics.gauge("restore_left_bytes", "bytes that are still to come back, about")?,
            regained: metrics
                .gauge("regained_records", "records that damage took here and that came back from a hub")?,
            regain_left: metrics
                .gauge("regain_left_records", "records that damage took here and that are to come back")?,
            balanced: metrics.gauge("ledger_balanced", "1 while the ledger adds up; 0 is a fault")?,
            uncertain: AtomicBool::new(clock_is_uncertain()),
            shown: AtomicU64::new(0),
        })
    }

    /// Whether the wall clock was not known to be right when last asked.
    #[must_use]
    pub fn clock_is_uncertain(&self) -> bool {
        self.uncertain.load(Ordering::Relaxed)
    }

    /// Shows a status.
    pub fn show(&self, status: &Status) {
        let figure = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for lane in &status.lanes {
            let ledger = lane.ledger;
            let parts = [
                ("ingested", ledger.ingested),
                ("acked", ledger.acked),
                ("pending", ledger.pending),
                ("evicted", ledger.evicted),
                ("rejected", ledger.rejected),
            ];
            for (state, count) in parts {
                let entry = Entry { lane: lane.lane.name(), state };
                self.ledger.get_or_create(&entry).set(figure(count));
            }
        }
        self.used.set(figure(status.disk_used_bytes));
        self.written.set(figure(status.disk_written_bytes));
        self.session.set(i64::from(status.session == "open"));
        self.restored_records.set(figure(status.restoring.records));
        self.restored_bytes.set(figure(status.restoring.bytes));
        self.restore_left.set(figure(status.restoring.left_bytes));
        self.regained.set(figure(status.regaining.records));
        self.regain_left.set(figure(status.regaining.left_records));
        self.balanced.set(i64::from(status.balanced));
        if self.shown.fetch_add(1, Ordering::Relaxed).is_multiple_of(CLOCK_EVERY) {
            self.uncertain.store(clock_is_uncertain(), Ordering::Relaxed);
        }
    }
}
