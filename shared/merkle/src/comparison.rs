//! The comparison of one journal at two holders: what to ask, and what the two answers mean.
//!
//! ```text
//!  outlines ─ ranges differ? ─▶ pull, push: done (unless both are looked for)
//!     │
//!     ├─ summaries agree: equal, one round trip
//!     ├─ roots differ ─▶ walk down ─▶ names of leaves ─▶ seal, contested, adopt, give
//!     └─ sums of tail rows differ ─▶ their checks ─▶ rows
//! ```
//!
//! Whoever holds it takes a question ([`Comparison::poll_question`]), puts it to the own store and to the peer, and hands back both
//! answers ([`Comparison::answered`]), until there is no further question.
//!
//! Promise: pure and bounded ([`Limits`]); no answer makes it panic or ask for ever. What lies below the higher floor is never pulled or
//! pushed. Absent: what is done about a difference.

mod difference;
mod limits;
mod names;
mod outlines;
mod slots;
mod tail;
mod walk;

pub use difference::{Contested, Cut, Difference, Figures};
pub use limits::Limits;

use outlines::Outlines;
use tail::Tail;
use walk::Walk;

use crate::contradiction::{Contradiction, Fault, Holder};
use crate::question::{About, Told};

/// One comparison.
#[derive(Debug)]
pub struct Comparison {
    limits: Limits,
    outlines: Outlines,
    stage: Stage,
    next: Option<About>,
    asked: Option<About>,
    difference: Difference,
}

/// What is being looked at.
#[derive(Debug)]
enum Stage {
    Outlines,
    Walk(Walk),
    Tail(Tail),
    Done,
}

impl Comparison {
    /// A comparison that has not asked anything yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let outlines = Outlines::new();
        let next = Some(outlines.question());
        Self {
            limits,
            outlines,
            stage: Stage::Outlines,
            next,
            asked: None,
            difference: Difference::default(),
        }
    }

    /// The next question, to be put to both holders; `None` while one is not answered yet, and in the end.
    #[must_use]
    pub fn poll_question(&mut self) -> Option<About> {
        let question = self.next.take()?;
        let figures = &mut self.difference.figures;
        figures.questions += 1;
        figures.nodes += question.nodes();
        figures.bytes += question.weight();
        self.asked = Some(question.clone());
        Some(question)
    }

    /// Takes both answers to the question that was asked last. Without one, nothing happens.
    ///
    /// # Errors
    /// When an answer cannot be true. The comparison is over then, and what it found until then holds.
    pub fn answered(&mut self, mine: Told, theirs: Told) -> Result<(), Contradiction> {
        let Some(asked) = self.asked.take() else { return Ok(()) };
        self.difference.figures.bytes += theirs.weight();
        let unreadable = [(&mine, Cut::MineUnreadable), (&theirs, Cut::TheirsUnreadable)];
        if let Some((_, cut)) = unreadable.into_iter().find(|(told, _)| **told == Told::Unreadable) {
            self.end(Some(cut));
            return Ok(());
        }
        let taken = self.take(&asked, mine, theirs);
        if taken.is_err() {
            self.stage = Stage::Done;
        }
        taken
    }

    /// Whether there is nothing more to ask.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// What was found so far.
    #[must_use]
    pub const fn difference(&self) -> &Difference {
        &self.difference
    }

    /// What was found.
    #[must_use]
    pub fn into_difference(self) -> Difference {
        self.difference
    }

    fn take(&mut self, asked: &About, mine: Told, theirs: Told) -> Result<(), Contradiction> {
        let is_first = *asked == About::Outline { from: 1 };
        if !is_first && (mine == Told::Unknown || theirs == Told::Unknown) {
            self.end(Some(Cut::Gone));
            return Ok(());
        }
        let difference = &mut self.difference;
        match (&mut self.stage, asked) {
            (Stage::Outlines, About::Outline { .. }) => {
                if self.outlines.take(mine, theirs)? {
                    self.next = Some(self.outlines.question());
                } else {
                    self.compare_outlines();
                }
            }
            (Stage::Walk(walk), About::Nodes { level, indexes, depth, width }) => {
                walk.take((*level, indexes, *depth, *width), &mine, &theirs, difference)?;
                self.walk_on();
            }
            (Stage::Walk(_), About::Names { ordinals }) => {
                let gives = self.limits.gives;
                names::take(ordinals, (&mine, &theirs), (&self.outlines, gives), difference)?;
                self.walk_on();
            }
            (Stage::Tail(tail), About::Checks { .. }) => {
                if tail.take((&mine, &theirs), &self.outlines, difference)? {
                    self.ask_for_rows();
                } else {
                    tail.finish(difference);
                    self.end(None);
                }
            }
            _ => return Err(Fault::Misplaced.of(Holder::Mine)),
        }
        Ok(())
    }

    fn compare_outlines(&mut self) {
        let (mine, theirs) = (self.outlines.mine.summary, self.outlines.theirs.summary);
        let difference = &mut self.difference;
        difference.floor = self.outlines.floor();
        (difference.pull, difference.push) = self.outlines.missing();
        let both_known = self.outlines.mine.is_known && self.outlines.theirs.is_known;
        if mine.agrees(&theirs) || !(self.limits.both || difference.is_empty()) {
            self.end(None);
        } else if !both_known {
            // Who does not know the journal cannot be asked about it. If nothing is missing, the other one has let go of everything.
            difference.unsettled += u64::from(difference.is_empty());
            self.end(None);
        } else if mine.root.hash != theirs.root.hash {
            self.stage = Stage::Walk(Walk::new(&self.outlines, self.limits.gives, difference));
            self.walk_on();
        } else {
            self.look_at_the_tail();
        }
    }

    fn walk_on(&mut self) {
        let spent = self.spent();
        let Stage::Walk(walk) = &mut self.stage else { return };
        let left = self.limits.nodes_max.saturating_sub(self.difference.figures.nodes);
        match walk.next(if spent { 0 } else { left }) {
            Ok(Some(question)) => self.next = Some(question),
            Ok(None) => self.look_at_the_tail(),
            Err(cut) => self.end(Some(cut)),
        }
    }

    /// While segments are to be sealed or replaced, the sums over the rows differ for that reason.
    fn look_at_the_tail(&mut self) {
        let differ = self.outlines.mine.summary.tail != self.outlines.theirs.summary.tail;
        if differ && (self.limits.both || self.difference.is_empty()) {
            self.stage = Stage::Tail(Tail::new(self.difference.floor));
            self.ask_for_rows();
        } else {
            self.end(None);
        }
    }

    fn ask_for_rows(&mut self) {
        let spent = self.spent();
        let Stage::Tail(tail) = &self.stage else { return };
        if spent {
            self.end(Some(Cut::Budget));
        } else {
            self.next = Some(tail.question());
        }
    }

    /// Whether bytes or findings are used up.
    fn spent(&self) -> bool {
        let Difference { figures, rows, .. } = &self.difference;
        figures.bytes >= self.limits.bytes_max
            || self.difference.found() + rows.range_count() >= self.limits.found_max
    }

    fn end(&mut self, cut: Option<Cut>) {
        self.stage = Stage::Done;
        self.difference.cut = cut;
        self.difference.equal = cut.is_none() && self.difference.is_empty() && self.difference.unsettled == 0;
    }
}
