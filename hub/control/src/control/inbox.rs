//! What other nodes ask.
//!
//! Promise: a message of another cluster, for another node, or of a data directory that the cluster does not know is refused
//! before it is looked at. Whose connection this node cannot tell yet, because it was just added or because the other was, may
//! send what leaders and candidates send, and ask a leader for nothing. What the leader is asked to write is read in full before
//! it is proposed: no bytes enter the log that a node could not understand, nor more than an entry takes.

use bytes::Bytes;
use openraft::ServerState;
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::AppendEntriesResponse;
use tokio::time::Instant;

use super::error::ControlError;
use super::handle::{Control, Inner};
use super::standing::Standing;
use super::{membership, proposer, reading};
use crate::codec::{CodecError, Decoder, Encoder};
use crate::kv::{Refusal, coding as commands};
use crate::raft::coding;
use crate::raft::envelope::{Kind, Rejection, Request, encode_answer};
use crate::raft::member::NodeId;
use crate::raft::prevote::{self, Witnessed};
use crate::raft::transport::MESSAGE_BYTES_MAX;

/// What stands around an answer.
const ENVELOPE_BYTES: usize = 16;

impl From<CodecError> for Rejection {
    fn from(error: CodecError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// What an error here means to who asked.
fn reject(error: ControlError) -> Rejection {
    match error {
        ControlError::NoQuorum { .. } => Rejection::NoQuorum,
        ControlError::Overloaded => Rejection::Overloaded,
        // A node that stopped may have written it before.
        ControlError::Unknown(why) | ControlError::Stopped(why) => Rejection::Unknown(why),
        ControlError::Membership(why) => Rejection::Invalid(why),
        other => Rejection::Invalid(other.to_string()),
    }
}

/// As [`reject`], for what writes nothing: there a node that stopped just leads no more.
fn reject_reading(error: ControlError) -> Rejection {
    match error {
        ControlError::Stopped(_) => Rejection::NotLeader,
        other => reject(other),
    }
}

fn stopped(error: &dyn std::fmt::Display) -> Rejection {
    Rejection::Invalid(format!("this node has stopped taking part: {error}"))
}

impl Inner {
    pub(crate) async fn receive(&self, peer: Option<NodeId>, bytes: Bytes) -> Bytes {
        let answer = match Request::decode(bytes) {
            Ok(request) => match self.check(peer, &request) {
                Ok(()) => self.serve(request).await,
                Err(rejection) => {
                    if self.refusals.is_news(request.from, &rejection, Instant::now()) {
                        tracing::warn!(from = request.from, ?peer, %rejection, "messages are refused");
                    }
                    Err(rejection)
                }
            },
            Err(error) => Err(error.into()),
        };
        encode_answer(answer)
    }

    fn check(&self, peer: Option<NodeId>, request: &Request) -> Result<(), Rejection> {
        if request.epoch != self.epoch {
            return Err(Rejection::Epoch { found: request.epoch, expected: self.epoch });
        }
        if request.to != self.id {
            return Err(Rejection::Node { found: request.to, expected: self.id });
        }
        match peer {
            Some(peer) if peer != request.from => {
                return Err(Rejection::Sender { claimed: request.from, peer });
            }
            // A follower asks again until this node has applied who it is.
            None if !matches!(request.kind, Kind::Append | Kind::Vote | Kind::Snapshot | Kind::PreVote) => {
                return Err(Rejection::NotLeader);
            }
            Some(_) | None => {}
        }
        let (node, found, expected) = (self.id, request.to_incarnation, self.incarnation);
        if found != expected {
            return Err(Rejection::Incarnation { node, found, expected });
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        match metrics.membership_config.membership().get_node(&request.from) {
            Some(member) if member.incarnation != request.from_incarnation => Err(Rejection::Incarnation {
                node: request.from,
                found: request.from_incarnation,
                expected: member.incarnation,
            }),
            // A node that was just added knows nobody yet.
            _ => Ok(()),
        }
    }

    async fn serve(&self, request: Request) -> Result<Bytes, Rejection> {
        let body = request.body;
        match request.kind {
            Kind::Append => self.append(body).await,
            Kind::Vote => {
                let request = coding::decode_vote_request(body)?;
                let voted = self.raft.vote(request).await.map_err(|error| stopped(&error))?;
                Ok(coding::encode_voted(&voted))
            }
            Kind::Snapshot => {
                let request = coding::decode_snapshot_chunk(body)?;
                let now = Instant::now();
                match self.raft.install_snapshot(request).await {
                    Ok(installed) => {
                        self.contact.leader_spoke(now);
                        Ok(coding::encode_snapshot_answer(&installed.vote))
                    }
                    Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(_))) => {
                        Err(Rejection::OutOfStep)
                    }
                    Err(RaftError::Fatal(error)) => Err(stopped(&error)),
                }
            }
            Kind::PreVote => Ok(Bytes::from(vec![u8::from(self.would_vote(prevote::decode(body)?))])),
            Kind::Propose => self.write_for_follower(body).await,
            Kind::ReadIndex => {
                self.must_lead()?;
                let index = reading::lead_index(self).await.map_err(reject_reading)?;
                Ok(reading::encode_index(index))
            }
            Kind::Renew => {
                let lease = Decoder::new(body).number("lease")?;
                self.must_lead()?;
                let ttl = self.renew_lease(lease).await.map_err(reject_reading)?;
                Ok(reading::encode_index(ttl.unwrap_or_default()))
            }
            Kind::Membership => {
                let change = membership::decode(body)?;
                self.must_lead()?;
                self.change_members(change).await.map_err(reject)?;
                Ok(Bytes::new())
            }
        }
    }

    async fn append(&self, body: Bytes) -> Result<Bytes, Rejection> {
        let request = coding::decode_append(body)?;
        let now = Instant::now();
        let answer = self.raft.append_entries(request).await.map_err(|error| stopped(&error))?;
        // What this node appended when it led counts for the next leader only when it is flushed here.
        self.log.flushed().await.map_err(|why| stopped(&why))?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.contact.leader_spoke(now);
        }
        Ok(coding::encode_appended(&answer))
    }

    /// Whether this node would vote for a candidate whose log ends with `last`.
    fn would_vote(&self, last: Option<crate::raft::consensus::LogId>) -> bool {
        let voter = Witnessed { leader_age: self.age(), last: self.log.last() };
        prevote::grants(&voter, last, self.options.lease)
    }

    fn must_lead(&self) -> Result<(), Rejection> {
        match self.standing() {
            Ok(Standing::Lead) => Ok(()),
            // Who has stopped leads nobody, whatever it last was.
            Err(ControlError::Stopped(_)) => Err(Rejection::NotLeader),
            Err(_) if self.raft.metrics().borrow().state == ServerState::Leader => Err(Rejection::NoQuorum),
            Ok(Standing::Follow(..)) | Err(_) => Err(Rejection::NotLeader),
        }
    }

    async fn write_for_follower(&self, batch: Bytes) -> Result<Bytes, Rejection> {
        commands::check_batch(&batch)?;
        self.must_lead()?;
        let outcomes = proposer::write(self, batch, self.options.patience).await.map_err(reject)?;
        Ok(commands::encode_outcomes(&outcomes, MESSAGE_BYTES_MAX - ENVELOPE_BYTES))
    }

    /// Renews a lease as leader; `None` when there is no such lease.
    async fn renew_lease(&self, lease: u64) -> Result<Option<u64>, ControlError> {
        let now = Instant::now();
        reading::confirm(self).await?;
        let term = self.raft.metrics().borrow().current_term;
        let store = self.shared.store();
        let Some(ttl_ms) = store.lease(lease).map(|lease| lease.ttl_ms) else { return Ok(None) };
        let mut clock = self.leases.of(&store);
        clock.observe(Some(term), &store, now);
        Ok(clock.renew(lease, ttl_ms, now).then_some(ttl_ms))
    }
}

impl Control {
    /// Renews a lease: it lives its whole time again, in milliseconds, counted from when this was asked.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when the lease is over; [`ControlError`].
    pub async fn renew(&self, lease: u64) -> Result<u64, ControlError> {
        let inner = &self.inner;
        let ttl_ms = match inner.standing()? {
            Standing::Lead => inner.renew_lease(lease).await?,
            Standing::Follow(leader, member) => {
                let mut body = Encoder::default();
                body.number(lease);
                let call = inner.wire.call(leader, &member, Kind::Renew, body.finish());
                let patience = inner.options.patience;
                let answer =
                    tokio::time::timeout(patience, call).await.map_err(|_| ControlError::Late(patience))?;
                let failed =
                    |error: &dyn std::fmt::Display| ControlError::NoQuorum { reason: error.to_string() };
                let body = answer.map_err(|error| failed(&error))?;
                let ttl_ms = Decoder::new(body).number("ttl").map_err(|error| failed(&error))?;
                Some(ttl_ms).filter(|ttl_ms| *ttl_ms > 0)
            }
        };
        ttl_ms.ok_or(ControlError::Refused(Refusal::NoLease(lease)))
    }

    /// How long a lease has left, as far as this node counts: only the leader does.
    #[must_use]
    pub fn lease_left(&self, lease: u64) -> Option<std::time::Duration> {
        let store = self.inner.shared.store();
        self.inner.leases.of(&store).left(lease, Instant::now())
    }
}
