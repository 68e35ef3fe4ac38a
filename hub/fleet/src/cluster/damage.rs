//! Damage to a hub's store: how it is done, how it is found, and how it is moved aside.
//!
//! Promise: one disk at a time is lost or damaged, and the next only when all are full and whole again. That it was damaged, neither the
//! store nor the engine is told: reads, the scrub and the start find it.

use std::time::Duration;

use millrace_hub_engine::{Event, Measure};
use millrace_journal::sabotage::{Harm, Harmed, harm_image};
use millrace_journal::{CommitError, Store};
use millrace_model::store::Outcome;
use millrace_model::{JournalId, NodeId, SeqRange, Wall};

use super::hub::HubHappening;
use super::{ClusterWorld, Happening};
use crate::ClusterSabotage;
use crate::invariants::{Violation, aside, loss, trimmed};

/// What hubs' walls show at the beginning: a day in 2026.
const EPOCH_MICROS: i64 = 1_790_000_000_000_000;

impl ClusterWorld {
    /// Whether this hub's disk may be damaged now: no other one is, nothing moves, and all others have what they should.
    fn may_be_damaged(&self, node: NodeId) -> bool {
        self.truth.broken.is_empty()
            && self.truth.damaged.keys().all(|damaged| *damaged == node)
            && (self.oracle.hubs.len() > 1 || self.plan.hubs == 1)
            && self.oracle.leaving.is_empty()
            && self.oracle.placement.moving() == 0
            && self.oracle.hubs.values().all(|standing| standing.full)
    }

    /// A hub's store is damaged: while it is off for so long, or while it runs.
    pub(super) fn damage(&mut self, node: NodeId, harm: Harm, off: Option<Duration>) {
        if !self.may_be_damaged(node) {
            return;
        }
        if let Some(span) = off {
            self.cut_hub_power(node);
            self.timeline.after(span, Happening::StartHub(node));
        }
        let random = &mut self.random;
        let mut pick = |below: usize| random.usize(..below);
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        let harmed = match (&mut hub.store, &mut hub.image) {
            (Some(store), _) => store.harm(harm, &mut pick),
            (None, Some(image)) => harm_image(image, harm, &mut pick).map(|(damaged, harmed)| {
                *image = damaged;
                harmed
            }),
            (None, None) => Ok(None),
        };
        match harmed {
            Ok(Some(harmed)) => self.harmed(node, &harmed),
            Ok(None) => {}
            Err(error) => self.check(Err(Violation::new("survival", format!("hub {node}: {error}")))),
        }
    }

    fn harmed(&mut self, node: NodeId, harmed: &Harmed) {
        for (journal, ranges) in &harmed.records {
            self.transcript.note(self.now, format_args!("hub {node}: {journal} {ranges} is damaged"));
            self.truth.harm(node, *journal, ranges);
        }
        self.truth.wear.harms += 1;
        self.truth.harmed.insert(node);
        if self.plan.hubs == 1 {
            // Only the device may still have it.
            self.truth.lone(node);
        }
        self.check(loss::none(&self.truth));
    }

    /// What a read or the scrub found is moved aside, and the engine hears of it.
    pub(super) fn move_aside(&mut self, node: NodeId, journal: JournalId, range: SeqRange) {
        let Some(store) = self.hubs.get_mut(&node).and_then(|hub| hub.store.as_mut()) else { return };
        match store.quarantine(&journal, range) {
            Ok(mut moved) => {
                if self.plan.sabotage == ClusterSabotage::CarelessQuarantine {
                    moved.ranges.extend(&SeqRange::new(1, range.last()).into_iter().collect());
                }
                self.transcript
                    .note(self.now, format_args!("hub {node} moves {journal} {} aside", moved.ranges));
                self.check(aside::moved(&self.truth, node, &journal, &moved.ranges));
                self.truth.wear.found += 1;
                self.tell_hub(node, Event::Damaged(moved));
            }
            // The next read tries again.
            Err(CommitError::Refused(_)) => {}
            Err(error) => self.check(Err(Violation::new("survival", format!("hub {node}: {error}")))),
        }
    }

    /// A hub scrubs a little, as its daemon does.
    pub(super) fn scrub(&mut self, node: NodeId) {
        let Some(ageing) = &self.plan.ageing else { return };
        let (every, bytes) = (ageing.scrub_every, ageing.scrub_bytes);
        self.hub_later(node, every, HubHappening::Scrub);
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        let Some(store) = &mut hub.store else { return };
        let step = match store.scrub(hub.scrub.unwrap_or_default(), bytes) {
            Ok(step) => step,
            Err(error) => {
                return self.check(Err(Violation::new("survival", format!("hub {node}: {error}"))));
            }
        };
        hub.scrub = step.next;
        if step.next.is_none() {
            hub.scrubbed.push(self.now);
        }
        if self.plan.sabotage == ClusterSabotage::BlindScrub {
            return;
        }
        let wrong = step.digests.iter().filter(|journal| store.rebuild_digest(journal) == Ok(true)).count();
        self.truth.wear.digests += wrong as u64;
        for what in step.unreadable {
            self.check(Err(Violation::new("survival", format!("hub {node}: {what}"))));
        }
        for damage in step.damaged {
            self.move_aside(node, damage.journal, damage.range);
        }
    }

    /// A hub looks what has been kept for long enough, and what it stores takes, as its daemon does.
    pub(super) fn look(&mut self, node: NodeId) {
        let Some(ageing) = &self.plan.ageing else { return };
        let every = ageing.look_every;
        self.hub_later(node, every, HubHappening::Look);
        let wall = Wall(EPOCH_MICROS + i64::try_from(self.now.0).unwrap_or(0));
        self.tell_hub(node, Event::Clock { wall });
        self.tell_hub(node, Event::Retain { gone: std::collections::BTreeSet::new() });
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        if let Some(memory) = hub.engine.as_mut().and_then(millrace_hub_engine::Engine::remembered) {
            hub.memory = memory;
        }
        let measured = crate::measuring::measured(hub.store.as_ref());
        self.tell_hub(node, measured);
    }

    /// What a start, a commit or the end finds of a hub's floors.
    pub(super) fn floors_stand(&mut self, node: NodeId) {
        let states = self.hubs.get(&node).and_then(|hub| hub.store.as_ref()).map(Store::journals);
        self.check(trimmed::stands(&self.truth, node, &states.unwrap_or_default()));
    }
}

/// What the daemon's engine is told of the journals that a commit changed.
pub(super) fn measured_of(store: Option<&Store>, outcomes: &[Outcome]) -> Event {
    let changed = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Received { journal, .. }
        | Outcome::Sealed { journal, .. }
        | Outcome::Dropped { journal, .. } => Some(*journal),
        _ => None,
    });
    let measure = |journal: JournalId| {
        let state = store?.journal(&journal)?;
        Some((journal, Measure { bytes: state.stored_bytes, digest: state.summary }))
    };
    let changed: std::collections::BTreeSet<JournalId> = changed.collect();
    Event::Measured { stored: changed.into_iter().filter_map(measure).collect() }
}
