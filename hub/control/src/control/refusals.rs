//! Which refused messages are worth a line of the log.
//!
//! A number that was given up asks several times in a second, for as long as its hub does not know.
//!
//! Promise: the first refusal of a sender for a reason is told, and again every minute while it goes on. Whoever invents senders
//! fills no log: only so many are told in a minute. Absent: refusing.

use std::mem::{Discriminant, discriminant};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::raft::envelope::Rejection;
use crate::raft::member::NodeId;

/// How long the same is not told again.
const SILENCE: Duration = Duration::from_secs(60);
/// Refusals that are told within that time; more than a cluster has nodes.
const TOLD_MAX: usize = 128;

/// What was told of late.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Vec<(NodeId, Discriminant<Rejection>, Instant)>>);

impl Refusals {
    /// Whether it is to be told that a message of `from` was refused.
    pub(crate) fn is_news(&self, from: NodeId, why: &Rejection, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(_, _, at)| now.saturating_duration_since(*at) < SILENCE);
        let kind = discriminant(why);
        let known = told.iter().any(|(sender, reason, _)| *sender == from && *reason == kind);
        let is_news = !known && told.len() < TOLD_MAX;
        if is_news {
            told.push((from, kind, now));
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_told_once_in_a_minute_for_each_sender_and_reason() {
        let (start, refusals) = (Instant::now(), Refusals::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (epoch, node) =
            (Rejection::Epoch { found: 1, expected: 2 }, Rejection::Node { found: 1, expected: 2 });
        let told = (0..600).filter(|n| refusals.is_news(3, &epoch, at(n / 5))).count();
        assert_eq!(told, 2, "two minutes, five in each second");
        assert!(refusals.is_news(3, &node, at(119)) && refusals.is_news(4, &epoch, at(119)));
        let told = (100..9_999).filter(|sender| refusals.is_news(*sender, &epoch, at(119))).count();
        assert!(told <= TOLD_MAX);
        assert!(refusals.is_news(3, &node, at(300)));
    }
}
