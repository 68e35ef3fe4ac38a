//! What is read at the moment of a scrape: the road, the certificate, MQTT, and the last measure of the backlog.
//!
//! Absent: waiting and disks; a scrape only reads memory.

use std::fmt;
use std::sync::Arc;

use millrace_host::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use super::backlog::Gauging;
use super::uplink::Uplink;
use crate::mqtt::StatusHandle;

/// The sources.
pub struct Scrape {
    /// The road and the certificate.
    pub uplink: Arc<Uplink>,
    /// MQTT's counters.
    pub mqtt: StatusHandle,
    /// The backlog.
    pub gauging: Gauging,
}

impl Scrape {
    /// Shows the sources on `/metrics`.
    pub fn show_on(self, metrics: &Metrics) {
        metrics.collect(Box::new(self));
    }

    /// Name without prefix, meaning, value; what is not known is left out, since a zero would be a lie.
    fn figures(&self) -> Vec<(&'static str, &'static str, f64)> {
        let (link, mqtt) = (self.uplink.figures(), self.mqtt.snapshot());
        let mut figures = vec![
            (
                "certificate_expiry_timestamp_seconds",
                "When this device's certificate ends, seconds since 1970",
                signed(self.uplink.certificate().not_after_s),
            ),
            ("mqtt_connected", "1 while MQTT is connected, or listens", f64::from(u8::from(mqtt.connected))),
            ("mqtt_clients", "Clients of the embedded broker", float(mqtt.clients)),
        ];
        if let Some(backlog) = self.gauging.latest() {
            let age = float(backlog.oldest_age_s.unwrap_or(0));
            figures.extend([
                ("backlog_records", "Records that no hub has acknowledged", float(backlog.records)),
                ("backlog_bytes", "Bytes that they take in the store, about", float(backlog.bytes)),
                ("backlog_oldest_age_seconds", "Age of the oldest of them", age),
            ]);
        }
        if link.rtt_ms > 0.0 {
            figures.push(("hub_rtt_seconds", "Smoothed round trip to the hub", link.rtt_ms / 1_000.0));
        }
        figures
    }
}

/// Exact up to 2^53, which neither bytes nor seconds reach.
#[allow(clippy::cast_precision_loss)]
const fn float(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss)]
const fn signed(seconds: i64) -> f64 {
    seconds as f64
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in self.figures() {
            let gauge = ConstGauge::new(value);
            let name = format!("millrace_agent_{name}");
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scrape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scrape").finish_non_exhaustive()
    }
}
