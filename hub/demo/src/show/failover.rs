//! How long devices are without a hub when theirs dies: from the kill to the next reading that another hub acknowledged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_demo::{AgentStatus, http};
use tokio::time::{Instant, sleep};

use super::device::Device;
use super::timeline::Timeline;

/// How often an agent is asked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What takes longer is no fail-over.
const LIMIT: Duration = Duration::from_secs(20);

/// One device's way to another hub.
#[derive(Debug, Clone)]
pub(crate) struct Failover {
    /// Whose.
    pub(crate) device: String,
    /// From which hub.
    pub(crate) from: String,
    /// To which hub.
    pub(crate) to: String,
    /// How long no reading was acknowledged.
    pub(crate) took: Duration,
}

/// All that were seen.
#[derive(Debug, Default)]
pub(crate) struct Failovers(Mutex<Vec<Failover>>);

impl Failovers {
    /// In the order in which they ended.
    pub(crate) fn all(&self) -> Vec<Failover> {
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
        let mut acked_before = None;
        while since.elapsed() < LIMIT {
            if let Ok(status) = http::json::<AgentStatus>(&device.http(), "/status").await {
                let elsewhere = status.is_online() && status.hub != from;
                match acked_before {
                    // What the killed hub had acknowledged may still be counted in the first answers.
                    _ if !elsewhere => acked_before = Some(status.ledger.acked),
                    None => acked_before = Some(status.ledger.acked),
                    Some(before) if status.ledger.acked > before => {
                        let (device, to, took) = (device.name.clone(), status.hub, since.elapsed());
                        let seconds = took.as_secs_f64();
                        timeline.say(&format!(
                            "{device} goes on at {to}: next reading acknowledged after {seconds:.2} s"
                        ));
                        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                        all.push(Failover { device, from, to, took });
                        return;
                    }
                    Some(_) => {}
                }
            }
            sleep(LOOK_EVERY).await;
        }
        timeline.say(&format!("{} found no other hub within {} s", device.name, LIMIT.as_secs()));
    }
}
