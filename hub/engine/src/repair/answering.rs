//! Answering: what another hub asks of this one, and what this one asks of itself.
//!
//! What is known of all journals together is in memory; about one journal the store is asked.

use std::convert::Infallible;

use millrace_merkle::{About, Answer, Question, Told, responder};
use millrace_model::{JournalId, Moment};
use millrace_wire::{Frame, Inquiry, PeerFrame, PeerInquiry, PeerReply, Reply};

use super::Partner;
use super::round::SLOTS_MAX;
use crate::{Command, Engine, LinkId};

/// Who is to be answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Asker {
    /// Another hub, on its stream.
    Guest(LinkId),
    /// This hub itself, in its round with somebody.
    Round(Partner),
}

/// Inquiries of another hub that wait for the store. It has [`SLOTS_MAX`] under way, and may have given up as many several times over
/// that a slow disk has not read yet.
const INQUIRIES_MAX: usize = 4 * SLOTS_MAX;

impl Engine {
    /// Another hub asks.
    pub(crate) fn guest_asks(&mut self, guest: LinkId, inquiry: PeerInquiry, now: Moment) {
        let Some(asking) = self.guests.get_mut(&guest) else { return };
        if asking.inquiries >= INQUIRIES_MAX {
            return self.dismiss_alarmed(guest, "it asks more than can be answered");
        }
        asking.inquiries += 1;
        self.put(Asker::Guest(guest), inquiry.number, inquiry.question, now);
    }

    /// Finds the answer to a question, here.
    pub(super) fn put(&mut self, asker: Asker, number: u64, question: Question, now: Moment) {
        if let Question::Journal { journal, about } = question {
            if self.shelves.contains_key(&journal) {
                self.commands.push_back(Command::Consult { asker, number, journal, about });
            } else {
                self.answered(asker, number, Answer::Journal(Told::Unknown), now);
            }
            return;
        }
        let journals = |partition| {
            let of_partition = self.repair.journals(partition);
            let digests =
                of_partition.filter_map(|journal| Some((journal, self.shelves.get(&journal)?.digest)));
            Ok::<_, Infallible>(digests.map(Ok))
        };
        match responder::survey(&question, &self.repair.sums, journals) {
            Ok(answer) => self.answered(asker, number, answer, now),
            Err(unfit) => self.unfit(asker, &unfit.to_string(), now),
        }
    }

    /// The store has answered.
    pub(crate) fn consulted(&mut self, asker: Asker, number: u64, told: Told, now: Moment) {
        self.answered(asker, number, Answer::Journal(told), now);
    }

    fn answered(&mut self, asker: Asker, number: u64, answer: Answer, now: Moment) {
        match asker {
            Asker::Guest(guest) => {
                let Some(asking) = self.guests.get_mut(&guest) else { return };
                asking.inquiries = asking.inquiries.saturating_sub(1);
                self.answer(guest, PeerFrame::Reply(PeerReply { number, answer }));
            }
            Asker::Round(partner) => self.round_answered(partner, number, (Some(answer), None), now),
        }
    }

    fn unfit(&mut self, asker: Asker, why: &str, now: Moment) {
        match asker {
            Asker::Guest(guest) => {
                self.dismiss_alarmed(guest, &format!("it asks what cannot be asked: {why}"));
            }
            Asker::Round(partner) => self.end_round(partner, Some(why.to_owned()), now),
        }
    }

    /// Puts a question of a round to the partner.
    pub(super) fn ask_partner(&mut self, partner: Partner, number: u64, question: Question) {
        match (partner, question) {
            (Partner::Hub(node), question) => {
                self.tell(node, PeerFrame::Inquiry(PeerInquiry { number, question }));
            }
            (Partner::Agent(link), Question::Journal { journal, about }) => {
                self.inquire(link, number, journal, about);
            }
            // A round with an agent asks about journals alone.
            (Partner::Agent(_), _) => {}
        }
    }

    fn inquire(&mut self, link: LinkId, number: u64, journal: JournalId, about: About) {
        self.send(link, Frame::Inquiry(Inquiry { number, journal: journal.into(), about }));
    }

    /// An agent answered.
    pub(crate) fn agent_replied(&mut self, link: LinkId, reply: Reply, now: Moment) {
        let answer = Answer::Journal(reply.told);
        self.round_answered(Partner::Agent(link), reply.number, (None, Some(answer)), now);
    }

    /// Another hub answered.
    pub(crate) fn peer_replied(&mut self, node: millrace_model::NodeId, reply: PeerReply, now: Moment) {
        self.round_answered(Partner::Hub(node), reply.number, (None, Some(reply.answer)), now);
    }
}
