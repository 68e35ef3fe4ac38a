//! Our comparison: the same frames that hubs and agents exchange, until both holders are equal.

use anyhow::{Context, bail};
use millrace_merkle::comparison::Limits;
use millrace_merkle::survey::QUESTIONS_MAX;
use millrace_merkle::{Answer, Comparison, Difference, PartitionSet, Question, Survey};
use millrace_model::{JournalId, RangeSet, SeqRange};
use millrace_wire::peer::Lacks;
use millrace_wire::{Frame, Inquiry, PeerFrame, PeerInquiry, PeerReply, Records, Reply, encode};
use tokio::time::Instant;

use super::Cost;
use super::holder::Holder;

/// Comparisons of one journal, at most: each finds a few thousand places.
const ROUNDS_MAX: usize = 100;

/// Ranges that a hub asks for at a time.
const BATCH_RANGES: usize = 256;

/// Frames on their way, counted.
struct Road<'a> {
    mine: &'a mut Holder,
    theirs: &'a mut Holder,
    cost: Cost,
    /// Whether the other holder is an agent: its frames name no device.
    agent: bool,
}

/// What the comparison of `mine`, which lacks something, with `whole` costs, until both are equal. With `survey`, two hubs begin with the
/// root over all that they share; otherwise a hub compares the journals of one agent.
pub(super) fn measure(whole: &Holder, mut mine: Holder, survey: bool) -> anyhow::Result<Cost> {
    let mut theirs = whole.clone();
    let agent = !survey && mine.journals().len() == 1;
    let began = Instant::now();
    let mut road = Road { mine: &mut mine, theirs: &mut theirs, cost: Cost::default(), agent };
    let journals = if agent { road.mine.journals() } else { road.survey()? };
    for journal in journals {
        road.compare(journal)?;
    }
    let mut cost = road.cost;
    cost.seconds = began.elapsed().as_secs_f64();
    Ok(cost)
}

impl Road<'_> {
    fn ask(&mut self, question: Question) -> anyhow::Result<(Answer, Answer)> {
        let (mine, theirs) = (self.mine.answer(&question), self.theirs.answer(&question));
        let number = self.cost.trips;
        let bytes = match (self.agent, question, &theirs) {
            (true, Question::Journal { journal, about }, Answer::Journal(told)) => {
                let asked = encode(&Frame::Inquiry(Inquiry { number, journal: journal.into(), about }))?;
                let told = encode(&Frame::Reply(Reply { number, told: told.clone() }))?;
                asked.len() + told.len()
            }
            (_, question, answer) => {
                let asked = PeerFrame::Inquiry(PeerInquiry { number, question }).encode()?;
                let told = PeerFrame::Reply(PeerReply { number, answer: answer.clone() }).encode()?;
                asked.len() + told.len()
            }
        };
        self.cost.bytes += bytes as u64;
        self.cost.trips += 1;
        Ok((mine, theirs))
    }

    /// What is lacking is asked for, in batches as a hub does.
    fn request(&mut self, journal: JournalId, pull: &RangeSet) -> anyhow::Result<()> {
        let all: Vec<SeqRange> = pull.iter().collect();
        for some in all.chunks(BATCH_RANGES) {
            let ranges: RangeSet = some.iter().copied().collect();
            let bytes = if self.agent {
                encode(&Frame::Wanted(Records { journal: journal.into(), ranges }))?
            } else {
                PeerFrame::Lacks(Lacks { journal, ranges, bring: true }).encode()?
            };
            self.cost.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn survey(&mut self) -> anyhow::Result<Vec<JournalId>> {
        let mut survey = Survey::new(PartitionSet::ALL, QUESTIONS_MAX);
        let mut differing = Vec::new();
        while !survey.is_done() {
            if let Some(question) = survey.poll_question() {
                let (mine, theirs) = self.ask(question)?;
                survey.answered(mine, theirs).context("the survey")?;
            }
            differing.extend(std::iter::from_fn(|| survey.poll_journal()));
        }
        Ok(differing)
    }

    fn compare(&mut self, journal: JournalId) -> anyhow::Result<()> {
        for _ in 0..ROUNDS_MAX {
            let before = (self.cost.bytes, self.cost.trips);
            let mut comparison = Comparison::new(Limits::DEFAULT);
            while let Some(about) = comparison.poll_question() {
                let (mine, theirs) = self.ask(Question::Journal { journal, about })?;
                let (Answer::Journal(mine), Answer::Journal(theirs)) = (mine, theirs) else {
                    bail!("another answer came")
                };
                comparison.answered(mine, theirs).context("a comparison")?;
            }
            let Difference { pull, contested, equal, .. } = comparison.into_difference();
            if equal {
                // The first comparison of a journal that was said to differ never comes here.
                self.cost.recheck_bytes += self.cost.bytes - before.0;
                self.cost.recheck_trips += self.cost.trips - before.1;
                return Ok(());
            }
            let ordinals: Vec<u64> =
                contested.iter().filter_map(|place| place.theirs).map(|name| name.ordinal).collect();
            self.request(journal, &pull)?;
            self.mine.fetch(journal, &pull);
            self.mine.mend(journal, &ordinals);
        }
        bail!("{journal} is not equal after {ROUNDS_MAX} rounds")
    }
}
