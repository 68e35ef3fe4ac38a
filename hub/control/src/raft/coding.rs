//! What openraft says, as bytes: entries in the log, positions in the state, messages between nodes.
//!
//! ```text
//! entry payload := 0 | 1 batch | 2 membership        (the log keeps term and index beside it)
//! membership    := count (count node*)* count (node incarnation address region flags)*
//! vote          := term (0 | 1 node) committed:0|1
//! log id        := 0 | 1 term index
//! ```
//! Numbers are LEB128, strings stand behind their length.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest, VoteResponse,
};
use openraft::{EntryPayload, LeaderId, SnapshotMeta};

use crate::codec::{CodecError, Decoder, Encoder};
use crate::raft::consensus::{Batch, Consensus, Entry, LogId, Membership, StoredMembership, Vote, log_id};
use crate::raft::member::{Member, NodeId};

/// Nodes in a cluster: hubs in regions, not devices.
const NODES_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 1_024;
/// Entries in one message; far fewer fit into its bytes when they are not tiny.
const ENTRIES_MAX: usize = 4_096;
const PAYLOAD_BYTES_MAX: usize = millrace_journal::decisions::ENTRY_BYTES_MAX;
/// Bytes of a snapshot in one message.
pub(crate) const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;

pub(crate) fn put_log_id(to: &mut Encoder, id: Option<&LogId>) {
    to.flag(id.is_some());
    if let Some(id) = id {
        to.number(id.leader_id.term);
        to.number(id.index);
    }
}

pub(crate) fn take_log_id(from: &mut Decoder) -> Result<Option<LogId>, CodecError> {
    if !from.flag("log id")? {
        return Ok(None);
    }
    Ok(Some(log_id(from.number("term")?, from.number("index")?)))
}

pub(crate) fn put_vote(to: &mut Encoder, vote: &Vote) {
    to.number(vote.leader_id.term);
    to.flag(vote.leader_id.voted_for.is_some());
    if let Some(node) = vote.leader_id.voted_for {
        to.number(node);
    }
    to.flag(vote.committed);
}

pub(crate) fn take_vote(from: &mut Decoder) -> Result<Vote, CodecError> {
    let term = from.number("term")?;
    let voted_for = if from.flag("vote")? { Some(from.number("node")?) } else { None };
    Ok(Vote { leader_id: LeaderId { term, voted_for }, committed: from.flag("committed")? })
}

pub(crate) fn put_member(to: &mut Encoder, member: &Member) {
    to.number(member.incarnation);
    to.bytes(member.address.as_bytes());
    to.bytes(member.region.as_bytes());
    to.flag(member.witness);
}

pub(crate) fn take_member(from: &mut Decoder) -> Result<Member, CodecError> {
    Ok(Member {
        incarnation: from.number("incarnation")?,
        address: from.text("address", TEXT_BYTES_MAX)?,
        region: from.text("region", TEXT_BYTES_MAX)?,
        witness: from.flag("witness")?,
    })
}

fn put_membership(to: &mut Encoder, membership: &Membership) {
    let configs = membership.get_joint_config();
    to.count(configs.len());
    for config in configs {
        to.count(config.len());
        config.iter().for_each(|node| to.number(*node));
    }
    let nodes: Vec<(&NodeId, &Member)> = membership.nodes().collect();
    to.count(nodes.len());
    for (node, member) in nodes {
        to.number(*node);
        put_member(to, member);
    }
}

fn take_membership(from: &mut Decoder) -> Result<Membership, CodecError> {
    let configs = from.list("configurations", 4, |from| {
        Ok(from.list("voters", NODES_MAX, |from| from.number("node"))?.into_iter().collect())
    })?;
    let nodes = from.list("nodes", NODES_MAX, |from| Ok((from.number("node")?, take_member(from)?)))?;
    Ok(Membership::new(configs, nodes.into_iter().collect::<std::collections::BTreeMap<_, _>>()))
}

pub(crate) fn put_stored_membership(to: &mut Encoder, stored: &StoredMembership) {
    put_log_id(to, stored.log_id().as_ref());
    put_membership(to, stored.membership());
}

pub(crate) fn take_stored_membership(from: &mut Decoder) -> Result<StoredMembership, CodecError> {
    Ok(StoredMembership::new(take_log_id(from)?, take_membership(from)?))
}

pub(crate) fn encode_payload(entry: &Entry) -> Bytes {
    match &entry.payload {
        EntryPayload::Blank => Bytes::from_static(&[0]),
        EntryPayload::Normal(batch) => {
            let mut to = Encoder::with_capacity(batch.0.len() + 1);
            to.byte(1);
            to.rest(&batch.0);
            to.finish()
        }
        EntryPayload::Membership(membership) => {
            let mut to = Encoder::default();
            to.byte(2);
            put_membership(&mut to, membership);
            to.finish()
        }
    }
}

pub(crate) fn decode_payload(id: LogId, payload: Bytes) -> Result<Entry, CodecError> {
    let mut from = Decoder::new(payload);
    let payload = match from.byte("entry")? {
        0 => EntryPayload::Blank,
        1 => return Ok(Entry { log_id: id, payload: EntryPayload::Normal(Batch(from.rest())) }),
        2 => EntryPayload::Membership(take_membership(&mut from)?),
        found => return Err(CodecError::Unknown { what: "entry", found: found.into() }),
    };
    from.end()?;
    Ok(Entry { log_id: id, payload })
}

pub(crate) fn encode_append(request: &AppendEntriesRequest<Consensus>) -> Bytes {
    let mut to = Encoder::with_capacity(128);
    put_vote(&mut to, &request.vote);
    put_log_id(&mut to, request.prev_log_id.as_ref());
    put_log_id(&mut to, request.leader_commit.as_ref());
    to.count(request.entries.len());
    for entry in &request.entries {
        to.number(entry.log_id.leader_id.term);
        to.number(entry.log_id.index);
        to.bytes(&encode_payload(entry));
    }
    to.finish()
}

pub(crate) fn decode_append(bytes: Bytes) -> Result<AppendEntriesRequest<Consensus>, CodecError> {
    let mut from = Decoder::new(bytes);
    let request = AppendEntriesRequest {
        vote: take_vote(&mut from)?,
        prev_log_id: take_log_id(&mut from)?,
        leader_commit: take_log_id(&mut from)?,
        entries: from.list("entries", ENTRIES_MAX, |from| {
            let id = log_id(from.number("term")?, from.number("index")?);
            decode_payload(id, from.bytes("entry", PAYLOAD_BYTES_MAX)?)
        })?,
    };
    from.end()?;
    Ok(request)
}

pub(crate) fn encode_appended(response: &AppendEntriesResponse<NodeId>) -> Bytes {
    let mut to = Encoder::default();
    match response {
        AppendEntriesResponse::Success => to.byte(0),
        AppendEntriesResponse::PartialSuccess(id) => {
            to.byte(1);
            put_log_id(&mut to, id.as_ref());
        }
        AppendEntriesResponse::Conflict => to.byte(2),
        AppendEntriesResponse::HigherVote(vote) => {
            to.byte(3);
            put_vote(&mut to, vote);
        }
    }
    to.finish()
}

pub(crate) fn decode_appended(bytes: Bytes) -> Result<AppendEntriesResponse<NodeId>, CodecError> {
    let mut from = Decoder::new(bytes);
    let response = match from.byte("answer")? {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(take_log_id(&mut from)?),
        2 => AppendEntriesResponse::Conflict,
        3 => AppendEntriesResponse::HigherVote(take_vote(&mut from)?),
        found => return Err(CodecError::Unknown { what: "answer", found: found.into() }),
    };
    from.end()?;
    Ok(response)
}

pub(crate) fn encode_vote_request(request: &VoteRequest<NodeId>) -> Bytes {
    let mut to = Encoder::default();
    put_vote(&mut to, &request.vote);
    put_log_id(&mut to, request.last_log_id.as_ref());
    to.finish()
}

pub(crate) fn decode_vote_request(bytes: Bytes) -> Result<VoteRequest<NodeId>, CodecError> {
    let mut from = Decoder::new(bytes);
    let request = VoteRequest::new(take_vote(&mut from)?, take_log_id(&mut from)?);
    from.end()?;
    Ok(request)
}

pub(crate) fn encode_voted(response: &VoteResponse<NodeId>) -> Bytes {
    let mut to = Encoder::default();
    put_vote(&mut to, &response.vote);
    to.flag(response.vote_granted);
    put_log_id(&mut to, response.last_log_id.as_ref());
    to.finish()
}

pub(crate) fn decode_voted(bytes: Bytes) -> Result<VoteResponse<NodeId>, CodecError> {
    let mut from = Decoder::new(bytes);
    let response = VoteResponse {
        vote: take_vote(&mut from)?,
        vote_granted: from.flag("granted")?,
        last_log_id: take_log_id(&mut from)?,
    };
    from.end()?;
    Ok(response)
}

pub(crate) fn encode_snapshot_chunk(request: &InstallSnapshotRequest<Consensus>) -> Bytes {
    let mut to = Encoder::with_capacity(request.data.len() + 256);
    put_vote(&mut to, &request.vote);
    put_log_id(&mut to, request.meta.last_log_id.as_ref());
    put_stored_membership(&mut to, &request.meta.last_membership);
    to.bytes(request.meta.snapshot_id.as_bytes());
    to.number(request.offset);
    to.bytes(&request.data);
    to.flag(request.done);
    to.finish()
}

pub(crate) fn decode_snapshot_chunk(bytes: Bytes) -> Result<InstallSnapshotRequest<Consensus>, CodecError> {
    let mut from = Decoder::new(bytes);
    let vote = take_vote(&mut from)?;
    let meta = SnapshotMeta {
        last_log_id: take_log_id(&mut from)?,
        last_membership: take_stored_membership(&mut from)?,
        snapshot_id: from.text("snapshot", TEXT_BYTES_MAX)?,
    };
    let request = InstallSnapshotRequest {
        vote,
        meta,
        offset: from.number("offset")?,
        data: from.bytes("chunk", SNAPSHOT_CHUNK_BYTES)?.to_vec(),
        done: from.flag("done")?,
    };
    from.end()?;
    Ok(request)
}

pub(crate) fn encode_snapshot_answer(vote: &Vote) -> Bytes {
    let mut to = Encoder::default();
    put_vote(&mut to, vote);
    to.finish()
}

pub(crate) fn decode_snapshot_answer(bytes: Bytes) -> Result<Vote, CodecError> {
    let mut from = Decoder::new(bytes);
    let vote = take_vote(&mut from)?;
    from.end()?;
    Ok(vote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let member =
            |n: u64| Member { incarnation: n << 40, address: format!("hub{n}:7443"), ..Member::default() };
        let nodes: std::collections::BTreeMap<_, _> = (1..=4).map(|n| (n, member(n))).collect();
        Membership::new(vec![[1, 2, 3].into(), [2, 3, 4].into()], nodes)
    }

    #[test]
    fn an_append_is_read_as_it_was_written_and_never_when_it_is_cut() {
        let entries = vec![
            Entry { log_id: log_id(3, 7), payload: EntryPayload::Blank },
            Entry { log_id: log_id(3, 8), payload: EntryPayload::Normal(Batch("abc".into())) },
            Entry { log_id: log_id(4, 9), payload: EntryPayload::Membership(membership()) },
        ];
        let mut vote = Vote::new(4, 2);
        vote.committed = true;
        let request = AppendEntriesRequest {
            vote,
            prev_log_id: Some(log_id(2, 6)),
            leader_commit: None,
            entries: entries.clone(),
        };
        let bytes = encode_append(&request);
        let found = decode_append(bytes.clone()).unwrap();
        assert_eq!((found.vote, found.prev_log_id, found.leader_commit), (vote, Some(log_id(2, 6)), None));
        assert_eq!(found.entries, entries);
        for length in 0..bytes.len() {
            assert!(decode_append(bytes.slice(..length)).is_err(), "{length}");
        }
    }

    #[test]
    fn a_snapshot_chunk_carries_its_meta() {
        let request = InstallSnapshotRequest {
            vote: Vote::new(1, 1),
            meta: SnapshotMeta {
                last_log_id: Some(log_id(1, 5)),
                last_membership: StoredMembership::new(Some(log_id(1, 2)), membership()),
                snapshot_id: "1-5".into(),
            },
            offset: 99,
            data: vec![7; 300],
            done: true,
        };
        assert_eq!(decode_snapshot_chunk(encode_snapshot_chunk(&request)).unwrap(), request);
    }
}
