//! Meters: every figure that the hub shows on `/metrics`.
//!
//! Promise: labels come from small fixed sets, never from what a peer sends.

pub mod cluster;

use cluster::ClusterMeters;
use millrace_host::Clock;
use millrace_host::metrics::{
    COUNTS, Counter, Family, Gauge, Histogram, LabelSet, Metrics, NameTaken, SECONDS,
};

/// By lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, LabelSet)]
pub struct ByLane {
    /// The lane's name.
    pub lane: &'static str,
}

/// By the reason why records were dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, LabelSet)]
pub struct ByReason {
    /// `age` or `budget`.
    pub reason: &'static str,
}

/// By the result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash, LabelSet)]
pub struct ByResult {
    /// `equal` or `different`.
    pub result: &'static str,
}

/// By kind of alarm.
#[derive(Debug, Clone, PartialEq, Eq, Hash, LabelSet)]
pub struct ByKind {
    /// The alarm's kind.
    pub kind: &'static str,
}

/// By the outcome of an enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, LabelSet)]
pub struct ByOutcome {
    /// `granted` or `refused`.
    pub outcome: &'static str,
}

/// The hub's own figures. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Meters {
    /// All of it, to be rendered.
    pub metrics: Metrics,
    /// Open sessions.
    pub sessions: Gauge,
    /// Connections, sessions and handshakes.
    pub connections: Gauge,
    /// Records stored, by lane.
    pub records: Family<ByLane, Counter>,
    /// Bytes of runs received.
    pub received_bytes: Counter,
    /// Commits flushed.
    pub commits: Counter,
    /// Changes per commit.
    pub commit_changes: Histogram,
    /// From asking for a commit to its flush.
    pub commit_seconds: Histogram,
    /// Times that the journal's queue was full.
    pub writer_busy: Counter,
    /// Records that retention dropped, by reason.
    pub dropped: Family<ByReason, Counter>,
    /// Alarms, by kind.
    pub alarms: Family<ByKind, Counter>,
    /// Records that devices declared as lost.
    pub declared: Counter,
    /// Bytes that the store takes.
    pub store_bytes: Gauge,
    /// Bytes written to the store's files since the start.
    pub written_bytes: Gauge,
    /// Comparisons with other holders, by their result.
    pub compared: Family<ByResult, Counter>,
    /// Bytes that the scrub has read and hashed, expanded.
    pub scrubbed_bytes: Counter,
    /// Queries answered, by their time.
    pub query_seconds: Histogram,
    /// Queries refused because too many ran.
    pub queries_refused: Counter,
    /// Enrolments, by outcome.
    pub enrolments: Family<ByOutcome, Counter>,
    /// Certificates renewed.
    pub renewals: Counter,
    /// Followers of new records.
    pub followers: Gauge,
    /// Events that wait for the engine.
    pub waiting_events: Gauge,
    /// How busy the hub finds itself, in thousandths.
    pub load: Gauge,
    /// The cluster.
    pub cluster: ClusterMeters,
}

impl Meters {
    /// All meters at zero.
    ///
    /// # Errors
    /// When two have one name: a fault in the program.
    pub fn new(clock: Clock) -> Result<Self, NameTaken> {
        let metrics = Metrics::new("millrace_hub", clock);
        Ok(Self {
            sessions: metrics.gauge("sessions", "Open sessions of devices")?,
            connections: metrics.gauge("connections", "QUIC connections, handshakes included")?,
            records: metrics.counters("records_stored", "Records stored and flushed, by lane")?,
            received_bytes: metrics.counter("received_bytes", "Bytes of records received from devices")?,
            commits: metrics.counter("commits", "Commits flushed")?,
            commit_changes: metrics.histogram("commit_changes", "Runs and seals in one commit", &COUNTS)?,
            commit_seconds: metrics.histogram(
                "commit_seconds",
                "Time of a commit until its flush",
                &SECONDS,
            )?,
            writer_busy: metrics
                .counter("writer_busy", "Commits that waited because the journal's queue was full")?,
            dropped: metrics.counters(
                "records_dropped",
                "Records dropped by retention: their time was over (age), or the budget used up (budget)",
            )?,
            alarms: metrics.counters("alarms", "Alarms, by kind")?,
            declared: metrics.counter("gap_records", "Records that devices declared as lost")?,
            store_bytes: metrics.gauge("store_bytes", "Bytes that the store takes on disk")?,
            written_bytes: metrics
                .gauge("store_written_bytes", "Bytes written to the store since the start")?,
            compared: metrics.counters("comparisons", "Comparisons with other holders, by their result")?,
            scrubbed_bytes: metrics
                .counter("scrubbed_bytes", "Bytes of records that the scrub has read and hashed")?,
            query_seconds: metrics.histogram("query_seconds", "Time of a query", &SECONDS)?,
            queries_refused: metrics.counter("queries_refused", "Queries refused because too many ran")?,
            enrolments: metrics.counters("enrolments", "Enrolments, by outcome")?,
            renewals: metrics.counter("renewals", "Certificates renewed")?,
            followers: metrics.gauge("followers", "Callers that follow new records")?,
            waiting_events: metrics.gauge("waiting_events", "Events that wait for the engine")?,
            load: metrics.gauge("load_permille", "How busy this hub finds itself, in thousandths")?,
            cluster: ClusterMeters::new(&metrics)?,
            metrics,
        })
    }
}
