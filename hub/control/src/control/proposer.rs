//! Many proposals in one entry, and proposals for the leader.
//!
//! Promise: what waits when the pipeline has room goes into one entry, and each caller gets its own outcome. A proposal is sent
//! once; it is sent again only when it certainly had no effect. Absent: order between callers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::ControlError;
use super::handle::Inner;
use super::standing::Standing;
use crate::kv::limits::COMMAND_BYTES_MAX;
use crate::kv::{Command, Outcome, Refusal, coding};
use crate::raft::consensus::Batch;
use crate::raft::envelope::{Kind, Rejection};
use crate::raft::member::{Member, NodeId};
use crate::raft::network::WireError;
use crate::raft::transport::TransportError;

// Whatever is gathered here or comes from a follower has room in an entry, with the byte that says what it is.
const _: () = assert!(coding::BATCH_BYTES_MAX < millrace_journal::decisions::ENTRY_BYTES_MAX);

/// What is said to whoever asked for more than a message takes.
const LEFT_OUT: &str = "it was done, but the answer is too large to be passed on: read in smaller pieces";

type Reply = oneshot::Sender<Result<Outcome, ControlError>>;

/// A command that waits.
pub(crate) struct Proposal {
    command: Bytes,
    reply: Reply,
}

/// Queues a command and waits for its outcome.
pub(crate) async fn propose(inner: &Inner, command: &Command) -> Result<Outcome, ControlError> {
    command.check()?;
    let command = coding::encode_command(command);
    if command.len() > COMMAND_BYTES_MAX {
        return Err(ControlError::TooLarge { bytes: command.len(), limit: COMMAND_BYTES_MAX });
    }
    // Asked here too, so that a refusal does not wait behind what is under way.
    inner.standing()?;
    let (reply, heard) = oneshot::channel();
    inner.proposals.try_send(Proposal { command, reply }).map_err(|refused| match refused {
        TrySendError::Full(_) => ControlError::Overloaded,
        TrySendError::Closed(_) => ControlError::Stopped("it was closed".to_owned()),
    })?;
    heard.await.unwrap_or_else(|_| Err(ControlError::Unknown("this node was closed".to_owned())))
}

/// Takes proposals and sends them on, for as long as the node is open.
pub(crate) async fn run(inner: Arc<Inner>, mut waiting: mpsc::Receiver<Proposal>) {
    let pipeline = Arc::new(Semaphore::new(inner.options.pipeline.max(1)));
    let mut left_over = None;
    while let Ok(room) = Arc::clone(&pipeline).acquire_owned().await {
        let first = match left_over.take() {
            Some(proposal) => proposal,
            None => match waiting.recv().await {
                Some(proposal) => proposal,
                None => return,
            },
        };
        // Whoever was answered just now asks again at once: let them, so that they share the entry.
        tokio::task::yield_now().await;
        let (commands, replies) = gather(&inner, first, &mut waiting, &mut left_over);
        let batch = coding::encode_batch(&commands);
        send(&inner, batch, replies, room).await;
    }
}

/// As much as waits and one entry takes.
fn gather(
    inner: &Inner,
    first: Proposal,
    waiting: &mut mpsc::Receiver<Proposal>,
    left_over: &mut Option<Proposal>,
) -> (Vec<Bytes>, Vec<Reply>) {
    let limit = inner.options.batch_commands.clamp(1, coding::BATCH_COMMANDS_MAX);
    let bytes_max = inner.options.batch_bytes.min(COMMAND_BYTES_MAX);
    let mut bytes = first.command.len();
    let (mut commands, mut replies) = (vec![first.command], vec![first.reply]);
    while commands.len() < limit {
        let Ok(next) = waiting.try_recv() else { break };
        if bytes + next.command.len() > bytes_max {
            *left_over = Some(next);
            break;
        }
        bytes += next.command.len();
        commands.push(next.command);
        replies.push(next.reply);
    }
    (commands, replies)
}

async fn send(inner: &Arc<Inner>, batch: Bytes, replies: Vec<Reply>, room: OwnedSemaphorePermit) {
    let deadline = Instant::now() + inner.options.patience;
    match inner.standing() {
        Err(error) => answer(replies, Err(error)),
        Ok(Standing::Lead) => {
            // Handed over here, so that entries stand in the order of their batches.
            let written = inner.raft.client_write_ff(Batch(batch)).await;
            tokio::spawn(async move {
                let outcome = match written {
                    Ok(written) => timeout_at(deadline, written).await,
                    Err(error) => return answer(replies, Err(ControlError::Stopped(error.to_string()))),
                };
                let outcome = match outcome {
                    Ok(Ok(Ok(written))) => Ok(written.data.0.into_iter().map(Some).collect()),
                    Ok(Ok(Err(error))) => Err(unknown(&error)),
                    Ok(Err(_)) => Err(ControlError::Unknown("this node stopped".to_owned())),
                    Err(_) => Err(ControlError::Unknown("no majority has answered in time".to_owned())),
                };
                drop(room);
                answer(replies, outcome);
            });
        }
        Ok(Standing::Follow(leader, member)) => {
            let inner = Arc::clone(inner);
            tokio::spawn(async move {
                let outcome = forward(&inner, leader, member, batch, deadline).await;
                drop(room);
                answer(replies, outcome);
            });
        }
    }
}

/// An entry that was handed over may be committed by the next leader even when this one had to give up.
fn unknown<N: openraft::NodeId, M: openraft::Node>(error: &ClientWriteError<N, M>) -> ControlError {
    ControlError::Unknown(format!("the leader changed meanwhile ({error})"))
}

/// Gives each caller its outcome; none: it was too large for the way here.
fn answer(replies: Vec<Reply>, outcome: Result<Vec<Option<Outcome>>, ControlError>) {
    match outcome {
        Ok(outcomes) if outcomes.len() == replies.len() => {
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                let outcome = match outcome {
                    Some(Outcome::Refused(refusal)) => Err(refusal.into()),
                    Some(outcome) => Ok(outcome),
                    None => Err(ControlError::Unknown(LEFT_OUT.to_owned())),
                };
                // A caller that does not wait any more needs no answer.
                let _ = reply.send(outcome);
            }
        }
        Ok(outcomes) => {
            let what = format!("{} outcomes came for {} commands", outcomes.len(), replies.len());
            answer(replies, Err(ControlError::Unknown(what)));
        }
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

/// Sends a batch to the leader; again, while it certainly had no effect and there is time.
async fn forward(
    inner: &Inner,
    mut leader: NodeId,
    mut member: Member,
    batch: Bytes,
    deadline: Instant,
) -> Result<Vec<Option<Outcome>>, ControlError> {
    loop {
        let call = inner.wire.call(leader, &member, Kind::Propose, batch.clone());
        let refused = match timeout_at(deadline, call).await {
            Err(_) => return Err(ControlError::Unknown("the leader has not answered in time".to_owned())),
            Ok(Ok(outcomes)) => {
                return coding::decode_outcomes(outcomes)
                    .map_err(|error| ControlError::Unknown(error.to_string()));
            }
            Ok(Err(
                WireError::Transport(TransportError::Unreachable(_))
                | WireError::Rejected(Rejection::NotLeader),
            )) => Rejection::NotLeader,
            Ok(Err(WireError::Rejected(rejection))) => rejection,
            Ok(Err(error)) => return Err(ControlError::Unknown(error.to_string())),
        };
        match refused {
            Rejection::NotLeader if Instant::now() < deadline => sleep(inner.options.heartbeat / 4).await,
            Rejection::Overloaded => return Err(ControlError::Overloaded),
            Rejection::Unknown(why) => return Err(ControlError::Unknown(why)),
            Rejection::Invalid(why) => {
                let why = format!("the leader, node {leader}, does not take it: {why}");
                return Err(Refusal::Invalid(why).into());
            }
            other => return Err(ControlError::NoQuorum { reason: format!("node {leader} says: {other}") }),
        }
        match inner.standing()? {
            Standing::Follow(next, at) => (leader, member) = (next, at),
            // Elected meanwhile: it writes it itself.
            Standing::Lead => {
                let left = deadline.saturating_duration_since(Instant::now());
                return Ok(write(inner, batch, left).await?.into_iter().map(Some).collect());
            }
        }
    }
}

/// Writes a batch as leader and waits for its outcomes.
pub(crate) async fn write(
    inner: &Inner,
    batch: Bytes,
    patience: Duration,
) -> Result<Vec<Outcome>, ControlError> {
    match timeout(patience, inner.raft.client_write(Batch(batch))).await {
        Ok(Ok(written)) => Ok(written.data.0),
        Ok(Err(RaftError::APIError(error))) => Err(unknown(&error)),
        Ok(Err(RaftError::Fatal(error))) => Err(ControlError::Unknown(format!("this node stopped: {error}"))),
        Err(_) => Err(ControlError::Unknown("no majority has answered in time".to_owned())),
    }
}
