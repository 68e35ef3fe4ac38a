//! Receipt: the promise to a publisher, kept open until the store has flushed.
//!
//! Promise: a positive answer takes a [`Durable`], so acknowledging before the flush does not compile. A receipt
//! that is dropped says "abandoned": no acknowledgement goes out and the connection ends, so the sender
//! delivers again. Answering never blocks and never waits.
//! Absent: packets (see `inbound`), the wish to retry.

use millrace_model::Durable;
use tokio::sync::mpsc;

use super::packet::Qos;

/// How the way of one publication ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// It is flushed.
    Stored,
    /// It was refused by policy, and the loss is flushed as declared.
    Rejected,
    /// It was refused, nothing is declared.
    Refused,
    /// Nobody answered.
    Abandoned,
}

/// What a receipt stands for, echoed back with the answer so that nobody must look it up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    /// Number of the admission within its session.
    pub(crate) ticket: u64,
    /// Which connection of the session it came on.
    pub(crate) epoch: u32,
    /// Packet id on that connection, 0 for QoS 0.
    pub(crate) packet_id: u16,
    /// Quality of service.
    pub(crate) qos: Qos,
    /// Bytes it holds in memory until it is answered.
    pub(crate) bytes: u32,
}

/// An answered claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    pub(crate) claim: Claim,
    pub(crate) answer: Answer,
}

/// The open promise of one publication. Answer it once, or drop it.
#[derive(Debug)]
#[must_use = "a dropped receipt ends the publisher's connection without an acknowledgement"]
pub struct Receipt {
    open: Option<(Claim, mpsc::Sender<Verdict>)>,
}

impl Receipt {
    /// A receipt that answers to `verdicts`, whose capacity must cover every open receipt of the session.
    pub(crate) fn new(claim: Claim, verdicts: mpsc::Sender<Verdict>) -> Self {
        Self { open: Some((claim, verdicts)) }
    }

    /// A receipt that nobody waits for: a last will, or what the agent itself publishes.
    pub fn detached() -> Self {
        Self { open: None }
    }

    /// The record is flushed: the PUBACK or PUBREC goes out.
    pub fn stored(mut self, _proof: &Durable) {
        self.answer(Answer::Stored);
    }

    /// The record was refused by policy and the loss is durably declared: the publication is acknowledged, so that
    /// its sender does not repeat it for ever. MQTT 5 senders see the reason code "quota exceeded".
    pub fn rejected(mut self, why: &str, _proof: &Durable) {
        tracing::debug!(why, "a publication was rejected and its loss declared");
        self.answer(Answer::Rejected);
    }

    /// The record was not stored. An MQTT 5 publisher of the embedded broker gets a reason code, everybody else's
    /// connection ends without an acknowledgement, which makes the sender deliver again.
    pub fn refused(mut self, why: &str) {
        tracing::debug!(why, "a publication was refused");
        self.answer(Answer::Refused);
    }

    /// Sends the answer. The channel has room for every open receipt of its session; it can only be closed, which
    /// means that the session is gone and nobody is left to be told.
    fn answer(&mut self, answer: Answer) {
        if let Some((claim, verdicts)) = self.open.take() {
            let _session_gone = verdicts.try_send(Verdict { claim, answer });
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.answer(Answer::Abandoned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim { ticket: 7, epoch: 1, packet_id: 3, qos: Qos::AtLeastOnce, bytes: 10 }
    }

    #[test]
    fn a_dropped_receipt_answers_abandoned() {
        let (verdicts, mut heard) = mpsc::channel(1);
        drop(Receipt::new(claim(), verdicts));
        assert_eq!(heard.try_recv(), Ok(Verdict { claim: claim(), answer: Answer::Abandoned }));
    }

    #[test]
    fn an_answered_receipt_answers_once() {
        let (verdicts, mut heard) = mpsc::channel(2);
        Receipt::new(claim(), verdicts).stored(&Durable::attest(1));
        assert_eq!(heard.try_recv(), Ok(Verdict { claim: claim(), answer: Answer::Stored }));
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn answering_a_session_that_is_gone_is_no_error() {
        let (verdicts, heard) = mpsc::channel(1);
        drop(heard);
        Receipt::new(claim(), verdicts).refused("the disk is full");
    }
}
