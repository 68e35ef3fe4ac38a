//! Inbound: the receiving half of QoS 0, 1 and 2, for one session of one sender.
//!
//! ```text
//!  PUBLISH ─▶ admit ─▶ Claim ─▶ (disk) ─▶ verdict ─▶ poll_reply ─▶ PUBACK / PUBREC, in the order of the PUBLISHes
//!  PUBREL  ─▶ release ─────────────────────────────▶ PUBCOMP
//! ```
//!
//! Promise: no PUBACK or PUBREC without the answer `Stored` or `Rejected`; replies leave in the order of arrival
//! (MQTT 5.0, section 4.6); an answer that belongs to an earlier connection never acknowledges a packet id of
//! this one; between its PUBREC and its PUBREL a QoS 2 packet id admits no second record, also across reconnects
//! and also while the first copy is still on its way to the disk.
//! Absent: sockets, packets' bytes, time. State is lost with the process (DESIGN.md says what that means).

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::budget::Budget;
use super::packet::{Publication, Qos};
use super::receipt::{Answer, Claim, Verdict};

/// QoS 2 packet ids of one session that may wait for their PUBREL. Senders keep far fewer in flight; one that
/// never releases is cut off here, at about half a megabyte of our memory.
pub(crate) const EXACTLY_ONCE_MAX: usize = 8_192;

/// How the other side learns of a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Peer {
    /// MQTT 3.1.1 has no reason codes: a refusal ends the connection.
    Plain,
    /// An MQTT 5 broker that we subscribe to: told about a rejection, but a mere refusal ends the connection,
    /// because a broker that reads an error code forgets the message.
    Broker,
    /// An MQTT 5 publisher of ours: told about both.
    Publisher,
}

/// The limits of one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window {
    /// Publications that may wait for their answer. Full: the socket is not read.
    pub(crate) publications_max: usize,
    /// Bytes that they may hold. Full: the socket is not read.
    pub(crate) bytes_max: usize,
}

/// What became of a PUBLISH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// New: store it under this claim.
    Fresh(Claim),
    /// Known already: its PUBREC goes out when its turn comes.
    Duplicate,
    /// More unreleased QoS 2 packet ids than allowed: end the connection.
    TooMany,
}

/// What must be told to the sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    PubAck(u16, Code),
    PubRec(u16, Code),
    /// The bool: whether the packet id was known.
    PubComp(u16, bool),
    /// End the connection without an acknowledgement.
    Close,
}

/// The reason in a reply; without meaning in MQTT 3.1.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    Success,
    QuotaExceeded,
    Refused,
}

/// One PUBLISH of this connection whose reply is due.
#[derive(Debug)]
struct Slot {
    packet_id: u16,
    qos: Qos,
    answer: Option<Answer>,
}

/// Where a QoS 2 packet id stands.
#[derive(Clone, Copy, Debug)]
struct Exactly {
    /// Of topic and payload: tells a repeated message from a new one by a sender that has lost its state.
    fingerprint: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// On its way to the disk under `ticket`; `slot` is the ticket of the slot of this connection that waits for it.
    Storing { ticket: u64, slot: Option<u64> },
    /// On the disk; PUBREC sent or about to be; waits for PUBREL.
    Stored,
}

/// The receiving half of one session.
#[derive(Debug)]
pub(crate) struct Inbound {
    peer: Peer,
    window: Window,
    budget: Arc<Budget>,
    epoch: u32,
    next_ticket: u64,
    /// Replies due on this connection, oldest first; tickets are dense, the first one's is `slots_start`.
    slots: VecDeque<Slot>,
    slots_start: u64,
    exactly: BTreeMap<u16, Exactly>,
    outstanding: usize,
    outstanding_bytes: usize,
    /// The part of `outstanding_bytes` that this connection took from the common budget.
    budgeted: usize,
}

impl Inbound {
    pub(crate) fn new(peer: Peer, window: Window, budget: Arc<Budget>) -> Self {
        Self {
            peer,
            window,
            budget,
            epoch: 0,
            next_ticket: 0,
            slots: VecDeque::new(),
            slots_start: 0,
            exactly: BTreeMap::new(),
            outstanding: 0,
            outstanding_bytes: 0,
            budgeted: 0,
        }
    }

    /// A new connection begins. `resumed`: both sides still hold the session, so unreleased packet ids stay known.
    pub(crate) fn begin(&mut self, resumed: bool, peer: Peer) {
        self.end();
        self.peer = peer;
        self.slots.clear();
        self.slots_start = self.next_ticket;
        if !resumed {
            self.exactly.clear();
        }
        for exactly in self.exactly.values_mut() {
            if let Stage::Storing { slot, .. } = &mut exactly.stage {
                *slot = None;
            }
        }
    }

    /// The connection has ended. A session that rests must not hold the others' budget; its own limits still count
    /// what is on its way.
    pub(crate) fn end(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.budget.give_back(self.budgeted);
        self.budgeted = 0;
    }

    /// Whether another PUBLISH may be taken from the socket.
    pub(crate) fn has_room(&self) -> bool {
        self.outstanding < self.window.publications_max
            && self.slots.len() < self.window.publications_max
            && self.outstanding_bytes < self.window.bytes_max
            && (self.outstanding == 0 || self.budget.has_room())
    }

    /// Receipts that are not answered yet, of this and of earlier connections.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Takes in a PUBLISH.
    pub(crate) fn admit(&mut self, publication: &Publication) -> Admission {
        if publication.qos == Qos::ExactlyOnce {
            return self.admit_exactly_once(publication);
        }
        Admission::Fresh(self.open(publication, publication.packet_id))
    }

    fn admit_exactly_once(&mut self, publication: &Publication) -> Admission {
        let id = publication.packet_id;
        let fingerprint = fingerprint(publication);
        if let Some(known) = self.exactly.get_mut(&id)
            && (publication.dup || known.fingerprint == fingerprint)
        {
            let ticket = self.next_ticket;
            let answer = match &mut known.stage {
                Stage::Stored => Some(Answer::Stored),
                Stage::Storing { slot: Some(_), .. } => return Admission::Duplicate,
                Stage::Storing { slot, .. } => {
                    *slot = Some(ticket);
                    None
                }
            };
            self.next_ticket += 1;
            self.slots.push_back(Slot { packet_id: id, qos: Qos::ExactlyOnce, answer });
            return Admission::Duplicate;
        }
        if self.exactly.len() >= EXACTLY_ONCE_MAX {
            return Admission::TooMany;
        }
        let claim = self.open(publication, id);
        let stage = Stage::Storing { ticket: claim.ticket, slot: Some(claim.ticket) };
        self.exactly.insert(id, Exactly { fingerprint, stage });
        Admission::Fresh(claim)
    }

    fn open(&mut self, publication: &Publication, packet_id: u16) -> Claim {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let bytes = publication.bytes_held();
        self.slots.push_back(Slot { packet_id, qos: publication.qos, answer: None });
        self.outstanding += 1;
        self.outstanding_bytes += bytes as usize;
        self.budgeted += bytes as usize;
        self.budget.take(bytes as usize);
        Claim { ticket, epoch: self.epoch, packet_id, qos: publication.qos, bytes }
    }

    /// The disk has answered.
    pub(crate) fn verdict(&mut self, verdict: Verdict) {
        let Verdict { claim, answer } = verdict;
        self.outstanding = self.outstanding.saturating_sub(1);
        self.outstanding_bytes = self.outstanding_bytes.saturating_sub(claim.bytes as usize);
        if claim.epoch == self.epoch {
            self.budgeted = self.budgeted.saturating_sub(claim.bytes as usize);
            self.budget.give_back(claim.bytes as usize);
        }
        let waiting = match claim.qos {
            Qos::ExactlyOnce => self.settle(claim, answer),
            Qos::AtMostOnce | Qos::AtLeastOnce => (claim.epoch == self.epoch).then_some(claim.ticket),
        };
        let index = waiting.and_then(|ticket| usize::try_from(ticket.checked_sub(self.slots_start)?).ok());
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) {
            slot.answer = Some(answer);
        }
    }

    /// Notes where the exchange of a QoS 2 packet id stands now; returns the slot that waits for it.
    fn settle(&mut self, claim: Claim, answer: Answer) -> Option<u64> {
        let exactly = self.exactly.get_mut(&claim.packet_id)?;
        let Stage::Storing { ticket, slot } = exactly.stage else { return None };
        if ticket != claim.ticket {
            return None;
        }
        match answer {
            Answer::Stored => exactly.stage = Stage::Stored,
            // Without a reason code the sender sees success and goes on with PUBREL.
            Answer::Rejected if self.peer == Peer::Plain => exactly.stage = Stage::Stored,
            // An error code ends the exchange at once, and a refusal leaves nothing to remember.
            Answer::Rejected | Answer::Refused | Answer::Abandoned => {
                self.exactly.remove(&claim.packet_id);
            }
        }
        slot
    }

    /// The next reply that may leave, in order.
    pub(crate) fn poll_reply(&mut self) -> Option<Reply> {
        loop {
            let answer = self.slots.front()?.answer?;
            let slot = self.slots.pop_front()?;
            self.slots_start += 1;
            let code = match answer {
                _ if slot.qos == Qos::AtMostOnce => continue,
                Answer::Stored => Code::Success,
                Answer::Rejected => Code::QuotaExceeded,
                Answer::Refused if self.peer == Peer::Publisher => Code::Refused,
                Answer::Refused | Answer::Abandoned => return Some(Reply::Close),
            };
            return Some(match slot.qos {
                Qos::ExactlyOnce => Reply::PubRec(slot.packet_id, code),
                Qos::AtLeastOnce | Qos::AtMostOnce => Reply::PubAck(slot.packet_id, code),
            });
        }
    }

    /// A PUBREL came: the packet id is free again. An unknown one is answered too (MQTT 5.0, section 4.3.3), because
    /// its exchange may have begun before this process did.
    pub(crate) fn release(&mut self, packet_id: u16) -> Reply {
        let known = matches!(self.exactly.get(&packet_id), Some(Exactly { stage: Stage::Stored, .. }));
        if known {
            self.exactly.remove(&packet_id);
        }
        Reply::PubComp(packet_id, known)
    }
}

impl Drop for Inbound {
    /// What the session still held of the common budget goes back, although its verdicts will never be heard.
    fn drop(&mut self) {
        self.budget.give_back(self.budgeted);
    }
}

/// Tells two messages under one packet id apart. Not a defence: a sender can only fool itself.
fn fingerprint(publication: &Publication) -> u64 {
    let mut hasher = DefaultHasher::new();
    publication.topic.hash(&mut hasher);
    publication.payload.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
