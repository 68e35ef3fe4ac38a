//! One round: what is asked next, of whom the answer is awaited, and what is looked at twice.
//!
//! Promise: at most [`SLOTS_MAX`] questions are under way with a hub and one with an agent; at most [`WAITING_MAX`] journals wait, and
//! [`DOUBTFUL_MAX`] are looked at again. What is more than that the next round finds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use millrace_merkle::comparison::Limits;
use millrace_merkle::survey::QUESTIONS_MAX;
use millrace_merkle::{Answer, Comparison, Difference, PartitionSet, Question, Survey};
use millrace_model::{DeviceId, JournalId, Moment, Wall};

use super::{Findings, Partner, RoundReport, Trigger};

/// Questions under way with another hub: the road is far, and each journal takes several.
pub const SLOTS_MAX: usize = 16;

/// Journals that wait for their comparison.
pub const WAITING_MAX: usize = 1_024;

/// Journals that differed at the first look.
pub const DOUBTFUL_MAX: usize = 1_024;

/// Ranges of all their differences: 4 MB. One journal alone is always looked at again.
const DOUBTFUL_RANGES_MAX: usize = 1 << 18;

/// Bytes of one comparison: a journal that differs nearly everywhere is mended in several rounds.
const BYTES_MAX: u64 = 1 << 20;

/// Between the first look at a journal that differs and the second: longer than any healthy delivery takes.
const SECOND_LOOK: Duration = Duration::from_secs(12);

/// Whoever does not answer for so long is left alone until the next round.
const PATIENCE: Duration = Duration::from_secs(30);

/// A round.
#[derive(Debug)]
pub(crate) struct Round {
    trigger: Trigger,
    pub(super) dry_run: bool,
    /// Whether anything was done about what it found.
    pub(super) acted: bool,
    began: Moment,
    at: Wall,
    device: Option<DeviceId>,
    survey: Option<Survey>,
    surveying: bool,
    slots: BTreeMap<u64, Slot>,
    slots_max: usize,
    waiting: VecDeque<(JournalId, Option<Box<Difference>>)>,
    /// Comparisons that go on.
    going: VecDeque<Going>,
    doubtful: BTreeMap<JournalId, Box<Difference>>,
    doubtful_ranges: usize,
    look_at: Option<Moment>,
    /// When something was asked or answered last.
    moved: Moment,
    pub(super) findings: Findings,
}

/// A question that is under way.
#[derive(Debug)]
struct Slot {
    asks: Asks,
    mine: Option<Answer>,
    theirs: Option<Answer>,
}

/// What the answers are for.
#[derive(Debug)]
enum Asks {
    /// Which journals differ.
    Survey,
    /// What differs in one.
    Journal(Going),
}

/// A comparison, and what differed at the first look.
#[derive(Debug)]
struct Going {
    journal: JournalId,
    comparison: Box<Comparison>,
    first: Option<Box<Difference>>,
}

/// What comes next.
pub(super) enum Next {
    /// Ask this, of both.
    Ask(Question),
    /// Wait for an answer, or for the second look.
    Wait,
    /// Nothing is left.
    Over,
}

/// What both answers to a question led to.
pub(super) enum Taken {
    /// More is to be asked.
    Goes,
    /// A journal was compared; `first` is what differed at the first look.
    Compared { journal: JournalId, first: Option<Box<Difference>>, difference: Box<Difference> },
    /// An answer cannot be true.
    Contradicted(String),
}

impl Round {
    /// With a hub, over these partitions.
    pub(super) fn with_hub(partitions: PartitionSet) -> Self {
        Self { survey: Some(Survey::new(partitions, QUESTIONS_MAX)), slots_max: SLOTS_MAX, ..Self::empty() }
    }

    /// With an agent, over these journals of its device.
    pub(super) fn with_agent(device: DeviceId, journals: Vec<JournalId>) -> Self {
        let waiting = journals.into_iter().map(|journal| (journal, None)).collect();
        Self { device: Some(device), waiting, slots_max: 1, ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            trigger: Trigger::Interval,
            dry_run: false,
            acted: false,
            began: Moment(0),
            at: Wall(0),
            device: None,
            survey: None,
            surveying: false,
            slots: BTreeMap::new(),
            slots_max: 1,
            waiting: VecDeque::new(),
            going: VecDeque::new(),
            doubtful: BTreeMap::new(),
            doubtful_ranges: 0,
            look_at: None,
            moved: Moment(0),
            findings: Findings::default(),
        }
    }

    /// It begins.
    pub(super) fn begun(self, trigger: Trigger, dry_run: bool, now: Moment, at: Wall) -> Self {
        Self { trigger, dry_run, began: now, moved: now, at, ..self }
    }

    /// The next question, to be asked under `number`.
    pub(super) fn next(&mut self, number: u64, now: Moment) -> Next {
        if self.slots.len() >= self.slots_max {
            return Next::Wait;
        }
        self.moved = now;
        if let Some(question) = self.survey_on() {
            self.slots.insert(number, Slot { asks: Asks::Survey, mine: None, theirs: None });
            return Next::Ask(question);
        }
        let begun = self.going.pop_front().or_else(|| {
            let (journal, first) = self.waiting.pop_front()?;
            self.findings.journals += u64::from(first.is_none());
            // What differs at the ends of a journal that is written to hides nothing at the second look.
            let (both, gives) = (first.is_some(), self.device.is_some());
            let limits = Limits { both, gives, bytes_max: BYTES_MAX, ..Limits::DEFAULT };
            Some(Going { journal, comparison: Box::new(Comparison::new(limits)), first })
        });
        if let Some(mut going) = begun
            && let Some(about) = going.comparison.poll_question()
        {
            let journal = going.journal;
            self.slots.insert(number, Slot { asks: Asks::Journal(going), mine: None, theirs: None });
            return Next::Ask(Question::Journal { journal, about });
        }
        if !self.slots.is_empty() || self.look_at.is_some() {
            return Next::Wait;
        }
        if self.doubtful.is_empty() {
            return Next::Over;
        }
        self.look_at = Some(now + SECOND_LOOK);
        Next::Wait
    }

    /// Goes on with the survey while there is room for what it finds.
    fn survey_on(&mut self) -> Option<Question> {
        let survey = self.survey.as_mut()?;
        while self.waiting.len() < WAITING_MAX
            && let Some(journal) = survey.poll_journal()
        {
            self.waiting.push_back((journal, None));
        }
        if self.surveying || self.waiting.len() >= WAITING_MAX {
            return None;
        }
        let question = survey.poll_question();
        self.surveying = question.is_some();
        if question.is_none() && survey.is_done() {
            self.findings.questions += u64::from(survey.figures().questions);
            self.findings.bytes += survey.figures().bytes;
            self.survey = None;
        }
        question
    }

    /// An answer came: mine, or theirs. `None` while the other one is awaited, or when nobody asked.
    pub(super) fn answered(
        &mut self,
        number: u64,
        mine: Option<Answer>,
        theirs: Option<Answer>,
        now: Moment,
    ) -> Option<Taken> {
        let slot = self.slots.get_mut(&number)?;
        self.moved = now;
        slot.mine = slot.mine.take().or(mine);
        slot.theirs = slot.theirs.take().or(theirs);
        if slot.mine.is_none() || slot.theirs.is_none() {
            return None;
        }
        let Slot { asks, mine: Some(mine), theirs: Some(theirs) } = self.slots.remove(&number)? else {
            return None;
        };
        Some(self.take(asks, mine, theirs))
    }

    fn take(&mut self, asks: Asks, mine: Answer, theirs: Answer) -> Taken {
        match asks {
            Asks::Survey => {
                self.surveying = false;
                let taken = self.survey.as_mut().map_or(Ok(()), |survey| survey.answered(mine, theirs));
                taken.map_or_else(|why| Taken::Contradicted(why.to_string()), |()| Taken::Goes)
            }
            Asks::Journal(mut going) => {
                let (Answer::Journal(mine), Answer::Journal(theirs)) = (mine, theirs) else {
                    return Taken::Contradicted("it answers another question".to_owned());
                };
                if let Err(why) = going.comparison.answered(mine, theirs) {
                    return Taken::Contradicted(why.to_string());
                }
                if !going.comparison.is_done() {
                    self.going.push_back(going);
                    return Taken::Goes;
                }
                let Going { journal, comparison, first } = going;
                let difference = Box::new(comparison.into_difference());
                self.findings.questions += u64::from(difference.figures.questions);
                self.findings.bytes += difference.figures.bytes;
                Taken::Compared { journal, first, difference }
            }
        }
    }

    /// A journal differs at the first look.
    pub(super) fn doubt(&mut self, journal: JournalId, difference: Box<Difference>) {
        let ranges =
            difference.pull.range_count() + difference.push.range_count() + difference.rows.range_count();
        let room = self.doubtful.len() < DOUBTFUL_MAX && self.doubtful_ranges + ranges <= DOUBTFUL_RANGES_MAX;
        if room || self.doubtful.is_empty() {
            self.doubtful_ranges += ranges;
            self.doubtful.insert(journal, difference);
        }
    }

    /// Whether somebody asked for it.
    pub(super) fn is_demanded(&self) -> bool {
        self.trigger == Trigger::Demand
    }

    /// When the second look is due, or whoever was asked should have answered.
    pub(super) fn due(&self) -> Option<Moment> {
        let overdue = (!self.slots.is_empty()).then(|| self.moved + PATIENCE);
        self.look_at.into_iter().chain(overdue).min()
    }

    /// Whether whoever was asked should have answered by now.
    pub(super) fn is_overdue(&self, now: Moment) -> bool {
        !self.slots.is_empty() && now.since(self.moved) >= PATIENCE
    }

    /// It is time for the second look.
    pub(super) fn look_again(&mut self, now: Moment) {
        if self.look_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        self.doubtful_ranges = 0;
        let doubtful = std::mem::take(&mut self.doubtful);
        self.waiting.extend(doubtful.into_iter().map(|(journal, first)| (journal, Some(first))));
    }

    /// What it found and did, in the end.
    pub(super) fn report(self, partner: Partner, ended: Option<String>, now: Moment) -> RoundReport {
        RoundReport { ended, ..self.report_so_far(partner, now) }
    }

    /// What it found and did until now.
    pub(super) fn report_so_far(&self, partner: Partner, now: Moment) -> RoundReport {
        RoundReport {
            partner,
            device: self.device,
            trigger: self.trigger,
            dry_run: self.dry_run,
            at: self.at,
            took: now.since(self.began),
            findings: self.findings,
            ended: None,
        }
    }
}
