//! Open receipts: what publishers wait for, by ticket.
//!
//! Promise: tickets rise and are mostly answered in their order, which costs no search. Room does not grow with time: when a
//! lane that blocks leaves an early one open, the answered ones behind it are given back all the same.
//! Absent: who is answered when (the engine).

use std::collections::VecDeque;

use millrace_agent_engine::Ticket;

use crate::mqtt::Receipt;

/// Answered places are cleared away when they are more than this, and more than those that are open.
const ANSWERED_MAX: usize = 1_024;

/// The receipts of publications on their way to the disk.
#[derive(Default)]
pub(super) struct OpenReceipts {
    last: Ticket,
    /// By rising ticket; the first one is open.
    places: VecDeque<(Ticket, Option<Receipt>)>,
    answered: usize,
}

impl OpenReceipts {
    /// Keeps a receipt under a new ticket.
    pub(super) fn open(&mut self, receipt: Receipt) -> Ticket {
        self.last += 1;
        self.places.push_back((self.last, Some(receipt)));
        self.last
    }

    /// Takes out the receipt of a ticket, once.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Receipt> {
        let first = self.places.front().is_some_and(|(first, _)| *first == ticket);
        let place =
            if first { Ok(0) } else { self.places.binary_search_by_key(&ticket, |(ticket, _)| *ticket) };
        let receipt = self.places.get_mut(place.ok()?)?.1.take()?;
        self.answered += 1;
        while self.places.front().is_some_and(|(_, receipt)| receipt.is_none()) {
            self.places.pop_front();
            self.answered -= 1;
        }
        if self.answered > ANSWERED_MAX.max(self.places.len() / 2) {
            self.places.retain(|(_, receipt)| receipt.is_some());
            self.answered = 0;
        }
        Some(receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_taken_once_whatever_the_order() {
        let mut receipts = OpenReceipts::default();
        let tickets: Vec<Ticket> = (0..4).map(|_| receipts.open(Receipt::detached())).collect();
        for place in [1, 0, 3, 2] {
            assert!(receipts.take(tickets[place]).is_some(), "{place}");
            assert!(receipts.take(tickets[place]).is_none(), "{place} again");
        }
        assert!(receipts.places.is_empty());
        assert!(receipts.open(Receipt::detached()) > tickets[3]);
    }

    #[test]
    fn one_that_stays_open_does_not_keep_the_room_of_those_behind_it() {
        let mut receipts = OpenReceipts::default();
        let stuck = receipts.open(Receipt::detached());
        for _ in 0..100_000 {
            let ticket = receipts.open(Receipt::detached());
            assert!(receipts.take(ticket).is_some());
        }
        assert!(receipts.places.len() <= ANSWERED_MAX + 2, "{} places", receipts.places.len());
        assert!(receipts.take(stuck).is_some());
        assert!(receipts.places.is_empty());
    }
}
