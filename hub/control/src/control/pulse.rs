//! What happens without being asked: campaigns, the end of leases, snapshots of a log that has grown large.
//!
//! Absent: deciding. `raft/prevote.rs` and `lease_clock.rs` decide.

use std::collections::BTreeSet;
use std::sync::Arc;

use openraft::ServerState;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::handle::Inner;
use super::proposer;
use super::standing::Standing;
use crate::kv::{Command, coding};
use crate::raft::consensus::Membership;
use crate::raft::envelope::Kind;
use crate::raft::member::NodeId;
use crate::raft::prevote::{self, Campaign};

/// Ends of leases that are proposed together, in one beat; the others follow in the next.
const ENDS_MAX: usize = 1_024;

/// Beats until the node is closed or its consensus has stopped.
pub(crate) async fn run(inner: Arc<Inner>, seed: u64) {
    let mut beat = interval(inner.options.heartbeat / 4);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut campaign = Campaign::new(seed, inner.options.lease, inner.options.spread);
    let mut snapshot_at = inner.options.snapshot_log_bytes;
    loop {
        beat.tick().await;
        let metrics = inner.raft.metrics().borrow().clone();
        if let Err(error) = &metrics.running_state {
            tracing::error!(%error, "the consensus has stopped: this process must end, the next one verifies");
            return;
        }
        if let Some(error) = inner.log.failed() {
            tracing::error!(%error, "the decision log has failed: this node leaves the consensus, the process must end");
            if let Err(error) = inner.raft.shutdown().await {
                tracing::error!(%error, "the consensus did not stop cleanly");
            }
            return;
        }
        let leads = metrics.state == ServerState::Leader;
        end_leases(&inner, leads.then_some(metrics.current_term));
        let membership = metrics.membership_config.membership();
        let votes = membership.voter_ids().any(|voter| voter == inner.id);
        if !leads && votes {
            let alone = membership.voter_ids().count() == 1;
            if (alone && metrics.state != ServerState::Candidate)
                || campaign.is_due(inner.age(), Instant::now())
            {
                stand_for_election(&inner, membership).await;
            }
        }
        snapshot_at = look_after_log(&inner, snapshot_at).await;
    }
}

/// Proposes the end of leases that are over.
fn end_leases(inner: &Arc<Inner>, term: Option<u64>) {
    let now = Instant::now();
    let due = {
        let store = inner.shared.store();
        let mut clock = inner.leases.of(&store);
        clock.observe(term, &store, now);
        if inner.age() > inner.options.lease {
            return;
        }
        clock.take_due(now, ENDS_MAX)
    };
    if let Some(term) = term.filter(|_| !due.is_empty()) {
        tokio::spawn(end(Arc::clone(inner), term, due));
    }
}

/// Ends leases, as the leader of a term. What became of the first try may be unknown, and the end may be decided at any later
/// moment of the term: it is tried again when a majority follows, which is harmless, and nobody renews them meanwhile. A leader
/// of another term counts anew, and a leader that was unseated asks nobody else to end what may have been renewed there.
async fn end(inner: Arc<Inner>, term: u64, leases: Vec<u64>) {
    let ends = leases.iter().map(|lease| coding::encode_command(&Command::Revoke { lease: *lease }));
    let batch = coding::encode_batch(&ends.collect::<Vec<_>>());
    loop {
        let metrics = inner.raft.metrics().borrow().clone();
        let leads = metrics.state == ServerState::Leader && metrics.current_term == term;
        if !leads || metrics.running_state.is_err() {
            return;
        }
        if matches!(inner.standing(), Ok(Standing::Lead)) {
            match proposer::write(&inner, batch.clone(), inner.options.patience).await {
                Ok(_) => return,
                Err(error) => tracing::debug!(%error, "whether leases have ended is unknown"),
            }
        }
        sleep(inner.options.heartbeat).await;
    }
}

/// Asks the other voters, and campaigns when a majority would vote for this node.
async fn stand_for_election(inner: &Arc<Inner>, membership: &Membership) {
    let configs: &[BTreeSet<NodeId>] = membership.get_joint_config();
    let mut granted: BTreeSet<NodeId> = [inner.id].into();
    let mut asked = JoinSet::new();
    for (node, member) in membership.nodes() {
        if *node == inner.id || !configs.iter().any(|config| config.contains(node)) {
            continue;
        }
        let (inner, node, member) = (Arc::clone(inner), *node, member.clone());
        asked.spawn(async move {
            let body = prevote::encode(inner.log.last());
            let call = inner.wire.call(node, &member, Kind::PreVote, body);
            let answer = timeout(inner.options.heartbeat, call).await;
            answer.is_ok_and(|answer| answer.is_ok_and(|body| body.first() == Some(&1))).then_some(node)
        });
    }
    while !prevote::is_majority(configs, &granted) {
        match asked.join_next().await {
            Some(Ok(Some(node))) => drop(granted.insert(node)),
            Some(_) => {}
            None => return,
        }
    }
    tracing::info!(id = inner.id, "no leader is heard, and a majority agrees: asking for votes");
    if let Err(error) = inner.raft.trigger().elect().await {
        tracing::warn!(%error, "the consensus does not take part");
    }
}

/// Makes a snapshot when the log has grown past `snapshot_at` bytes; returns when to look again.
async fn look_after_log(inner: &Inner, snapshot_at: u64) -> u64 {
    let limit = inner.options.snapshot_log_bytes;
    let bytes = inner.log.unpurged_bytes();
    if bytes < snapshot_at {
        // Purged meanwhile: the limit holds again.
        return if bytes < limit { limit } else { snapshot_at };
    }
    if let Err(error) = inner.raft.trigger().snapshot().await {
        tracing::warn!(%error, "no snapshot is made");
    }
    bytes + limit / 2
}
