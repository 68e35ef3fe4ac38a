//! Foca's way out: what it sends, announces and wants to be reminded of.

use std::collections::VecDeque;
use std::time::Duration;

use foca::{Notification, Runtime, Timer};
use millrace_model::Moment;

use super::agenda::{Agenda, Errand};
use super::datagram;
use super::peer::Peer;
use super::words::{Counts, Output};

/// Collects what one call into foca brings.
pub(crate) struct Outbox<'a> {
    outputs: &'a mut VecDeque<Output>,
    agenda: &'a mut Agenda,
    counts: &'a mut Counts,
    now: Moment,
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(
        outputs: &'a mut VecDeque<Output>,
        agenda: &'a mut Agenda,
        counts: &'a mut Counts,
        now: Moment,
    ) -> Self {
        Self { outputs, agenda, counts, now }
    }
}

impl Runtime<Peer> for Outbox<'_> {
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
        self.outputs.push_back(output);
    }

    fn send_to(&mut self, to: Peer, data: &[u8]) {
        let bytes = datagram::of_swim(data);
        self.counts.sent(&bytes);
        self.outputs.push_back(Output::Send { to: to.node, bytes });
    }

    fn submit_after(&mut self, timer: Timer<Peer>, after: Duration) {
        self.agenda.at(self.now + after, Errand::Swim(timer));
    }
}
