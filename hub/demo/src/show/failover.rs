//! How long devices are without a hub when theirs dies, for the summary.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_demo::failover::{Failover, follow};
use tokio::time::Instant;

use super::device::Device;
use super::timeline::Timeline;

/// What takes longer is no fail-over.
const LIMIT: Duration = Duration::from_secs(20);

/// One device's way to another hub.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    /// Whose.
    pub(crate) device: String,
    /// From which hub.
    pub(crate) from: String,
    /// Where to, and how long it took.
    pub(crate) way: Failover,
}

/// All that were seen.
#[derive(Debug, Default)]
pub(crate) struct Failovers(Mutex<Vec<Move>>);

impl Failovers {
    /// In the order in which they ended.
    pub(crate) fn all(&self) -> Vec<Move> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows a device whose hub was killed at `since`, until another one acknowledges.
    pub(crate) async fn follow(
        &self,
        device: Arc<Device>,
        from: String,
        since: Instant,
        timeline: Arc<Timeline>,
    ) {
        let name = &device.name;
        let Some(way) = follow(&device.http(), &from, since, LIMIT).await else {
            return timeline.say(&format!("{name} found no other hub within {} s", LIMIT.as_secs()));
        };
        let (to, took) = (&way.to, way.took.as_secs_f64());
        timeline.say(&format!("{name} goes on at {to}: next reading acknowledged after {took:.2} s"));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Move { device: name.clone(), from, way });
    }
}
