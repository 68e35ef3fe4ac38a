//! Open receipts: what publishers wait for, by ticket.
//!
//! Promise: tickets rise, and are answered about in their order, so that finding one costs no search. Whoever stays
//! unanswered (a lane that blocks) keeps later places allocated, as many as the engine lets wait.
//! Absent: who is answered when (the engine).

use std::collections::VecDeque;

use millrace_agent_engine::Ticket;

use crate::mqtt::Receipt;

/// The receipts of publications on their way to the disk.
#[derive(Default)]
pub(super) struct OpenReceipts {
    /// The ticket of the first place.
    first: Ticket,
    places: VecDeque<Option<Receipt>>,
}

impl OpenReceipts {
    /// Keeps a receipt under a new ticket.
    pub(super) fn open(&mut self, receipt: Receipt) -> Ticket {
        let ticket = self.first + self.places.len() as Ticket;
        self.places.push_back(Some(receipt));
        ticket
    }

    /// Takes out the receipt of a ticket, once.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Receipt> {
        let place = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        let receipt = self.places.get_mut(place)?.take();
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        receipt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_taken_once_whatever_the_order_and_answered_places_are_given_back() {
        let mut receipts = OpenReceipts::default();
        let tickets: Vec<Ticket> = (0..4).map(|_| receipts.open(Receipt::detached())).collect();
        assert!(receipts.take(tickets[1]).is_some());
        assert!(receipts.take(tickets[1]).is_none());
        assert_eq!(receipts.places.len(), 4);
        assert!(receipts.take(tickets[0]).is_some());
        assert_eq!(receipts.places.len(), 2);
        assert!(receipts.take(tickets[0]).is_none());
        assert!(receipts.take(tickets[3]).is_some() && receipts.take(tickets[2]).is_some());
        assert!(receipts.places.is_empty());
        assert_eq!(receipts.open(Receipt::detached()), tickets[3] + 1);
    }
}
