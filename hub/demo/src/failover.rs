//! How long an agent is without a hub when its own dies.
//!
//! Promise: what the dead hub had acknowledged counts for nothing: the clock runs until another hub acknowledges one more reading.
//! Absent: readings. Somebody must publish all the time, or the clock runs until somebody does.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::patience::LOOK_EVERY;
use crate::{AgentStatus, http};

/// An agent's way to another hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// The hub that acknowledges now.
    pub to: String,
    /// How long no reading was acknowledged, as exact as [`LOOK_EVERY`].
    pub took: Duration,
}

/// Follows an agent, asked at `http`, whose hub `from` was killed at `since`. `None`: no other hub acknowledged within `limit`.
pub async fn follow(http: &str, from: &str, since: Instant, limit: Duration) -> Option<Failover> {
    let mut before = None;
    while since.elapsed() < limit {
        // An agent that does not answer now is asked again.
        if let Ok(status) = http::json::<AgentStatus>(http, "/status").await {
            let acked = status.ledger.acked;
            let is_elsewhere = status.is_online() && status.hub != from;
            // What the dead hub had acknowledged may still be counted in the first answers.
            match before.filter(|_| is_elsewhere) {
                Some(before) if acked > before => {
                    return Some(Failover { to: status.hub, took: since.elapsed() });
                }
                Some(_) => {}
                None => before = Some(acked),
            }
        }
        sleep(LOOK_EVERY).await;
    }
    None
}
