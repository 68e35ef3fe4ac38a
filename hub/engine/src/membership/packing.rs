//! How foca's headers and members stand in a datagram.
//!
//! Promise: the form is ours: a newer foca does not change what hubs say to each other. Numbers of kinds and states are never
//! used for anything else.
//! Absent: the form of an item; `millrace_wire::gossip`.

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Member, Message, State};
use millrace_wire::{GossipError, gossip};
use serde::{Deserialize, Serialize};

use super::peer::{LIFE_MAX, Peer};

/// Who says what to whom.
#[derive(Serialize, Deserialize)]
struct Opening {
    source: Peer,
    /// How often the source has refuted that it is dead, in this life. Foca's "incarnation".
    source_refutations: u16,
    target: Peer,
    kind: u8,
    probe: u8,
    /// Whom a probe that goes around is about.
    third: Option<Peer>,
}

/// What is said of a hub.
#[derive(Serialize, Deserialize)]
struct Rumour {
    peer: Peer,
    refutations: u16,
    state: u8,
}

/// Foca's codec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packing;

fn unknown(what: &str, number: u8) -> GossipError {
    GossipError::Fields(format!("{what} {number} is not known to version {}", gossip::VERSION))
}

fn mortal(peer: Peer) -> Result<Peer, GossipError> {
    if peer.life <= LIFE_MAX {
        Ok(peer)
    } else {
        Err(GossipError::Fields(format!(
            "life {} of {} is over the limit of {LIFE_MAX}",
            peer.life, peer.node
        )))
    }
}

fn numbered(message: &Message<Peer>) -> (u8, u8, Option<Peer>) {
    match message {
        Message::Ping(probe) => (1, *probe, None),
        Message::Ack(probe) => (2, *probe, None),
        Message::PingReq { target, probe_number } => (3, *probe_number, Some(*target)),
        Message::IndirectPing { origin, probe_number } => (4, *probe_number, Some(*origin)),
        Message::IndirectAck { target, probe_number } => (5, *probe_number, Some(*target)),
        Message::ForwardedAck { origin, probe_number } => (6, *probe_number, Some(*origin)),
        Message::Announce => (7, 0, None),
        Message::Feed => (8, 0, None),
        Message::Gossip => (9, 0, None),
        Message::Broadcast => (10, 0, None),
        Message::TurnUndead => (11, 0, None),
    }
}

fn named(kind: u8, probe_number: u8, third: Option<Peer>) -> Result<Message<Peer>, GossipError> {
    let third = || third.ok_or_else(|| GossipError::Fields(format!("kind {kind} names nobody")));
    Ok(match kind {
        1 => Message::Ping(probe_number),
        2 => Message::Ack(probe_number),
        3 => Message::PingReq { target: third()?, probe_number },
        4 => Message::IndirectPing { origin: third()?, probe_number },
        5 => Message::IndirectAck { target: third()?, probe_number },
        6 => Message::ForwardedAck { origin: third()?, probe_number },
        7 => Message::Announce,
        8 => Message::Feed,
        9 => Message::Gossip,
        10 => Message::Broadcast,
        11 => Message::TurnUndead,
        other => return Err(unknown("kind", other)),
    })
}

impl Codec<Peer> for Packing {
    type Error = GossipError;

    fn encode_header(&mut self, header: &Header<Peer>, into: impl BufMut) -> Result<(), GossipError> {
        let (kind, probe, third) = numbered(&header.message);
        let opening = Opening {
            source: header.src,
            source_refutations: header.src_incarnation,
            target: header.dst,
            kind,
            probe,
            third,
        };
        gossip::encode(&opening, into)
    }

    fn decode_header(&mut self, from: impl Buf) -> Result<Header<Peer>, GossipError> {
        let opening: Opening = gossip::decode(from)?;
        Ok(Header {
            src: mortal(opening.source)?,
            src_incarnation: opening.source_refutations,
            dst: mortal(opening.target)?,
            message: named(opening.kind, opening.probe, opening.third.map(mortal).transpose()?)?,
        })
    }

    fn encode_member(&mut self, member: &Member<Peer>, into: impl BufMut) -> Result<(), GossipError> {
        let state = match member.state() {
            State::Alive => 1,
            State::Suspect => 2,
            State::Down => 3,
        };
        gossip::encode(&Rumour { peer: *member.id(), refutations: member.incarnation(), state }, into)
    }

    fn decode_member(&mut self, from: impl Buf) -> Result<Member<Peer>, GossipError> {
        let Rumour { peer, refutations, state } = gossip::decode(from)?;
        let state = match state {
            1 => State::Alive,
            2 => State::Suspect,
            3 => State::Down,
            other => return Err(unknown("state", other)),
        };
        Ok(Member::new(mortal(peer)?, refutations, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::{Incarnation, NodeId};

    fn peer(node: u64, life: u64) -> Peer {
        Peer { node: NodeId(node), life, incarnation: Incarnation::new(0xfeed) }
    }

    #[test]
    fn every_kind_and_state_reads_back() {
        let (a, b, c) = (peer(1, 10), peer(2, 20), peer(3, 30));
        for kind in 1..=11 {
            let message = named(kind, 9, Some(c)).unwrap();
            let header = Header { src: a, src_incarnation: 4, dst: b, message };
            let mut bytes = Vec::new();
            Packing.encode_header(&header, &mut bytes).unwrap();
            assert_eq!(Packing.decode_header(bytes.as_slice()), Ok(header));
        }
        for state in [State::Alive, State::Suspect, State::Down] {
            let mut bytes = Vec::new();
            let member = Member::new(a, 65_535, state);
            Packing.encode_member(&member, &mut bytes).unwrap();
            assert_eq!(Packing.decode_member(bytes.as_slice()), Ok(member));
        }
    }

    #[test]
    fn numbers_of_later_versions_and_lives_without_end_are_refused() {
        assert!(named(12, 0, None).is_err() && named(3, 0, None).is_err());
        let mut bytes = Vec::new();
        gossip::encode(&Rumour { peer: peer(1, 1), refutations: 0, state: 4 }, &mut bytes).unwrap();
        assert!(Packing.decode_member(bytes.as_slice()).is_err());
        let mut bytes = Vec::new();
        Packing.encode_member(&Member::alive(peer(1, LIFE_MAX + 1)), &mut bytes).unwrap();
        assert!(Packing.decode_member(bytes.as_slice()).is_err());
    }
}
