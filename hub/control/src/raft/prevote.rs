//! Who may campaign, and when.
//!
//! openraft 0.9 knows no pre-vote: a node that was cut off campaigns on its own, comes back with a higher term, and its
//! refusal of the leader's next message unseats a leader that everybody else still follows. So its own campaigns are switched
//! off (`enable_elect`), and a node asks first: only when a majority also misses the leader for a whole lease, and has
//! nothing newer than the candidate, it campaigns (Ongaro's thesis, 4.2.3 and 9.6). Voters refuse real votes within the lease
//! too; openraft does that.
//!
//! Promise: a node that is cut off does not raise its term, however often it tries. Absent: asking (`control/pulse.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::codec::{CodecError, Decoder, Encoder};
use crate::raft::coding::{put_log_id, take_log_id};
use crate::raft::consensus::LogId;
use crate::raft::member::NodeId;

/// When this node tries next.
#[derive(Debug)]
pub(crate) struct Campaign {
    rng: fastrand::Rng,
    lease: Duration,
    spread: Duration,
    not_before: Option<Instant>,
}

impl Campaign {
    pub(crate) fn new(seed: u64, lease: Duration, spread: Duration) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), lease, spread, not_before: None }
    }

    /// Whether a node that heard of its leader `age` ago asks the others now. Each draws its own patience, so that one of them
    /// is first.
    pub(crate) fn is_due(&mut self, age: Duration, now: Instant) -> bool {
        if age <= self.lease {
            self.not_before = None;
            return false;
        }
        let drawn = self.not_before;
        let at = drawn.unwrap_or_else(|| now + self.patience());
        self.not_before = Some(at);
        if now < at {
            return false;
        }
        // The next try: after a vote could have come to its end.
        self.not_before = Some(now + self.spread / 2 + self.patience());
        true
    }

    fn patience(&mut self) -> Duration {
        self.spread.mul_f64(self.rng.f64())
    }
}

/// Whether `granted` is a majority of every configuration.
pub(crate) fn is_majority(configs: &[BTreeSet<NodeId>], granted: &BTreeSet<NodeId>) -> bool {
    !configs.is_empty()
        && configs.iter().all(|config| config.intersection(granted).count() > config.len() / 2)
}

/// What a voter knows when it is asked.
pub(crate) struct Witnessed {
    /// How long ago it heard of a leader, or, leading itself, of a majority.
    pub(crate) leader_age: Duration,
    /// The last entry of its log.
    pub(crate) last: Option<LogId>,
}

/// Whether a voter would vote for a candidate whose log ends with `last`.
pub(crate) fn grants(voter: &Witnessed, last: Option<LogId>, lease: Duration) -> bool {
    voter.leader_age > lease && last >= voter.last
}

pub(crate) fn encode(last: Option<LogId>) -> bytes::Bytes {
    let mut to = Encoder::default();
    put_log_id(&mut to, last.as_ref());
    to.finish()
}

pub(crate) fn decode(bytes: bytes::Bytes) -> Result<Option<LogId>, CodecError> {
    let mut from = Decoder::new(bytes);
    let last = take_log_id(&mut from)?;
    from.end()?;
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::consensus::log_id;

    const LEASE: Duration = Duration::from_secs(1);

    #[test]
    fn a_vote_is_granted_only_without_a_leader_and_to_a_log_that_is_not_older() {
        let voter = |age_ms, last| Witnessed { leader_age: Duration::from_millis(age_ms), last };
        let newest = Some(log_id(3, 9));
        assert!(grants(&voter(1_001, newest), newest, LEASE));
        assert!(!grants(&voter(1_000, newest), newest, LEASE));
        assert!(!grants(&voter(9_000, newest), Some(log_id(2, 99)), LEASE));
        assert!(grants(&voter(9_000, None), None, LEASE));
    }

    #[test]
    fn a_majority_is_one_of_the_old_and_of_the_new_voters() {
        let joint: [BTreeSet<NodeId>; 2] = [[1, 2, 3].into(), [3, 4, 5].into()];
        assert!(!is_majority(&joint, &[1, 2, 3].into()));
        assert!(is_majority(&joint, &[2, 3, 4].into()));
        assert!(!is_majority(&[], &[1].into()));
        assert!(!is_majority(&[[1, 2].into()], &[1].into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_waits_for_its_own_patience_and_a_leader_that_is_heard_ends_it() {
        let now = Instant::now();
        let mut campaign = Campaign::new(7, LEASE, LEASE);
        assert!(!campaign.is_due(LEASE, now));
        let due: Vec<u64> = (0..8_000_u64)
            .filter(|ms| {
                campaign.is_due(LEASE + Duration::from_millis(ms + 1), now + Duration::from_millis(*ms))
            })
            .collect();
        assert!(due.len() >= 5 && due[0] <= 1_000, "{due:?}");
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] >= 500), "{due:?}");
        assert!(!campaign.is_due(Duration::ZERO, now + Duration::from_secs(60)));
    }
}
