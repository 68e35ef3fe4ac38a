//! A picture of the plant: what one look at all its status pages shows.

use std::time::Duration;

use millrace_demo::{AgentStatus, http, hub};
use millrace_host::Clock;
use tokio::time::Instant;

use super::device::Device;
use super::stage::Stage;

/// A status page that takes longer belongs to a process that is busy dying.
const LOOK_LIMIT: Duration = Duration::from_millis(800);

/// One device, now.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) name: String,
    /// `open`, `offline`, …, `killed`, or empty when it did not answer.
    pub(crate) session: String,
    pub(crate) cut: bool,
    /// Settled publications.
    pub(crate) published: u64,
    /// Settled publications per second since the picture before.
    pub(crate) rate: u64,
    /// Age of the newest record at the hub.
    pub(crate) lag: Option<Duration>,
    /// The hub of its session.
    pub(crate) hub: String,
    /// Bytes on the road, both ways.
    pub(crate) road_bytes: u64,
    /// Bytes per second since the picture before.
    pub(crate) road_rate: u64,
    pub(crate) status: AgentStatus,
}

/// Takes pictures.
pub(crate) struct Camera {
    clock: Clock,
    at: Instant,
    last: Vec<View>,
}

impl Camera {
    pub(crate) fn new() -> Self {
        Self { clock: Clock::system(), at: Instant::now(), last: Vec::new() }
    }

    /// Looks at every device.
    pub(crate) async fn shoot(&mut self, stage: &Stage) -> Vec<View> {
        let span = self.at.elapsed().as_secs_f64().max(0.001);
        self.at = Instant::now();
        let mut views = Vec::with_capacity(stage.devices.len());
        for (number, device) in stage.devices.iter().enumerate() {
            let mut view = self.look(stage, device).await;
            if let Some(before) = self.last.get(number) {
                view.rate = per_second(view.published.saturating_sub(before.published), span);
                view.road_rate = per_second(view.road_bytes.saturating_sub(before.road_bytes), span);
                if view.session.is_empty() || view.session == "killed" {
                    view.status = before.status.clone();
                }
                view.lag = view.lag.or(before.lag);
            }
            views.push(view);
        }
        self.last.clone_from(&views);
        views
    }

    async fn look(&self, stage: &Stage, device: &Device) -> View {
        let page = async {
            let address = device.http();
            http::json::<AgentStatus>(&address, "/status").await.unwrap_or_default()
        };
        let status = tokio::time::timeout(LOOK_LIMIT, page).await.unwrap_or_default();
        let near = stage.sites.iter().find(|site| site.name == status.hub && site.is_alive());
        let near = near.or_else(|| stage.sites.iter().find(|site| site.is_alive()));
        let newest = match near {
            Some(site) => {
                let http = site.http();
                let found = tokio::time::timeout(LOOK_LIMIT, hub::newest(&http, &device.id)).await;
                found.ok().and_then(Result::ok).flatten()
            }
            None => None,
        };
        let (up, down) = device.traffic();
        View {
            name: device.name.clone(),
            session: if device.is_alive() { status.session.clone() } else { "killed".to_owned() },
            cut: device.is_cut(),
            hub: status.hub.clone(),
            published: device.publisher.settled() as u64,
            rate: 0,
            lag: newest.map(|record| {
                let age_us = self.clock.wall().0.saturating_sub(record.wall_us);
                Duration::from_micros(u64::try_from(age_us).unwrap_or(0))
            }),
            road_bytes: up + down,
            road_rate: 0,
            status,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rate for people"
)]
fn per_second(count: u64, seconds: f64) -> u64 {
    (count as f64 / seconds) as u64
}

/// Bytes as people read them.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

/// A time span as people read it.
pub(crate) fn span(span: Option<Duration>) -> String {
    match span {
        None => "–".to_owned(),
        Some(span) if span < Duration::from_secs(1) => format!("{} ms", span.as_millis()),
        Some(span) => format!("{:.1} s", span.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!((bytes(512), bytes(12_345)), ("512 B".into(), "12.3 kB".into()));
        assert_eq!(bytes(12_345_678), "12.3 MB");
        assert_eq!(span(Some(Duration::from_millis(42))), "42 ms");
        assert_eq!((span(Some(Duration::from_millis(4_240))), span(None)), ("4.2 s".into(), "–".into()));
        assert_eq!(per_second(50, 0.5), 100);
    }
}
