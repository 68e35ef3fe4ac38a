//! Probing: how far the other hubs are, and keeping on disk what is known of all.
//!
//! Promise: a probe is a handshake and nothing more; no hub takes it for a session. On a metered road there are none.

use std::sync::Arc;
use std::time::Duration;

use millrace_host::Shutdown;
use millrace_link::{CloseCode, Standing};
use tokio::time::{MissedTickBehavior, interval};

use super::watch::MEASURED;
use super::{Target, Uplink};

/// How often to look whether a probe is due.
const LOOK: Duration = Duration::from_secs(1);

/// News of hubs are collected for so long before they are written: a flash is not to be worn by them.
const COLLECT: Duration = Duration::from_secs(1);

impl Uplink {
    /// Measures other hubs while there is a session, until `shutdown`.
    pub async fn probe(self: Arc<Self>, shutdown: Shutdown) {
        if self.metered {
            return;
        }
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.triggered() => return,
                _ = looks.tick() => {}
            }
            let present =
                self.present().as_ref().filter(|present| present.welcomed).map(|present| present.hub);
            let renewing = matches!(self.standing(), Standing::Grace { .. } | Standing::Lost);
            let Some(hub) = present.filter(|_| !renewing) else { continue };
            let target = self.hubs().probe(hub, self.clock.moment());
            if let Some(target) = target {
                tokio::select! {
                    () = shutdown.triggered() => return,
                    () = self.measure(&target) => {}
                }
            }
        }
    }

    async fn measure(&self, target: &Target) {
        match self.reach(target).await {
            Ok(way) => {
                tracing::debug!(hub = way.connection.peer().name, rtt = ?way.connection.rtt(), "measured a road");
                way.connection.close(CloseCode::Measured, MEASURED);
            }
            Err(end) => {
                tracing::debug!(reason = end.reason, "a road cannot be measured");
                if let Target::Hub(hub) = target {
                    self.hubs().routes().failed(*hub, self.clock.moment());
                }
            }
        }
    }

    /// Keeps news of hubs for the next start, until `shutdown`.
    pub async fn keep_news(self: Arc<Self>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.triggered() => return,
                () = self.news.notified() => {}
            }
            tokio::select! {
                () = shutdown.triggered() => return,
                () = tokio::time::sleep(COLLECT) => {}
            }
            self.keep().await;
        }
    }

    /// Writes down what is known of hubs.
    pub(super) async fn keep(&self) {
        let (memory, places) = (self.hubs().memory(self.clock.moment()), self.places.clone());
        let kept = tokio::task::spawn_blocking(move || places.remember(&memory)).await;
        let failure = match kept {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(failure, "what is known of hubs could not be kept for the next start");
    }
}
