//! What an agent reads, and what it does about damage that a read or its scrub meets, as its daemon does.
//!
//! Promise: that its store was damaged, neither the store nor the engine is told: reads, commits, the scrub and the start find it.

use std::time::Duration;

use millrace_agent_engine::Event;
use millrace_journal::sabotage::{Harm, Harmed, harm_image};
use millrace_journal::{CommitError, ReadError, Store};
use millrace_merkle::Told;
use millrace_model::store::Quarantined;
use millrace_model::{JournalId, RangeSet, SeqRange};

use super::agent::AgentHappening;
use super::{ClusterWorld, Happening};
use crate::invariants::{Violation, aside, ledger};

impl ClusterWorld {
    /// An agent's store is damaged: while it is off for so long, or while it runs.
    pub(super) fn damage_agent(&mut self, place: usize, harm: Harm, off: Option<Duration>) {
        if let Some(span) = off {
            self.cut_agent_power(place);
            self.timeline.after(span, Happening::StartAgent(place));
        }
        let random = &mut self.random;
        let mut pick = |below: usize| random.usize(..below);
        let Some(agent) = self.agents.get_mut(place) else { return };
        let harmed = match (&mut agent.store, &mut agent.image) {
            (Some(store), _) => store.harm(harm, &mut pick),
            (None, Some(image)) => harm_image(image, harm, &mut pick).map(|(damaged, harmed)| {
                *image = damaged;
                harmed
            }),
            (None, None) => Ok(None),
        };
        match harmed {
            Ok(Some(harmed)) => self.agent_harmed(place, &harmed),
            Ok(None) => {}
            Err(error) => self.agent_fails(place, &error),
        }
    }

    fn agent_harmed(&mut self, place: usize, harmed: &Harmed) {
        self.truth.wear.device_harms += 1;
        for (journal, ranges) in &harmed.records {
            // What moved to another journal is not claimed any more, though its segment stands.
            let Some(agent) = self.agents.get(place) else { return };
            let here = agent.present(journal).intersection(ranges);
            self.transcript.note(self.now, format_args!("agent {place}: {journal} {here} is damaged"));
            self.truth.device_harmed(*journal, &here);
        }
    }

    pub(super) fn agent_fails(&mut self, place: usize, error: &ReadError) {
        self.check(Err(Violation::new("survival", format!("agent {place}: {error}"))));
    }

    /// Damage that was met is moved aside; `None` when nothing moved.
    fn agent_puts_aside(&mut self, place: usize, journal: JournalId, range: SeqRange) -> Option<Quarantined> {
        let store = self.agents.get_mut(place)?.store.as_mut()?;
        let acked = store.journal(&journal).map(|state| state.acked).unwrap_or_default();
        match store.quarantine(&journal, range) {
            Ok(aside) if aside.ranges.is_empty() => None,
            Ok(aside) => {
                let after = store.journals();
                self.agent_lost(place, &aside, &acked);
                self.check(ledger::balances(&after));
                Some(aside)
            }
            Err(CommitError::Refused(_)) => None,
            Err(error) => {
                self.check(Err(Violation::new("survival", format!("agent {place}: {error}"))));
                None
            }
        }
    }

    /// An agent's store moved records aside, of which it knew that `acked` are safe.
    pub(super) fn agent_lost(&mut self, place: usize, aside: &Quarantined, acked: &RangeSet) {
        let Quarantined { journal, ranges, evicted } = aside;
        self.transcript.note(
            self.now,
            format_args!("agent {place} moves {journal} {ranges} aside, {evicted} not acked"),
        );
        self.check(aside::moved_by_device(&self.truth, place, journal, ranges));
        self.check(ledger::evicted(journal, &ranges.difference(acked), *evicted));
        self.truth.device_lost(aside, acked);
    }

    /// The engine hears of damage.
    fn tell_damage(&mut self, place: usize, event: Event) {
        self.tell(place, event);
        self.compare_ledgers(place);
    }

    /// What the engine counts is what the store counts.
    pub(super) fn compare_ledgers(&mut self, place: usize) {
        let Some(agent) = self.agents.get(place) else { return };
        if let (Some(engine), Some(store)) = (&agent.engine, &agent.store) {
            self.check(ledger::agrees(&engine.status(), &store.journals(), !self.over));
        }
    }

    /// An agent has read what its engine asked for.
    pub(super) fn agent_read(&mut self, place: usize, what: AgentHappening) {
        let Some(store) = self.agents.get(place).and_then(|agent| agent.store.as_ref()) else { return };
        match what {
            AgentHappening::Loaded(request) => {
                match store.load(&request.journal, request.range, request.bytes_max) {
                    Ok(runs) => self.tell(place, Event::Loaded { request, runs }),
                    Err(ReadError::Damaged { journal, range, .. }) => {
                        match self.agent_puts_aside(place, journal, range) {
                            Some(aside) => {
                                self.tell_damage(place, Event::Damaged { request: Some(request), aside });
                            }
                            None => self.tell(place, Event::Loaded { request, runs: Vec::new() }),
                        }
                    }
                    Err(error) => self.agent_fails(place, &error),
                }
            }
            AgentHappening::Checked(journal, range) => match store.checks(&journal, range) {
                Ok(checks) => self.tell(place, Event::Checked { journal, range, checks }),
                Err(ReadError::Damaged { journal: damaged, range: lost, .. }) => {
                    if let Some(aside) = self.agent_puts_aside(place, damaged, lost) {
                        self.tell_damage(place, Event::Damaged { request: None, aside });
                    }
                    self.tell(place, Event::Checked { journal, range, checks: Vec::new() });
                }
                Err(error) => self.agent_fails(place, &error),
            },
            AgentHappening::Surveyed(count) => match store.survey(count) {
                Ok(segments) => self.tell(place, Event::Surveyed { segments }),
                Err(error) => self.agent_fails(place, &error),
            },
            AgentHappening::Consulted { session, number, journal, about } => {
                // What a question meets the scrub finds.
                let told = store.tell(&journal, &about).unwrap_or(Told::Unreadable);
                self.tell(place, Event::Consulted { session, number, told });
            }
            _ => {}
        }
    }

    /// An agent scrubs a little, as its daemon does.
    pub(super) fn agent_scrubs(&mut self, place: usize) {
        let Some(ageing) = self.plan.ageing.as_ref().filter(|ageing| ageing.devices_scrub) else { return };
        let (every, bytes) = (ageing.scrub_every, ageing.scrub_bytes);
        self.later(place, every, AgentHappening::Scrub);
        let Some(agent) = self.agents.get_mut(place) else { return };
        let Some(store) = &mut agent.store else { return };
        let step = match store.scrub(agent.scrub.unwrap_or_default(), bytes) {
            Ok(step) => step,
            Err(error) => return self.agent_fails(place, &error),
        };
        agent.scrub = step.next;
        if step.next.is_none() {
            agent.scrubbed.push(self.now);
        }
        let wrong = step.digests.iter().filter(|journal| store.rebuild_digest(journal) == Ok(true)).count();
        self.truth.wear.digests += wrong as u64;
        for what in step.unreadable {
            self.check(Err(Violation::new("survival", format!("agent {place}: {what}"))));
        }
        for damage in step.damaged {
            if let Some(aside) = self.agent_puts_aside(place, damage.journal, damage.range) {
                self.tell_damage(place, Event::Damaged { request: None, aside });
            }
        }
    }

    /// What a start found missing: the store has counted it.
    pub(super) fn agent_opened(&mut self, place: usize) {
        let Some(store) = self.agents.get(place).and_then(|agent| agent.store.as_ref()) else { return };
        let found = store.opened();
        let digests = found.digests.len();
        let lost: Vec<(Quarantined, RangeSet)> = found
            .missing
            .iter()
            .filter(|(_, ranges)| !ranges.is_empty())
            .map(|(journal, ranges)| {
                let acked = store.journal(journal).map(|state| state.acked).unwrap_or_default();
                let evicted = ranges.difference(&acked).count();
                (Quarantined { journal: *journal, ranges: ranges.clone(), evicted }, acked)
            })
            .collect();
        let states = store.journals();
        self.truth.wear.digests += digests as u64;
        for (aside, acked) in &lost {
            self.agent_lost(place, aside, acked);
        }
        self.check(ledger::balances(&states));
    }
}

/// Whether a store's journals, read wholly, are what they say.
pub(super) fn damage_in(store: &Store) -> Vec<String> {
    match store.scrub(millrace_journal::ScrubCursor::default(), u64::MAX) {
        Ok(found) => {
            let damaged = found.damaged.into_iter();
            let damaged =
                damaged.map(|damage| format!("{} {}: {}", damage.journal, damage.range, damage.what));
            damaged.chain(found.digests.iter().map(|journal| format!("the digest of {journal}"))).collect()
        }
        Err(error) => vec![error.to_string()],
    }
}
