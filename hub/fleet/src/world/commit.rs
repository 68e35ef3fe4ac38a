//! An agent's commits, and what the model learns from them.

use std::collections::BTreeMap;

use millrace_agent_engine::Event;
use millrace_journal::{CommitError, Store};
use millrace_model::store::{Change, JournalState, Outcome, Refusal};
use millrace_model::{Durable, Incarnation, JournalId, Lane, RangeSet, Record, RecordCheck, Seq, SeqRange};
use millrace_sim::Flush;

use super::World;
use crate::Sabotage;
use crate::invariants::{Violation, content, ledger, order, trim};
use crate::model::{Entry, check_of};
use crate::publication::Attempt;

/// What happened to a commit.
pub(super) enum Made {
    Yes(Durable, Vec<Outcome>),
    Full,
    Broken,
}

/// What one commit did so far, for the accounts at its end.
#[derive(Default)]
struct Account {
    /// What is appended to at this point of the commit.
    incarnation: Option<Incarnation>,
    moved: BTreeMap<JournalId, Vec<Seq>>,
    evicted: BTreeMap<JournalId, u64>,
    acked: BTreeMap<JournalId, RangeSet>,
    resealed: bool,
}

impl World {
    /// The time of a commit is over.
    pub(super) fn agent_flushed(&mut self, place: usize) {
        let Some(flush) = self.sites.get_mut(place).and_then(|site| site.disk.finish()) else { return };
        match flush {
            Flush::Refused((commit, changes)) => {
                self.transcript.note(self.now, format_args!("site {place} commit {commit} refused"));
                self.tell(place, Event::CommitRefused { commit, changes, refusal: Refusal::Full });
            }
            Flush::Flushed((commit, changes)) => match self.apply(place, commit, &changes) {
                Made::Yes(durable, outcomes) => {
                    self.transcript.note(
                        self.now,
                        format_args!("site {place} commit {commit}: {} changes", changes.len()),
                    );
                    let usage = self.sites.get(place).and_then(|site| site.store.as_ref()).map(Store::usage);
                    let usage = usage.unwrap_or_default();
                    self.tell(place, Event::Committed { durable, outcomes, usage });
                    self.compare_ledgers(place);
                }
                Made::Full => {
                    self.tell(place, Event::CommitRefused { commit, changes, refusal: Refusal::Full });
                }
                Made::Broken => {}
            },
        }
    }

    fn compare_ledgers(&mut self, place: usize) {
        let Some(site) = self.sites.get(place) else { return };
        if let (Some(engine), Some(store)) = (&site.engine, &site.store) {
            let verdict = ledger::agrees(&engine.status(), &store.journals(), false);
            self.check(verdict);
        }
    }

    /// Makes a commit in a site's store, and accounts for it.
    pub(super) fn apply(&mut self, place: usize, commit: u64, changes: &[Change]) -> Made {
        let sabotage = self.plan.sabotage;
        let Some(store) = self.sites.get_mut(place).and_then(|site| site.store.as_mut()) else {
            return Made::Broken;
        };
        let before = store.journals();
        let incarnation = store.incarnation();
        let (asked, declared) = tampered(changes, &before, sabotage);
        match store.commit(commit, &asked) {
            Ok((durable, mut outcomes)) => {
                let after = store.journals();
                let mut account = Account { incarnation, ..Account::default() };
                for (change, outcome) in asked.iter().zip(&outcomes) {
                    self.learn(place, change, outcome, &before, &mut account);
                }
                self.settle_accounts(place, &after, &account);
                self.check(ledger::balances(&after));
                let urgent =
                    before.iter().map(|state| state.journal).find(|journal| journal.lane == Lane::Urgent);
                if let Some(journal) = urgent {
                    for at in declared {
                        outcomes.insert(at, Outcome::Declared { journal, range: None });
                    }
                }
                outcomes.truncate(changes.len());
                Made::Yes(durable, outcomes)
            }
            Err(CommitError::Refused(Refusal::Full)) => Made::Full,
            Err(error) => {
                self.check(Err(Violation::new("survival", format!("site {place}: {error}"))));
                Made::Broken
            }
        }
    }

    fn learn(
        &mut self,
        place: usize,
        change: &Change,
        outcome: &Outcome,
        before: &[JournalState],
        account: &mut Account,
    ) {
        match (change, outcome) {
            (Change::Append { records, .. }, Outcome::Appended { journal, range, sealed }) => {
                self.appended(place, *journal, *range, records);
                for name in sealed {
                    self.model.sealed.entry((*journal, name.ordinal)).or_default().insert(*name);
                }
            }
            (Change::Reincarnate { open, .. }, Outcome::Appended { journal, range, .. }) => {
                self.appended(place, *journal, *range, std::slice::from_ref(open.as_ref()));
                account.incarnation = Some(journal.incarnation);
                account.resealed = true;
            }
            (Change::Reject { lane, count, .. }, _) => {
                if let (Some(incarnation), Some(site)) = (account.incarnation, self.sites.get_mut(place)) {
                    let journal = JournalId { device: site.device, incarnation, lane: *lane };
                    site.rejected_room += count;
                    *self.model.rejected.entry(journal).or_default() += count;
                }
            }
            (Change::Acknowledge { journal, ranges }, _) => {
                account.acked.entry(*journal).or_default().extend(ranges);
                if let Some(site) = self.sites.get(place) {
                    let verdict = trim::acknowledged(&self.model, &site.mirror, journal, ranges);
                    self.check(verdict);
                }
            }
            (_, Outcome::Dropped { journal, evicted, .. }) => {
                *account.evicted.entry(*journal).or_default() += evicted;
            }
            (_, Outcome::Declared { journal, range: Some(range) }) => {
                account.resealed = true;
                self.placed(
                    place,
                    *journal,
                    *range,
                    &vec![None; usize::try_from(range.count()).unwrap_or(0)],
                );
            }
            (Change::Reauthor { journal, range, equal }, Outcome::Reauthored { appended, .. }) => {
                account.resealed = true;
                let state = before.iter().find(|state| state.journal == *journal);
                let mut acked = state.map(|state| state.acked.clone()).unwrap_or_default();
                acked.extend(account.acked.entry(*journal).or_default());
                let moved = self.moved(place, journal, *range, equal, &acked);
                let attempts: Vec<_> = moved.iter().map(|(_, attempt)| *attempt).collect();
                account.moved.entry(*journal).or_default().extend(moved.iter().map(|(seq, _)| *seq));
                match appended {
                    Some((target, range)) if range.count() == attempts.len() as u64 => {
                        self.placed(place, *target, *range, &attempts);
                    }
                    None if attempts.is_empty() => {}
                    _ => {
                        let what =
                            format!("{journal}: {} records should have moved: {appended:?}", attempts.len());
                        self.check(Err(Violation::new("content", what)));
                    }
                }
            }
            _ => {}
        }
    }

    /// Records of attempts were appended.
    fn appended(&mut self, place: usize, journal: JournalId, range: SeqRange, records: &[Record]) {
        for (seq, record) in (range.first()..=range.last()).zip(records) {
            let attempt = Attempt::of(&record.payload);
            let check = check_of(&journal, seq, record);
            if let (Some(attempt), Some(site)) = (attempt, self.sites.get_mut(place)) {
                site.durable.insert(attempt);
                let verdict = order::appended(&mut site.last_numbers, journal, attempt);
                self.check(verdict);
            }
            self.place(place, journal, seq, Entry { check, attempt });
        }
    }

    /// Records stand in a new place; their checks are read back.
    fn placed(&mut self, place: usize, journal: JournalId, range: SeqRange, attempts: &[Option<Attempt>]) {
        let Some(store) = self.sites.get(place).and_then(|site| site.store.as_ref()) else { return };
        match store.checks(&journal, range) {
            Ok(checks) if checks.len() == attempts.len() => {
                for ((seq, check), attempt) in checks.into_iter().zip(attempts) {
                    self.place(place, journal, seq, Entry { check, attempt: *attempt });
                }
            }
            Ok(_) => self.check(Err(Violation::new("survival", format!("{journal} {range} is not there")))),
            Err(error) => self.check(Err(Violation::new("survival", error.to_string()))),
        }
    }

    fn place(&mut self, place: usize, journal: JournalId, seq: Seq, entry: Entry) {
        let verdict = content::written(&mut self.model, journal, seq, entry.check);
        self.check(verdict);
        if let Some(attempt) = entry.attempt {
            self.model.places.entry(attempt).or_default().insert((journal, seq));
        }
        if let Some(site) = self.sites.get_mut(place) {
            site.mirror.entry(journal).or_default().insert(seq, entry);
        }
    }

    /// The records of a retired journal that move, in order. Those that are equal must be at the hub.
    fn moved(
        &mut self,
        place: usize,
        journal: &JournalId,
        range: SeqRange,
        equal: &RangeSet,
        acked: &RangeSet,
    ) -> Vec<(Seq, Option<Attempt>)> {
        let Some(site) = self.sites.get(place) else { return Vec::new() };
        let verdict = trim::acknowledged(&self.model, &site.mirror, journal, equal);
        let held = site.mirror.get(journal);
        let here = held.into_iter().flat_map(|held| held.range(range.first()..=range.last()));
        let moving = here.filter(|(seq, _)| !equal.contains(**seq) && !acked.contains(**seq));
        let moved = moving.map(|(seq, entry)| (*seq, entry.attempt)).collect();
        self.check(verdict);
        moved
    }

    /// What is no longer there has moved, is at the hub, or was evicted.
    fn settle_accounts(&mut self, place: usize, after: &[JournalState], account: &Account) {
        let Some(site) = self.sites.get_mut(place) else { return };
        let mut verdicts = Vec::new();
        for (journal, held) in &mut site.mirror {
            let state = after.iter().find(|state| state.journal == *journal);
            let nothing = RangeSet::new();
            let present = state.map_or(&nothing, |state| &state.present);
            if present.count() == held.len() as u64 {
                continue;
            }
            let left: Vec<Seq> = held.keys().copied().filter(|seq| !present.contains(*seq)).collect();
            let moved = account.moved.get(journal);
            let mut gone: Vec<(Seq, RecordCheck)> = Vec::new();
            for seq in left {
                let Some(entry) = held.remove(&seq) else { continue };
                if moved.is_some_and(|moved| moved.contains(&seq)) {
                    continue;
                }
                gone.push((seq, entry.check));
                if !self.model.at_hub(journal, seq, entry.check) {
                    site.given_up.entry(*journal).or_default().insert(seq, entry);
                    self.model.evicted.entry(*journal).or_default().insert(SeqRange::only(seq));
                }
            }
            let evicted = account.evicted.get(journal).copied().unwrap_or(0);
            verdicts.push(trim::gone(&self.model, journal, &gone, evicted));
        }
        if account.resealed
            && let Some(store) = &site.store
        {
            for segment in store.survey(usize::MAX).unwrap_or_default() {
                let key = (segment.journal, segment.name.ordinal);
                self.model.sealed.entry(key).or_default().insert(segment.name);
            }
        }
        verdicts.into_iter().for_each(|verdict| self.check(verdict));
    }
}

/// The changes as the sabotaged world makes them, and where declarations were left out.
fn tampered(changes: &[Change], before: &[JournalState], sabotage: Sabotage) -> (Vec<Change>, Vec<usize>) {
    let mut asked = changes.to_vec();
    let mut declared = Vec::new();
    if sabotage == Sabotage::SilentLoss {
        let left_out = |(_, change): &(usize, &Change)| matches!(change, Change::DeclareGaps { .. });
        declared = changes.iter().enumerate().filter(left_out).map(|(at, _)| at).collect();
        asked.retain(|change| !matches!(change, Change::DeclareGaps { .. }));
    }
    if sabotage == Sabotage::EarlyTrim {
        for state in before.iter().filter(|state| state.head > 40) {
            let (journal, ranges, through) = (state.journal, state.present.clone(), state.head);
            asked.push(Change::Acknowledge { journal, ranges });
            asked.push(Change::Drop { journal, through, evict: None });
        }
    }
    (asked, declared)
}
