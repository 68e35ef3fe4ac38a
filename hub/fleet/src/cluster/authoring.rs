//! An agent's commits, and what the truth learns from them.

use std::collections::BTreeMap;

use millrace_agent_engine::Event;
use millrace_journal::{ReadError, Store, sabotage};
use millrace_model::store::{Change, JournalState, Outcome};
use millrace_model::{Durable, JournalId, RangeSet, Record, RecordCheck, Seq, SeqRange};

use super::{ClusterWorld, disaster};
use crate::ClusterSabotage;
use crate::invariants::{Verdict, Violation, branches, ledger, loss, served, trim, trimmed};

impl ClusterWorld {
    pub(super) fn agent_flushed(&mut self, place: usize, commit: u64, changes: &[Change]) {
        let Some((durable, outcomes)) = self.write(place, commit, changes) else { return };
        let usage = self.agents.get(place).and_then(|agent| agent.store.as_ref()).map(Store::usage);
        self.tell(place, Event::Committed { durable, outcomes, usage: usage.unwrap_or_default() });
        self.compare_ledgers(place);
    }

    /// An agent's commit, and what the truth learns from it.
    pub(super) fn write(
        &mut self,
        place: usize,
        commit: u64,
        changes: &[Change],
    ) -> Option<(Durable, Vec<Outcome>)> {
        let agent = self.agents.get_mut(place)?;
        let lost = disaster::declared(agent, changes);
        let store = agent.store.as_mut()?;
        let before = store.journals();
        let moving = Moving::of(store, &before, changes);
        let (durable, outcomes) = match store.commit(commit, changes) {
            Ok(made) => made,
            Err(error) => {
                self.check(Err(Violation::new("survival", format!("agent {place}: {error}"))));
                return None;
            }
        };
        let after = store.journals();
        // What was put aside went before the changes were applied.
        for outcome in &outcomes {
            if let Outcome::Quarantined(aside) = outcome {
                self.agent_lost(place, aside, &acked_of(&aside.journal, &before, changes));
            }
        }
        for (change, outcome) in changes.iter().zip(&outcomes) {
            self.author_did(place, change, outcome);
        }
        let verdict = self.moved_all(place, moving, &outcomes);
        self.check(verdict);
        for state in &after {
            self.truth.device_claims(&state.journal, &state.present);
        }
        self.check(ledger::balances(&after));
        self.check(trimmed::device_stands(&self.truth, place, &after));
        for (journal, range) in lost {
            self.check(loss::declared(&self.truth, &journal, range));
            self.truth.forgive(journal, range);
        }
        Some((durable, outcomes))
    }

    fn author_did(&mut self, place: usize, change: &Change, outcome: &Outcome) {
        match outcome {
            Outcome::Appended { journal, range, .. }
            | Outcome::Declared { journal, range: Some(range) }
            | Outcome::Reauthored { appended: Some((journal, range)), .. } => {
                for (seq, check) in self.written_at(place, journal, *range) {
                    let verdict = self.truth.wrote(*journal, seq, check);
                    self.check(verdict);
                }
            }
            Outcome::Restored { journal, stored, .. } => {
                self.check(trimmed::device_stored(&self.truth, place, journal, stored));
                for range in stored.iter() {
                    let came = self.written_at(place, journal, range);
                    self.check(served::as_written(&self.truth, journal, &came));
                    self.check(branches::own(&self.truth.setbacks, place, journal, &came));
                }
                self.truth.device_regained(*journal, stored);
            }
            Outcome::Dropped { journal, floor, .. } => {
                self.truth.device_dropped(*journal, *floor);
                if self.plan.sabotage == ClusterSabotage::ForgetfulDevices
                    && let Some(store) = self.agents.get_mut(place).and_then(|agent| agent.store.as_mut())
                    && let Err(error) = store.forget_floors()
                {
                    self.check(Err(Violation::new("survival", error.to_string())));
                }
            }
            _ => {}
        }
        if let Change::Acknowledge { journal, ranges } | Change::Reauthor { journal, equal: ranges, .. } =
            change
        {
            let told = self.truth.told.get(journal).cloned().unwrap_or_default();
            self.check(trim::told(journal, ranges, &told));
            for range in ranges.iter().filter(|_| self.sets_back) {
                let counted = self.written_at(place, journal, range).into_iter();
                self.truth.setbacks.counted.extend(counted.map(|(seq, check)| ((*journal, seq), check)));
            }
        }
    }

    /// What was to move to a new life stands there, the very same, in order.
    fn moved_all(&mut self, place: usize, moving: Vec<Moving>, outcomes: &[Outcome]) -> Verdict {
        let Some(store) = self.agents.get(place).and_then(|agent| agent.store.as_ref()) else {
            return Ok(());
        };
        let mut targets = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Reauthored { appended, .. } => Some(*appended),
            _ => None,
        });
        for Moving { journal, mut records } in moving {
            for outcome in outcomes {
                if let Outcome::Quarantined(aside) = outcome
                    && aside.journal == journal
                {
                    records.retain(|seq, _| !aside.ranges.contains(*seq));
                }
            }
            let stands = targets.next().flatten().map(|(target, range)| records_of(store, &target, range));
            let stands: Vec<Record> = stands.unwrap_or_default().into_values().collect();
            if !records.values().eq(&stands) {
                let what = format!(
                    "{} records of {journal} were to move, {} stand in its new life",
                    records.len(),
                    stands.len()
                );
                return Err(Violation::new("content", what));
            }
            let moved = records.keys().map(|seq| SeqRange::only(*seq)).collect();
            self.truth.moved(journal, &moved);
        }
        Ok(())
    }

    fn written_at(&self, place: usize, journal: &JournalId, range: SeqRange) -> Vec<(Seq, RecordCheck)> {
        let store = self.agents.get(place).and_then(|agent| agent.store.as_ref());
        store.map(|store| checks_of(store, journal, range)).unwrap_or_default()
    }
}

/// What an author knew to be safe of a journal when a commit of `changes` was applied.
fn acked_of(journal: &JournalId, before: &[JournalState], changes: &[Change]) -> RangeSet {
    let state = before.iter().find(|state| state.journal == *journal);
    let mut acked = state.map(|state| state.acked.clone()).unwrap_or_default();
    let here = state.map(|state| state.present.clone()).unwrap_or_default();
    for change in changes {
        if let Change::Acknowledge { journal: of, ranges } = change
            && of == journal
        {
            acked.extend(&ranges.intersection(&here));
        }
    }
    acked
}

/// The checks of the records in a range, as far as they can be read.
pub(super) fn checks_of(store: &Store, journal: &JournalId, range: SeqRange) -> Vec<(Seq, RecordCheck)> {
    let mut all = Vec::new();
    let mut from = range.first();
    while let Some(rest) = SeqRange::new(from, range.last()) {
        let found = store.checks(journal, rest).unwrap_or_default();
        let Some((last, _)) = found.last().copied() else { break };
        all.extend(found);
        from = last + 1;
    }
    all
}

/// Records of a retired journal that a commit is to move to the present one.
struct Moving {
    journal: JournalId,
    records: BTreeMap<Seq, Record>,
}

impl Moving {
    fn of(store: &Store, before: &[JournalState], changes: &[Change]) -> Vec<Self> {
        let moves = changes.iter().filter_map(|change| match change {
            Change::Reauthor { journal, range, equal } => Some((journal, *range, equal)),
            _ => None,
        });
        let of = moves.map(|(journal, range, equal)| {
            let mut records = records_of(store, journal, range);
            let acked = acked_of(journal, before, changes);
            records.retain(|seq, _| !equal.contains(*seq) && !acked.contains(*seq));
            Self { journal: *journal, records }
        });
        of.collect()
    }
}

/// The records in a range, around what is damaged.
fn records_of(store: &Store, journal: &JournalId, range: SeqRange) -> BTreeMap<Seq, Record> {
    let mut all = BTreeMap::new();
    let mut next = Some(range);
    while let Some(rest) = next {
        match store.load(journal, rest, usize::MAX) {
            Ok(runs) => {
                for run in &runs {
                    all.extend((run.first..).zip(sabotage::records_of(run).unwrap_or_default()));
                }
                next = None;
            }
            Err(ReadError::Damaged { range: bad, .. }) => {
                if let Some(before) = SeqRange::new(rest.first(), bad.first().saturating_sub(1))
                    && let Ok(runs) = store.load(journal, before, usize::MAX)
                {
                    for run in &runs {
                        all.extend((run.first..).zip(sabotage::records_of(run).unwrap_or_default()));
                    }
                }
                next = SeqRange::new(bad.last().saturating_add(1).max(rest.first() + 1), rest.last());
            }
            Err(_) => return all,
        }
    }
    all.retain(|seq, _| range.contains(*seq));
    all
}
