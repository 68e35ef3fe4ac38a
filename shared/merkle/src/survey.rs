//! The survey of all journals that two hubs share: which of them differ.
//!
//! ```text
//!  root ─ equal: done, one round trip
//!    └ partitions ─ those that differ ─▶ journals of each, or, when they are many, buckets ─ those that differ ─▶ journals of each
//! ```
//!
//! Promise: pure and bounded: it holds no more than three answers' journals at a time, and asks no more than it may. Each journal comes
//! out once, in the order of partitions. Absent: what differs inside a journal ([`Comparison`](crate::Comparison)).

mod lists;

use std::collections::VecDeque;

use bytes::Bytes;
use millrace_model::{JournalId, Partition};

use crate::contradiction::{Contradiction, Fault, both};
use crate::pairs::{self, pairs};
use crate::partitions::PartitionSet;
use crate::question::{Answer, JOURNALS_MAX, Question};
use crate::sums::BUCKETS;
use lists::Listed;

/// Questions of one survey: enough for 256 partitions of a hundred thousand journals, all of them differing.
pub const QUESTIONS_MAX: u32 = 1 << 17;

/// What a survey cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Questions, each of which went to the peer and back once.
    pub questions: u32,
    /// Bytes of the peer's answers, about, without frames.
    pub bytes: u64,
    /// Partitions that differ.
    pub partitions: u32,
    /// Journals that differ.
    pub journals: u64,
}

/// One survey.
#[derive(Debug)]
pub struct Survey {
    questions_max: u32,
    /// What is still to be asked, the next one last.
    next: Vec<Question>,
    asked: Option<Question>,
    found: VecDeque<JournalId>,
    is_cut: bool,
    figures: Figures,
}

impl Survey {
    /// A survey of these partitions that has not asked anything yet, and will ask no more than so many questions ([`QUESTIONS_MAX`]).
    #[must_use]
    pub fn new(partitions: PartitionSet, questions_max: u32) -> Self {
        let next = if partitions.is_empty() { Vec::new() } else { vec![Question::Root(partitions)] };
        let (found, figures) = (VecDeque::new(), Figures::default());
        Self { questions_max, next, asked: None, found, is_cut: false, figures }
    }

    /// The next question, to be put to both hubs. `None` while one is not answered yet, while more than [`JOURNALS_MAX`] journals wait to
    /// be taken ([`Self::poll_journal`]), and in the end.
    #[must_use]
    pub fn poll_question(&mut self) -> Option<Question> {
        if self.asked.is_some() || self.found.len() > JOURNALS_MAX {
            return None;
        }
        if self.figures.questions >= self.questions_max && !self.next.is_empty() {
            self.is_cut = true;
            self.next.clear();
        }
        self.asked = self.next.pop();
        self.figures.questions += u32::from(self.asked.is_some());
        self.asked.clone()
    }

    /// The next journal that differs, or that only one of them has.
    #[must_use]
    pub fn poll_journal(&mut self) -> Option<JournalId> {
        self.found.pop_front()
    }

    /// Takes both answers to the question that was asked last. Without one, nothing happens.
    ///
    /// # Errors
    /// When an answer cannot be true. Nothing more is asked then; the journals that were found until then hold.
    pub fn answered(&mut self, mine: Answer, theirs: Answer) -> Result<(), Contradiction> {
        let Some(asked) = self.asked.take() else { return Ok(()) };
        self.figures.bytes += theirs.weight();
        let taken = self.take(&asked, mine, theirs);
        if taken.is_err() {
            self.next.clear();
        }
        taken
    }

    /// Whether there is nothing more to ask, and no journal waits.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.asked.is_none() && self.next.is_empty() && self.found.is_empty()
    }

    /// Whether it ended because it may not ask more: there may be further journals that differ.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// What it cost so far.
    #[must_use]
    pub const fn figures(&self) -> Figures {
        self.figures
    }

    fn take(&mut self, asked: &Question, mine: Answer, theirs: Answer) -> Result<(), Contradiction> {
        match *asked {
            Question::Root(partitions) => {
                let (mine, theirs) = both(mine, theirs, |answer| match answer {
                    Answer::Root(root) => Ok(root),
                    _ => Err(Fault::Misplaced),
                })?;
                if mine != theirs {
                    self.next.push(Question::Partitions(partitions));
                }
            }
            Question::Partitions(partitions) => {
                let sums = |answer| match answer {
                    Answer::Partitions(sums) => lists::sums(&sums, partitions.len()),
                    _ => Err(Fault::Misplaced),
                };
                let (mine, theirs) = both(mine, theirs, sums)?;
                let differing = differing(partitions.iter(), &mine, &theirs);
                self.figures.partitions = u32::try_from(differing.len()).unwrap_or(u32::MAX);
                let all = |partition| Question::Journals { partition, bucket: None, after: None };
                self.next.extend(differing.into_iter().rev().map(all));
            }
            Question::Journals { partition, bucket, after } => {
                let whole = bucket.is_none() && after.is_none();
                let read = |answer| match answer {
                    Answer::Journals { journals, more } => {
                        Listed::read(journals, more, partition, bucket, after)
                    }
                    Answer::Buckets(sums) if whole => Ok(Listed::Buckets(lists::sums(&sums, BUCKETS)?)),
                    _ => Err(Fault::Misplaced),
                };
                let (mine, theirs) = both(mine, theirs, read)?;
                self.compare(partition, bucket, &mine, &theirs);
            }
            Question::Journal { .. } => {}
        }
        Ok(())
    }

    fn compare(&mut self, partition: Partition, bucket: Option<u8>, mine: &Listed, theirs: &Listed) {
        if let (
            Listed::Journals { journals: one, more },
            Listed::Journals { journals: other, more: further },
        ) = (mine, theirs)
        {
            let end = pairs::end((one, *more), (other, *further));
            let differing = pairs(one, other, end).filter(|(_, mine, theirs)| mine != theirs);
            let before = self.found.len();
            self.found.extend(differing.map(|(journal, ..)| journal));
            self.figures.journals += (self.found.len() - before) as u64;
            if end.is_some() {
                self.next.push(Question::Journals { partition, bucket, after: end });
            }
            return;
        }
        let every = || (0..=u8::MAX).collect();
        let buckets = match (mine.buckets(), theirs.buckets()) {
            (Some(mine), Some(theirs)) => differing(0..=u8::MAX, &mine, &theirs),
            _ => every(),
        };
        let one = |bucket| Question::Journals { partition, bucket: Some(bucket), after: None };
        self.next.extend(buckets.into_iter().rev().map(one));
    }
}

/// Those whose sums differ.
fn differing<T>(of: impl Iterator<Item = T>, mine: &[u64], theirs: &[u64]) -> Vec<T> {
    let sums = mine.iter().zip(theirs);
    of.zip(sums).filter(|(_, (mine, theirs))| mine != theirs).map(|(one, _)| one).collect()
}

impl Answer {
    /// How many bytes it has, about, without its frame.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let bytes = |bytes: &Bytes| bytes.len() as u64;
        match self {
            Self::Root(root) => root.0.len() as u64,
            Self::Partitions(sums) | Self::Buckets(sums) => bytes(sums),
            Self::Journals { journals, .. } => journals.len() as u64 * 40,
            Self::Journal(told) => told.weight(),
        }
    }
}
