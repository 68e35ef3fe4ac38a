//! What a hub reads: for its engine, for other hubs, and for people. Damage is moved aside and reads as not here, as the daemon has it.
//!
//! Promise: whatever is handed out is compared with what was written. Whether the engine hears first of the damage or of the answer, the seed
//! says: the daemon's reads and its writer are threads of their own.

use millrace_hub_engine::{Asker, Event};
use millrace_journal::{Order, Portion, Query, ReadError, Store, sabotage};
use millrace_merkle::{About, Told};
use millrace_model::hash::RecordChecker;
use millrace_model::{JournalId, NodeId, RangeSet, RecordCheck, Run, Seq, SeqRange, canon};
use millrace_sim::ConnectionId;
use millrace_wire::limits::FETCH_RUNS_MAX;

use super::ClusterWorld;
use super::hub::HubHappening;
use crate::ClusterSabotage;
use crate::invariants::{Verdict, Violation, served};

/// Pieces of damage that one load goes around, as in the daemon.
const DAMAGE_AROUND_MAX: usize = 64;

/// What was found damaged on the way.
type Damages = Vec<(JournalId, SeqRange)>;

impl ClusterWorld {
    fn store_of(&self, node: NodeId) -> Option<&Store> {
        self.hubs.get(&node)?.store.as_ref()
    }

    /// Tells the engine what was read, and moves aside what is damaged, in either order.
    fn answer_read(&mut self, node: NodeId, event: Event, damages: Damages) {
        if damages.is_empty() {
            return self.tell_hub(node, event);
        }
        let first = self.random.bool();
        if first {
            self.tell_hub(node, event);
            damages.into_iter().for_each(|(journal, range)| self.move_aside(node, journal, range));
        } else {
            damages.into_iter().for_each(|(journal, range)| self.move_aside(node, journal, range));
            self.tell_hub(node, event);
        }
    }

    fn unreadable(&mut self, node: NodeId, error: &ReadError) {
        self.check(Err(Violation::new("survival", format!("hub {node} cannot read: {error}"))));
    }

    pub(super) fn checked(&mut self, node: NodeId, journal: JournalId, range: SeqRange) {
        let Some(found) = self.store_of(node).map(|store| store.checks(&journal, range)) else { return };
        match found {
            Ok(checks) => {
                self.check(served::as_written(&self.truth, &journal, &checks));
                self.tell_hub(node, Event::Checked { journal, range, checks });
            }
            Err(ReadError::Damaged { journal: damaged, range: bad, .. }) => {
                let checks = Vec::new();
                self.answer_read(node, Event::Checked { journal, range, checks }, vec![(damaged, bad)]);
            }
            Err(error) => self.unreadable(node, &error),
        }
    }

    pub(super) fn consulted(
        &mut self,
        node: NodeId,
        (asker, number): (Asker, u64),
        journal: JournalId,
        about: &About,
    ) {
        let Some(told) = self.store_of(node).map(|store| store.tell(&journal, about)) else { return };
        match told {
            Ok(told) => self.tell_hub(node, Event::Consulted { asker, number, told }),
            Err(ReadError::Damaged { journal: damaged, range, .. }) => {
                let told = Told::Unreadable;
                self.answer_read(node, Event::Consulted { asker, number, told }, vec![(damaged, range)]);
            }
            Err(error) => self.unreadable(node, &error),
        }
    }

    pub(super) fn loaded(
        &mut self,
        node: NodeId,
        to: NodeId,
        (journal, range): (JournalId, SeqRange),
        bytes_max: usize,
    ) {
        let Some(found) = self.store_of(node).map(|store| load_around(store, &journal, range, bytes_max))
        else {
            return;
        };
        match found {
            Ok((runs, damages)) => {
                for run in &runs {
                    self.check(self.run_is_as_written(run));
                }
                self.answer_read(node, Event::Loaded { node: to, journal, range, runs }, damages);
            }
            Err(error) => self.unreadable(node, &error),
        }
    }

    /// A device gets the newest of what it asks for, as far as it is whole.
    pub(super) fn fetched(
        &mut self,
        node: NodeId,
        link: ConnectionId,
        (journal, mut wanted): (JournalId, RangeSet),
        bytes_max: usize,
    ) {
        let portion = Portion { bytes_max, runs_max: FETCH_RUNS_MAX };
        let mut damages = Damages::new();
        let runs = loop {
            let Some(store) = self.store_of(node) else { return };
            match store.newest(&journal, &wanted, portion) {
                Ok(runs) => break runs,
                // The daemon says that it cannot be read now.
                Err(ReadError::Damaged { .. }) if damages.len() >= DAMAGE_AROUND_MAX => {
                    damages.clear();
                    break Vec::new();
                }
                Err(ReadError::Damaged { range, .. }) => {
                    wanted.remove(range);
                    damages.push((journal, range));
                }
                Err(error) => return self.unreadable(node, &error),
            }
        };
        for run in &runs {
            self.check(self.run_is_as_written(run));
        }
        let damaged = damages.iter().map(|(_, range)| *range).collect();
        self.answer_read(node, Event::Fetched { link, runs, damaged }, damages);
    }

    fn run_is_as_written(&self, run: &Run) -> Verdict {
        let Some(records) = sabotage::records_of(run) else {
            return served::unreadable(&run.journal, run.first);
        };
        let checker = RecordChecker::new(&run.journal);
        let numbered = (run.first..).zip(&records);
        let checks: Vec<(Seq, RecordCheck)> =
            numbered.map(|(seq, record)| (seq, checker.check(seq, &canon::encode(record)))).collect();
        served::as_written(&self.truth, &run.journal, &checks)
    }

    /// Somebody queries a hub.
    pub(super) fn queried(&mut self, node: NodeId) {
        let Some(ageing) = &self.plan.ageing else { return };
        self.hub_later(node, ageing.read_every, HubHappening::Read);
        let order = if self.random.bool() { Order::OldestFirst } else { Order::NewestFirst };
        let limit = self.random.usize(1..200);
        let query = Query { kinds: Vec::new(), order, limit, ..Query::default() };
        let Some(found) = self.store_of(node).map(|store| store.query(&query)) else { return };
        let page = match found {
            Ok(page) => page,
            Err(error) => return self.unreadable(node, &error),
        };
        for row in &page.rows {
            let check = RecordChecker::new(&row.journal).check(row.seq, &canon::encode(&row.record));
            self.check(served::as_written(&self.truth, &row.journal, &[(row.seq, check)]));
        }
        for damage in page.damaged {
            if self.plan.sabotage == ClusterSabotage::CredulousReads {
                let read = |store: &Store| store.unverified_checks(&damage.journal, damage.range);
                let given = self.store_of(node).and_then(|store| read(store).ok()).unwrap_or_default();
                self.check(served::as_written(&self.truth, &damage.journal, &given));
            }
            self.move_aside(node, damage.journal, damage.range);
        }
    }
}

/// What is here of a range, as far as it is whole; see `load_around` of the hub's daemon, which this follows.
fn load_around(
    store: &Store,
    journal: &JournalId,
    range: SeqRange,
    bytes_max: usize,
) -> Result<(Vec<Run>, Damages), ReadError> {
    let (mut rest, mut damages) = (Some(range), Vec::new());
    while let Some(left) = rest {
        match store.load(journal, left, bytes_max) {
            Ok(runs) => return Ok((runs, damages)),
            Err(ReadError::Damaged { range: bad, .. }) if damages.len() < DAMAGE_AROUND_MAX => {
                damages.push((*journal, bad));
                let before = SeqRange::new(left.first(), bad.first().saturating_sub(1));
                if let Some(before) = before.filter(|_| bad.first() > left.first()) {
                    let runs = store.load(journal, before, bytes_max)?;
                    if !runs.is_empty() {
                        return Ok((runs, damages));
                    }
                }
                rest = SeqRange::new(bad.last().saturating_add(1).max(left.first() + 1), left.last());
            }
            Err(error) => return Err(error),
        }
    }
    Ok((Vec::new(), damages))
}
