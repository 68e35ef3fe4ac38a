//! Requests to other nodes, in their envelopes, and openraft's view of them.
//!
//! Promise: what may have arrived is never reported as if it had not. A snapshot is verified before it is sent. A node whose
//! log went back behind what it acknowledged is not talked to. Absent: retries; openraft repeats what it needs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{
    Fatal, InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, ReplicationClosed,
    SnapshotMismatch, StreamingError, Unreachable,
};
use openraft::network::snapshot_transport::{Chunked, SnapshotTransport};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Snapshot, SnapshotSegmentId, StorageIOError};
use tokio::time::{Instant, timeout};

use crate::codec::CodecError;
use crate::raft::coding;
use crate::raft::consensus::{Consensus, LogId, Vote};
use crate::raft::contact::{Contact, Life};
use crate::raft::envelope::{Kind, Rejection, Request, decode_answer};
use crate::raft::log::LogStore;
use crate::raft::member::{Member, NodeId};
use crate::raft::transport::{Transport, TransportError};

/// How many times longer than another piece the last one of a snapshot may take.
pub(crate) const LAST_PIECE: u32 = 10;

/// Who sends, and over what.
pub(crate) struct Wire {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) epoch: u64,
    pub(crate) id: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) contact: Arc<Contact>,
    pub(crate) log: LogStore,
    pub(crate) backoff: Duration,
    /// How long a piece of a snapshot may be under way.
    pub(crate) piece: Duration,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("the answer cannot be read: {0}")]
    Garbled(#[from] CodecError),
    #[error("node {0} has an older log than it acknowledged: it must join again under a new id")]
    SetBack(NodeId),
}

impl Wire {
    /// Sends `body` to `node` and waits for its answer.
    pub(crate) async fn call(
        &self,
        node: NodeId,
        member: &Member,
        kind: Kind,
        body: Bytes,
    ) -> Result<Bytes, WireError> {
        if self.contact.is_set_back(Life { node, incarnation: member.incarnation }) {
            return Err(WireError::SetBack(node));
        }
        let request = Request {
            epoch: self.epoch,
            from: self.id,
            from_incarnation: self.incarnation,
            to: node,
            to_incarnation: member.incarnation,
            kind,
            body,
        };
        let answer = self.transport.call(node, member, request.encode()).await?;
        Ok(decode_answer(answer)??)
    }
}

/// Makes a [`Link`] for each node.
pub(crate) struct Links(pub(crate) Arc<Wire>);

/// One node, as openraft reaches it.
pub(crate) struct Link {
    wire: Arc<Wire>,
    node: NodeId,
    member: Member,
}

impl RaftNetworkFactory<Consensus> for Links {
    type Network = Link;

    async fn new_client(&mut self, node: NodeId, member: &Member) -> Link {
        Link { wire: Arc::clone(&self.0), node, member: member.clone() }
    }
}

type RpcError<E> = RPCError<NodeId, Member, RaftError<NodeId, E>>;

impl Link {
    fn life(&self) -> Life {
        Life { node: self.node, incarnation: self.member.incarnation }
    }

    async fn call<E: std::error::Error>(&self, kind: Kind, body: Bytes) -> Result<Bytes, RpcError<E>> {
        self.wire.call(self.node, &self.member, kind, body).await.map_err(|error| explain(&error))
    }
}

fn explain<E: std::error::Error>(error: &WireError) -> RpcError<E> {
    let said = io::Error::other(error.to_string());
    match error {
        WireError::Transport(TransportError::Failed(_)) => RPCError::Network(NetworkError::new(&said)),
        // Nothing that a repetition at once would change.
        WireError::Transport(TransportError::Unreachable(_))
        | WireError::Rejected(_)
        | WireError::Garbled(_)
        | WireError::SetBack(_) => RPCError::Unreachable(Unreachable::new(&said)),
    }
}

/// What makes openraft begin the snapshot again.
fn out_of_step(node: NodeId, request: &InstallSnapshotRequest<Consensus>) -> RpcError<InstallSnapshotError> {
    let segment = |offset| SnapshotSegmentId { id: request.meta.snapshot_id.clone(), offset };
    let mismatch = SnapshotMismatch { expect: segment(0), got: segment(request.offset) };
    let error = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
    RPCError::RemoteError(RemoteError::new(node, error))
}

/// What makes openraft give up these bytes, and ask the state machine for the snapshot again.
fn refused(node: NodeId, why: &str) -> RpcError<InstallSnapshotError> {
    let error = StorageIOError::write_snapshot(None, &io::Error::other(why.to_owned()));
    RPCError::RemoteError(RemoteError::new(node, RaftError::Fatal(Fatal::StorageError(error.into()))))
}

/// The last entry that the receiver of `request` has when it answers so, if it took it.
fn matched(answer: &AppendEntriesResponse<NodeId>, last: Option<LogId>) -> Option<LogId> {
    match answer {
        AppendEntriesResponse::Success => last,
        AppendEntriesResponse::PartialSuccess(matched) => *matched,
        AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => None,
    }
}

fn garbled<E: std::error::Error>(error: CodecError) -> RpcError<E> {
    explain(&WireError::Garbled(error))
}

impl RaftNetwork<Consensus> for Link {
    async fn append_entries(
        &mut self,
        mut request: AppendEntriesRequest<Consensus>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RpcError<openraft::error::Infallible>> {
        // Nobody is told of a commit that rests on what this disk does not hold yet.
        request.leader_commit = request.leader_commit.min(self.wire.log.durable());
        let (term, before, commit) =
            (request.vote.leader_id.term, request.prev_log_id, request.leader_commit);
        let last = request.entries.last().map(|entry| entry.log_id).or(before);
        let sent = Instant::now();
        let answer = self.call(Kind::Append, coding::encode_append(&request)).await?;
        let answer = coding::decode_appended(answer).map_err(garbled)?;
        let contact = &self.wire.contact;
        match (&answer, before) {
            (AppendEntriesResponse::HigherVote(_), _) => return Ok(answer),
            // openraft does not expect this answer, and could not bear it.
            (AppendEntriesResponse::Conflict, Some(before))
                if contact.lacks(self.life(), term, before.index) =>
            {
                return Err(explain(&WireError::SetBack(self.node)));
            }
            _ => {}
        }
        contact.follower_answered(self.node, sent);
        if let Some(matched) = matched(&answer, last) {
            contact.acknowledged(self.life(), term, matched.index, commit.map(|commit| commit.index));
        }
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Consensus>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<Consensus, Fatal<NodeId>>> {
        // openraft asks again after a while, and gets another one then.
        let verified = snapshot.snapshot.verify(&snapshot.meta).await;
        verified.map_err(|error| Unreachable::new(&error))?;
        let last = snapshot.meta.last_log_id.map(|last| last.index);
        let answer = Chunked::send_snapshot(self, vote, snapshot, cancel, option).await?;
        if let Some(last) = last.filter(|_| answer.vote <= vote) {
            self.wire.contact.acknowledged(self.life(), vote.leader_id.term, last, Some(last));
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Consensus>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, RpcError<InstallSnapshotError>> {
        let body = coding::encode_snapshot_chunk(&request);
        let (sent, piece) = (Instant::now(), self.wire.piece);
        // With the last piece the receiver takes the whole snapshot over before it answers.
        let patience = if request.done { piece * LAST_PIECE } else { piece };
        let call = self.wire.call(self.node, &self.member, Kind::Snapshot, body);
        let answer = timeout(patience, call).await.unwrap_or_else(|_| {
            Err(TransportError::Failed(format!("a piece of a snapshot took longer than {patience:?}")).into())
        });
        let answer = answer.map_err(|error| match error {
            WireError::Rejected(Rejection::OutOfStep) => out_of_step(self.node, &request),
            WireError::Rejected(Rejection::Invalid(why)) => refused(self.node, &why),
            error => explain(&error),
        })?;
        self.wire.contact.follower_answered(self.node, sent);
        let vote = coding::decode_snapshot_answer(answer).map_err(garbled)?;
        Ok(InstallSnapshotResponse { vote })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<NodeId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RpcError<openraft::error::Infallible>> {
        let answer = self.call(Kind::Vote, coding::encode_vote_request(&request)).await?;
        coding::decode_voted(answer).map_err(garbled)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.wire.backoff))
    }
}
