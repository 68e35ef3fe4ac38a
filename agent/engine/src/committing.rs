//! What goes into the next commit. One commit is under way at a time; what comes meanwhile makes up the next one, so
//! that the group grows just as the disk is slow.
//!
//! Absent: the meaning of the changes; whoever adds one, learns its outcome by the purpose that it gave.

use std::collections::VecDeque;

use millrace_model::store::{Change, Outcome};
use millrace_model::{Durable, Moment};

/// Why a change was asked for, so that its outcome finds its room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Records of publications, or records of Millrace itself.
    Append,
    /// Publications that were refused.
    Reject,
    /// Acks to be written down.
    Acknowledge,
    /// Room to be made.
    Drop,
    /// Losses to be declared.
    DeclareGaps,
    /// A new incarnation.
    Reincarnate,
    /// Records of a retired journal.
    Reauthor,
    /// Acks to be taken back: the hub lost what it had acknowledged.
    Reclaim,
    /// What follows from hubs that were made anew.
    Epoch,
    /// History that comes back from the hubs.
    Restore,
    /// What damage took comes back from a hub.
    Regain,
    /// A segment that damage took is named again.
    Seal,
    /// Hashes of the digest that damage took.
    Adopt,
}

impl Purpose {
    /// Whether the change takes room. After a refusal those that take none go first, alone. (A rejection is a count,
    /// and may draw on the store's reserve.)
    const fn takes_room(self) -> bool {
        matches!(self, Self::Append | Self::Reincarnate | Self::Reauthor | Self::Epoch | Self::Restore)
            || self.comes_again()
    }

    /// Whether the hub brings it again when it is dropped.
    const fn comes_again(self) -> bool {
        matches!(self, Self::Regain | Self::Seal | Self::Adopt)
    }
}

/// The changes that wait, and the commit under way.
#[derive(Debug, Default)]
pub struct Committing {
    waiting: VecDeque<(Purpose, Change)>,
    under_way: Option<(u64, Vec<Purpose>)>,
    count: u64,
    refused_until: Option<Moment>,
    /// Even what takes no room was refused: then nothing is tried before that time.
    stuck: bool,
}

impl Committing {
    /// Asks for a change in the next commit.
    pub fn add(&mut self, purpose: Purpose, change: Change) {
        self.waiting.push_back((purpose, change));
    }

    /// The change that was asked for last, if it still waits.
    pub fn last_mut(&mut self) -> Option<&mut Change> {
        self.waiting.back_mut().map(|(_, change)| change)
    }

    /// Whether the next commit may begin.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// Whether a change for `purpose` waits or is under way.
    #[must_use]
    pub fn has(&self, purpose: Purpose) -> bool {
        self.waiting.iter().any(|(other, _)| *other == purpose)
            || self.under_way.as_ref().is_some_and(|(_, purposes)| purposes.contains(&purpose))
    }

    /// Whether the last commit was refused because the disk is full, and none succeeded since.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.refused_until.is_some()
    }

    /// The next commit, if one may begin and there is anything to do. Its number, and its changes in order.
    pub fn begin(&mut self, now: Moment) -> Option<(u64, Vec<Change>)> {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return None;
        }
        if self.stuck && self.refused_until.is_some_and(|at| now < at) {
            return None;
        }
        let (purposes, changes): (Vec<_>, Vec<_>) = match self.refused_until {
            Some(at) if now < at => {
                let (later, first): (VecDeque<_>, VecDeque<_>) =
                    self.waiting.drain(..).partition(|(purpose, _)| purpose.takes_room());
                self.waiting = later;
                first.into_iter().unzip()
            }
            _ => self.waiting.drain(..).unzip(),
        };
        if changes.is_empty() {
            return None;
        }
        self.count += 1;
        self.under_way = Some((self.count, purposes));
        Some((self.count, changes))
    }

    /// A commit was flushed. Returns the outcomes with their purposes; nothing when it is not the one under way.
    pub fn committed(&mut self, durable: Durable, outcomes: Vec<Outcome>) -> Vec<(Purpose, Outcome)> {
        let Some((_, purposes)) = self.under_way.take_if(|(commit, _)| *commit == durable.commit()) else {
            return Vec::new();
        };
        self.stuck = false;
        if purposes.iter().any(|purpose| purpose.takes_room() || *purpose == Purpose::Drop) {
            self.refused_until = None;
        }
        purposes.into_iter().zip(outcomes).collect()
    }

    /// A commit was refused: its changes wait again, in front, but for what a hub brings again. Returns those that came from the intake, which decides
    /// about them anew: on a full disk a publication may have to be refused that was welcome before.
    pub fn refused(&mut self, commit: u64, changes: Vec<Change>, until: Moment) -> Vec<Change> {
        let Some((_, purposes)) = self.under_way.take_if(|(number, _)| *number == commit) else {
            return Vec::new();
        };
        // What a hub brings again is no reason to make room: without it the others may fit.
        let comes_again = purposes.iter().any(|purpose| purpose.comes_again());
        let needs_room = purposes.iter().any(|purpose| purpose.takes_room() && !purpose.comes_again());
        if needs_room || !comes_again {
            self.stuck = !needs_room;
            self.refused_until = Some(until);
        }
        let (intake, others): (Vec<_>, Vec<_>) = purposes
            .into_iter()
            .zip(changes)
            .partition(|(purpose, _)| matches!(purpose, Purpose::Append | Purpose::Reject));
        for entry in others.into_iter().rev() {
            self.waiting.push_front(entry);
        }
        self.waiting.retain(|(purpose, _)| !purpose.comes_again());
        intake.into_iter().map(|(_, change)| change).collect()
    }

    /// Forgets a refusal whose pause is over when nothing waits that could be tried: what comes next finds out. Else a
    /// lane that is held back because of the refusal would have nothing to end it.
    pub fn forget_refusal(&mut self, now: Moment) {
        if self.under_way.is_none() && self.waiting.is_empty() {
            self.refused_until.take_if(|at| *at <= now);
        }
    }

    /// When a refused commit is tried again as a whole.
    #[must_use]
    pub fn retry_at(&self) -> Option<Moment> {
        self.refused_until.filter(|_| self.under_way.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::{DeviceId, Incarnation, JournalId};
    use millrace_model::{Lane, RangeSet, SeqRange};

    fn append() -> Change {
        Change::Append { lane: Lane::Normal, records: Vec::new() }
    }

    fn journal() -> JournalId {
        let (device, incarnation) = (DeviceId::from_bytes([1; 16]), Incarnation::new(1));
        JournalId { device, incarnation, lane: Lane::Normal }
    }

    fn room() -> Change {
        Change::Acknowledge { journal: journal(), ranges: RangeSet::from(SeqRange::only(1)) }
    }

    #[test]
    fn what_comes_during_a_commit_makes_up_the_next_one() {
        let mut committing = Committing::default();
        committing.add(Purpose::Append, append());
        let (first, changes) = committing.begin(Moment(0)).unwrap();
        assert_eq!(changes.len(), 1);
        committing.add(Purpose::Append, append());
        committing.add(Purpose::Append, append());
        assert_eq!(committing.begin(Moment(0)), None, "one at a time");
        assert_eq!(committing.committed(Durable::attest(first), vec![Outcome::Done]).len(), 1);
        assert_eq!(committing.begin(Moment(0)).unwrap().1.len(), 2);
    }

    #[test]
    fn a_proof_of_another_commit_proves_nothing() {
        let mut committing = Committing::default();
        committing.add(Purpose::Append, append());
        let (commit, _) = committing.begin(Moment(0)).unwrap();
        assert!(committing.committed(Durable::attest(commit + 1), vec![Outcome::Done]).is_empty());
        assert!(!committing.is_idle());
    }

    #[test]
    fn after_a_refusal_what_takes_no_room_goes_first_and_the_intake_decides_anew() {
        let mut committing = Committing::default();
        let moved =
            || Change::Reauthor { journal: journal(), range: SeqRange::only(1), equal: RangeSet::new() };
        committing.add(Purpose::Append, append());
        committing.add(Purpose::Reauthor, moved());
        let (commit, changes) = committing.begin(Moment(0)).unwrap();
        assert_eq!(committing.refused(commit, changes, Moment(100)), [append()], "given back");
        assert_eq!(committing.begin(Moment(1)), None);
        committing.add(Purpose::Acknowledge, room());
        let (commit, changes) = committing.begin(Moment(2)).unwrap();
        assert_eq!(changes, [room()]);
        committing.committed(Durable::attest(commit), vec![Outcome::Done]);
        assert_eq!(committing.retry_at(), Some(Moment(100)));
        assert_eq!(committing.begin(Moment(100)).unwrap().1, [moved()]);
    }

    #[test]
    fn what_a_hub_brings_again_does_not_wait_for_a_disk_that_is_full() {
        let mut committing = Committing::default();
        committing.add(Purpose::Regain, room());
        committing.add(Purpose::Acknowledge, room());
        let (commit, changes) = committing.begin(Moment(0)).unwrap();
        committing.add(Purpose::Seal, room());
        assert_eq!(committing.refused(commit, changes, Moment(100)), []);
        assert!(!committing.has(Purpose::Regain) && !committing.has(Purpose::Seal));
        assert!(!committing.is_refused(), "and no room is made for it");
        assert_eq!(committing.begin(Moment(0)).unwrap().1, [room()]);
    }

    #[test]
    fn when_even_acks_are_refused_the_disk_is_left_alone_for_a_while() {
        let mut committing = Committing::default();
        committing.add(Purpose::Acknowledge, room());
        let (commit, changes) = committing.begin(Moment(0)).unwrap();
        assert_eq!(committing.refused(commit, changes, Moment(100)), []);
        assert_eq!(committing.begin(Moment(99)), None);
        assert_eq!(committing.retry_at(), Some(Moment(100)));
        assert_eq!(committing.begin(Moment(100)).unwrap().1, [room()]);
    }
}
