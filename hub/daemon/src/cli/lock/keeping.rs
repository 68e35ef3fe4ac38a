//! A lease that is kept alive for as long as this process holds, or waits for, a lock.
//!
//! ```text
//!  grant ──a third of its life──▶ renew ──▶ renewed: a third of its life again
//!                                   └─────▶ failed, or not answered in time: again, 100 ms later, until it counts as lost
//! ```
//!
//! Promise: it counts as lost a tenth of its life before it is over, counted from when its last renewal was asked for; until then no
//! single failure, and no request that hangs, keeps it from being renewed.
//! Absent: what the lease is for.

use std::time::Duration;

use millrace_host::config::Span;
use millrace_host::{Exit, Failure};
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::cli::look::number;
use crate::client::{Client, encoded};

/// How often a lease is renewed within its life.
const RENEWALS: u32 = 3;
/// What is left of a lease's life when it counts as lost: the command must be gone before it is over.
const MARGIN: u32 = 10;
/// The part of a lease's life that a command gets to end by itself once the lock is lost: half of what is left then.
const GRACE: u32 = 2 * MARGIN;
/// How long a command may take to end when nothing is lost and this process was told to end: its lease lives on meanwhile, and so
/// at most until the lease would count as lost. Giving it up may take as long.
const FAREWELL: Duration = Duration::from_secs(10);
/// Pause after a try to renew that failed.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The part of a lease's life that one try may take: a hub that lost its leader answers another try when there is a new one.
const TRY: u32 = 5;
/// What a try may take in any case: hubs on two continents need a few round trips.
const TRY_MIN: Duration = Duration::from_millis(500);

/// A lease that is kept alive.
pub(super) struct Keeping {
    client: Client,
    lease: u64,
    ttl: Duration,
    /// When it is over, at the earliest.
    over: Instant,
}

/// When a lease counts as lost.
fn lost_at(ttl: Duration, over: Instant) -> Instant {
    over - ttl / MARGIN
}

/// When the next try to renew begins, and until when it may take; `failed`: the last one, which ended now, did.
fn next_try(now: Instant, failed: bool, ttl: Duration, over: Instant) -> (Instant, Instant) {
    let pause = if failed { PAUSE_MIN } else { (ttl / RENEWALS).max(PAUSE_MIN) };
    let lost = lost_at(ttl, over);
    let begins = (now + pause).min(lost);
    (begins, (begins + (ttl / TRY).max(TRY_MIN)).min(lost))
}

impl Keeping {
    /// Asks for a lease.
    ///
    /// # Errors
    /// What the hub says.
    pub(super) async fn begin(client: Client, ttl: Span) -> Result<Self, Failure> {
        let asked = Instant::now();
        let granted = client.post("/v1/leases", &json!({ "ttl": ttl })).await?;
        let ttl = Duration::from_millis(number(&granted, "ttl_ms"));
        Ok(Self { client, lease: number(&granted, "lease"), ttl, over: asked + ttl })
    }

    /// Its number.
    pub(super) const fn lease(&self) -> u64 {
        self.lease
    }

    /// Renews it again and again; ends when it is lost, with why.
    pub(super) async fn keep(&mut self) -> String {
        let mut failed = false;
        loop {
            let (begins, until) = next_try(Instant::now(), failed, self.ttl, self.over);
            sleep_until(begins).await;
            let asked = Instant::now();
            let why = match timeout_at(until, self.renew()).await {
                Ok(Ok(())) => {
                    (self.over, failed) = (asked + self.ttl, false);
                    continue;
                }
                Ok(Err(failure)) if failure.exit == Exit::Usage => return failure.message,
                Ok(Err(failure)) => failure.message,
                Err(_) => "the hub did not renew its lease in time".to_owned(),
            };
            if Instant::now() >= lost_at(self.ttl, self.over) {
                return why;
            }
            tracing::debug!(why, "the lease is not renewed yet");
            failed = true;
        }
    }

    /// Renews it once. [`Exit::Usage`]: the lease is over.
    async fn renew(&self) -> Result<(), Failure> {
        let path = format!("/v1/leases/{}/renew", self.lease);
        self.client.post(&path, &json!({})).await.map(drop)
    }

    /// Whether the hub says that it is over.
    pub(super) async fn is_over(&self) -> bool {
        self.renew().await.is_err_and(|failure| failure.exit == Exit::Usage)
    }

    /// How long a command may take to end by itself.
    pub(super) fn grace(&self, lost: bool) -> Duration {
        let short = self.ttl / GRACE;
        if lost {
            return short;
        }
        let safe = lost_at(self.ttl, self.over).saturating_duration_since(Instant::now());
        FAREWELL.min(safe).max(short)
    }

    /// Gives up the lock `name` and the lease.
    pub(super) async fn end(&self, name: &str) {
        let giving_up = async {
            let _ = self.client.delete(&format!("/v1/locks/{}?lease={}", encoded(name), self.lease)).await;
            let _ = self.client.delete(&format!("/v1/leases/{}", self.lease)).await;
        };
        // What is not given up ends with the lease.
        let _ = timeout(FAREWELL, giving_up).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Renews a lease of ten seconds whose hub cannot from `from` to `to` ms; when it is renewed next, or `None` when it is lost.
    fn renewed(from: u64, to: u64, hangs: bool) -> Option<u64> {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let (ttl, over) = (Duration::from_secs(10), at(10_000));
        let (mut now, mut failed) = (begun, false);
        loop {
            let (begins, until) = next_try(now, failed, ttl, over);
            if begins >= lost_at(ttl, over) {
                return None;
            }
            if begins < at(from) || begins >= at(to) {
                return u64::try_from((begins - begun).as_millis()).ok();
            }
            (now, failed) = (if hangs { until } else { begins }, true);
        }
    }

    #[test]
    fn a_renewal_that_fails_is_tried_again_until_the_lease_counts_as_lost() {
        assert_eq!(renewed(0, 0, false), Some(3_333), "every third of its life");
        let soon = renewed(3_000, 5_000, false).unwrap();
        assert!((5_000..5_101).contains(&soon), "a new leader came after two seconds: {soon}");
        let hung = renewed(3_000, 5_000, true).unwrap();
        assert!((5_000..7_101).contains(&hung), "a request that hangs is given up: {hung}");
        assert_eq!(renewed(3_000, 9_000, false), None);
        assert!(renewed(3_000, 8_800, false).is_some(), "the last tries come shortly before");
    }

    #[test]
    fn no_try_takes_longer_than_until_the_lease_counts_as_lost() {
        let now = Instant::now();
        let (ttl, over) = (Duration::from_secs(1), now + Duration::from_millis(300));
        assert_eq!(next_try(now, true, ttl, over).1, over - Duration::from_millis(100));
        assert_eq!(next_try(over, false, ttl, over).0, over - Duration::from_millis(100));
    }
}
