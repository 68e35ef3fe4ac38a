//! The way out: what is to be sent, to be known, to be done later, and what was counted.
//!
//! Promise: nothing is ever sent to this hub itself, whatever others say of it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use foca::{Notification, Runtime, Timer};
use millrace_model::{Moment, NodeId};

use super::agenda::{Agenda, Errand};
use super::datagram;
use super::peer::Peer;
use super::words::{Counts, Output};

/// What leaves membership.
#[derive(Debug)]
pub(crate) struct Outbox {
    me: NodeId,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) agenda: Agenda,
    pub(crate) counts: Counts,
}

/// The outbox as foca sees it during one call.
pub(crate) struct Slot<'a> {
    outbox: &'a mut Outbox,
    now: Moment,
}

impl Outbox {
    pub(crate) fn of(me: NodeId) -> Self {
        Self { me, outputs: VecDeque::new(), agenda: Agenda::default(), counts: Counts::default() }
    }

    pub(crate) const fn at(&mut self, now: Moment) -> Slot<'_> {
        Slot { outbox: self, now }
    }

    pub(crate) fn send(&mut self, to: NodeId, bytes: Bytes) {
        if to == self.me {
            self.counts.faults += 1;
            return;
        }
        self.counts.sent_datagrams += 1;
        self.counts.sent_bytes += bytes.len() as u64;
        self.outputs.push_back(Output::Send { to, bytes });
    }

    pub(crate) fn tell(&mut self, output: Output) {
        self.counts.renewals += u64::from(matches!(output, Output::Rejoined(_)));
        self.outputs.push_back(output);
    }

    /// Counts what went wrong. There is nothing else to do: all that gossip does, it does again.
    pub(crate) fn note<E>(&mut self, result: &Result<(), E>) {
        self.counts.faults += u64::from(result.is_err());
    }
}

impl Runtime<Peer> for Slot<'_> {
    fn notify(&mut self, notification: Notification<'_, Peer>) {
        let output = match notification {
            Notification::MemberUp(peer) => Output::Up(*peer),
            Notification::MemberDown(peer) => Output::Down(*peer),
            Notification::Rename(before, after) => Output::Renamed { before: *before, after: *after },
            Notification::Rejoin(peer) => Output::Rejoined(*peer),
            Notification::Idle => Output::Alone,
            // Being heard is no news beside the first hub that is up; being defunct comes of our own leave alone.
            Notification::Active | Notification::Defunct => return,
        };
        self.outbox.tell(output);
    }

    fn send_to(&mut self, to: Peer, data: &[u8]) {
        self.outbox.send(to.node, datagram::of_swim(data));
    }

    fn submit_after(&mut self, timer: Timer<Peer>, after: Duration) {
        self.outbox.agenda.at(self.now + after, Errand::Swim(timer));
    }
}
