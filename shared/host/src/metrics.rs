//! Metrics: one registry per daemon, written out in OpenMetrics text.
//!
//! Promise: every metric of a daemon begins with the daemon's own prefix (`millrace_agent_…`), and the
//! process's own figures (`process_…`) are read at the moment of the scrape.
//! Absent: no pushing and no aggregation; whoever watches scrapes `/metrics`. A name registered twice is
//! refused, since a scrape that shows it twice is unreadable as a whole.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Metric, Registry};

pub use prometheus_client::encoding::{EncodeLabelSet as LabelSet, EncodeLabelValue as LabelValue};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;

use crate::clock::Clock;

/// The media type of what [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Buckets in seconds for waits between a flush (0.1 ms) and a slow link (a minute).
pub const SECONDS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0];

/// Buckets for counts of records in a batch, up to a segment's 1,024 and beyond.
pub const COUNTS: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0];

/// A histogram family; each of its histograms has the same buckets.
pub type HistogramFamily<L> = Family<L, Histogram, fn() -> Histogram>;

/// A daemon's metrics. Cheap to clone; clones share one registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug)]
struct Shelf {
    registry: Registry,
    prefix: &'static str,
    names: BTreeSet<String>,
}

/// Two parts of a daemon asked for the same metric name. A fault in the program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the metric `{name}` is registered twice; give one of the two another name")]
pub struct NameTaken {
    name: String,
}

impl Metrics {
    /// A registry whose metrics begin with `prefix` (`millrace_agent`), with the process's own figures.
    #[must_use]
    pub fn new(prefix: &'static str, clock: Clock) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessFigures { clock }));
        let shelf = Shelf { registry, prefix, names: BTreeSet::new() };
        Self { shelf: Arc::new(Mutex::new(shelf)) }
    }

    /// A count that only grows. OpenMetrics appends `_total` to its name.
    ///
    /// # Errors
    /// [`NameTaken`], as for all that follow.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, NameTaken> {
        self.register(name, help, Counter::default())
    }

    /// A figure that goes up and down.
    ///
    /// # Errors
    /// [`NameTaken`]
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, NameTaken> {
        self.register(name, help, Gauge::default())
    }

    /// A distribution over fixed upper bounds, such as [`SECONDS`].
    ///
    /// # Errors
    /// [`NameTaken`]
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, NameTaken> {
        self.register(name, help, Histogram::new(bounds.iter().copied()))
    }

    /// Counters that differ by labels. Label values must come from a small fixed set (lanes, reasons),
    /// never from what a peer sends.
    ///
    /// # Errors
    /// [`NameTaken`]
    pub fn counters<L: Labels>(&self, name: &str, help: &str) -> Result<Family<L, Counter>, NameTaken> {
        self.register(name, help, Family::default())
    }

    /// Gauges that differ by labels; see [`Metrics::counters`].
    ///
    /// # Errors
    /// [`NameTaken`]
    pub fn gauges<L: Labels>(&self, name: &str, help: &str) -> Result<Family<L, Gauge>, NameTaken> {
        self.register(name, help, Family::default())
    }

    /// Histograms over [`SECONDS`] that differ by labels; see [`Metrics::counters`].
    ///
    /// # Errors
    /// [`NameTaken`]
    pub fn durations<L: Labels>(&self, name: &str, help: &str) -> Result<HistogramFamily<L>, NameTaken> {
        self.register(name, help, Family::new_with_constructor(seconds_histogram as fn() -> Histogram))
    }

    /// Any other metric of prometheus-client.
    ///
    /// # Errors
    /// [`NameTaken`]
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> Result<M, NameTaken> {
        let mut shelf = self.lock();
        let full = format!("{}_{name}", shelf.prefix);
        if !shelf.names.insert(full.clone()) {
            return Err(NameTaken { name: full });
        }
        // The library ends every help text with a full stop of its own.
        shelf.registry.register(full, help.trim_end_matches('.'), metric.clone());
        Ok(metric)
    }

    /// A source that is asked at each scrape; it chooses whole names itself.
    pub fn collect(&self, source: Box<dyn Collector>) {
        self.lock().registry.register_collector(source);
    }

    /// All metrics as OpenMetrics text; serve it as [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.lock().registry).is_err() {
            // Writing to a string does not fail; a collector's own fault would leave half a page.
            text.clear();
            let _ = text.write_str("# EOF\n");
        }
        text
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a set of labels must be: small, ordered by value, safe to share. Derive prometheus-client's
/// `EncodeLabelSet` and the standard traits.
pub trait Labels: Clone + Eq + Hash + Debug + EncodeLabelSet + Send + Sync + 'static {}

impl<T: Clone + Eq + Hash + Debug + EncodeLabelSet + Send + Sync + 'static> Labels for T {}

fn seconds_histogram() -> Histogram {
    Histogram::new(SECONDS)
}

#[derive(Debug)]
struct ProcessFigures {
    clock: Clock,
}

impl Collector for ProcessFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let uptime = self.clock.moment().0 / 1_000_000;
        let figures = [
            ("process_resident_memory_bytes", "Memory that the process holds in RAM", resident_bytes()),
            ("process_open_fds", "File descriptors that the process holds open", open_files()),
            ("process_uptime_seconds", "Seconds since the process began", Some(uptime)),
        ];
        for (name, help, value) in figures {
            // What /proc does not show is left out: a gap in a chart is true, a zero is not.
            let Some(value) = value.and_then(|value| i64::try_from(value).ok()) else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// Bytes of RAM that this process holds, or `None` where `/proc` does not say.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    resident_from(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_from(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

/// File descriptors that this process holds open, or `None` where `/proc` does not say.
#[must_use]
pub fn open_files() -> Option<u64> {
    u64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use millrace_model::Wall;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
    struct Lane {
        lane: &'static str,
    }

    fn metrics() -> Metrics {
        Metrics::new("millrace_agent", Clock::manual(Wall(0)).0)
    }

    #[test]
    fn a_scrape_shows_every_kind_under_the_daemons_prefix() {
        let metrics = metrics();
        metrics.counter("ingested", "Records taken in.").unwrap().inc_by(3);
        metrics.gauge("backlog_bytes", "Bytes not yet acknowledged").unwrap().set(-0x10);
        metrics.histogram("batch_records", "Records per commit", &COUNTS).unwrap().observe(5.0);
        let lanes = metrics.counters::<Lane>("evicted", "Records evicted").unwrap();
        lanes.get_or_create(&Lane { lane: "bulk" }).inc();
        let waits = metrics.durations::<Lane>("commit_seconds", "Time of a commit").unwrap();
        waits.get_or_create(&Lane { lane: "urgent" }).observe(0.002);

        let text = metrics.render();
        for line in [
            "# HELP millrace_agent_ingested Records taken in.",
            "millrace_agent_ingested_total 3",
            "millrace_agent_backlog_bytes -16",
            "millrace_agent_batch_records_bucket{le=\"16.0\"} 1",
            "millrace_agent_evicted_total{lane=\"bulk\"} 1",
            "millrace_agent_commit_seconds_bucket{le=\"0.005\",lane=\"urgent\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_process_shows_its_own_figures() {
        let text = metrics().render();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_uptime_seconds"] {
            assert!(text.contains(name), "{text}");
        }
        assert!(resident_bytes().unwrap() > 100_000);
        assert_eq!(resident_from("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(resident_from("Name:\tx\n"), None);
    }

    #[test]
    fn a_name_is_given_once() {
        let metrics = metrics();
        metrics.counter("ingested", "Records").unwrap();
        let error = metrics.clone().gauge("ingested", "Records").unwrap_err();
        assert!(error.to_string().contains("millrace_agent_ingested"), "{error}");
    }
}
