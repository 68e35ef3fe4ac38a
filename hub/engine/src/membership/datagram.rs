//! A datagram as a whole, checked before anybody believes a word of it.
//!
//! ```text
//! datagram := version:u8 kind:u8 rest
//! swim     := header:item [count:u16 member:item…] (length:u16 announced:item)…     kind 1, foca's
//! ask      := {number, holds}:item                                                kind 2, "has your profile changed?"
//! answer   := {number, news}:item                                                 kind 3, "no", or the new one
//! ```
//!
//! Promise: what opens is well formed to its last byte and within limits.
//! Absent: who sent it, and what it changes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use foca::{Codec, Header, Member, Message};
use millrace_wire::limits::GOSSIP_DATAGRAM_MAX;
use millrace_wire::{GossipError, gossip};
use serde::{Deserialize, Serialize};

use super::packing::Packing;
use super::peer::Peer;
use super::profile::{Announced, Edition};

/// Version and kind.
pub(crate) const PREFIX_BYTES: usize = 2;

const SWIM: u8 = 1;
const ASK: u8 = 2;
const ANSWER: u8 = 3;

/// Has your profile changed?
#[derive(Serialize, Deserialize)]
pub(crate) struct Ask {
    /// Comes back in the answer.
    pub(crate) number: u64,
    /// What the asker holds.
    pub(crate) holds: Option<Edition>,
}

/// The answer, also when nothing changed: it measures the round trip.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) number: u64,
    pub(crate) news: Option<Announced>,
}

/// What foca will read, read before.
pub(crate) struct Swim {
    pub(crate) header: Header<Peer>,
    pub(crate) members: Vec<Member<Peer>>,
    pub(crate) announced: Vec<Announced>,
    /// The bytes for foca.
    pub(crate) bytes: Bytes,
}

/// A datagram that is well formed.
pub(crate) enum Datagram {
    Swim(Swim),
    Ask(Ask),
    Answer(Answer),
}

impl Datagram {
    pub(crate) fn open(mut bytes: Bytes) -> Result<Self, GossipError> {
        if bytes.len() > GOSSIP_DATAGRAM_MAX {
            return Err(GossipError::TooLong(bytes.len()));
        }
        if bytes.len() < PREFIX_BYTES {
            return Err(GossipError::Short);
        }
        let (version, kind) = (bytes.get_u8(), bytes.get_u8());
        match (version, kind) {
            (gossip::VERSION, SWIM) => swim(bytes).map(Self::Swim),
            (gossip::VERSION, ASK) => alone(bytes).map(Self::Ask),
            (gossip::VERSION, ANSWER) => {
                let answer: Answer = alone(bytes)?;
                answer.news.as_ref().map_or(Ok(()), fitting)?;
                Ok(Self::Answer(answer))
            }
            _ => Err(GossipError::Fields(format!("version {version}, kind {kind} is not known"))),
        }
    }
}

/// The datagram around what foca wrote.
pub(crate) fn of_swim(bytes: &[u8]) -> Bytes {
    let mut datagram = begun(SWIM, bytes.len());
    datagram.put_slice(bytes);
    datagram.freeze()
}

pub(crate) fn of_ask(ask: &Ask) -> Result<Bytes, GossipError> {
    of(ASK, ask)
}

pub(crate) fn of_answer(answer: &Answer) -> Result<Bytes, GossipError> {
    of(ANSWER, answer)
}

fn of<T: Serialize>(kind: u8, item: &T) -> Result<Bytes, GossipError> {
    let mut datagram = begun(kind, 64);
    gossip::encode(item, &mut datagram)?;
    Ok(datagram.freeze())
}

fn begun(kind: u8, room: usize) -> BytesMut {
    let mut datagram = BytesMut::with_capacity(PREFIX_BYTES + room);
    datagram.put_u8(gossip::VERSION);
    datagram.put_u8(kind);
    datagram
}

/// The only item of a datagram.
fn alone<T: serde::de::DeserializeOwned>(mut bytes: Bytes) -> Result<T, GossipError> {
    let item = gossip::decode(&mut bytes)?;
    if bytes.is_empty() { Ok(item) } else { Err(GossipError::Short) }
}

fn swim(bytes: Bytes) -> Result<Swim, GossipError> {
    let mut rest = bytes.clone();
    let header = Packing.decode_header(&mut rest)?;
    let mut members = Vec::new();
    if header.message != Message::Broadcast && rest.len() >= 2 {
        for _ in 0..rest.get_u16() {
            members.push(Packing.decode_member(&mut rest)?);
        }
    }
    let mut announced = Vec::new();
    while !rest.is_empty() {
        if rest.len() < 2 {
            return Err(GossipError::Short);
        }
        let length = usize::from(rest.get_u16());
        if rest.len() < length {
            return Err(GossipError::Short);
        }
        let item: Announced = alone(rest.split_to(length))?;
        fitting(&item)?;
        announced.push(item);
    }
    Ok(Swim { header, members, announced, bytes })
}

fn fitting(announced: &Announced) -> Result<(), GossipError> {
    let fits = announced.profile.fits() && announced.edition.life <= super::peer::LIFE_MAX;
    fits.then_some(()).ok_or_else(|| GossipError::Fields("a profile over its limits".to_owned()))
}
