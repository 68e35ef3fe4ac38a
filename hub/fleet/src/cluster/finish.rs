//! When everything has converged, and what is asked then.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_journal::Store;
use millrace_model::{JournalId, Moment, NodeId, Partition, RangeSet, RecordCheck, Seq, SeqRange};

use super::authoring::checks_of;
use super::reading::damage_in;
use super::{ClusterWorld, Happening};
use crate::invariants::agreement::{Copy, Holder};
use crate::invariants::replicas::Contents;
use crate::invariants::{Verdict, Violation, agreement, convergence, declaration, loss, replicas, served};

impl ClusterWorld {
    /// Looks whether everything has converged.
    pub(super) fn watch(&mut self) {
        let early = self.healed_at.is_none_or(|at| self.now.since(at) < Duration::from_secs(5));
        if early || !self.waiting().is_empty() {
            self.prefer_keepers();
            return self.timeline.after(Duration::from_millis(500), Happening::Watch);
        }
        self.over = true;
        (0..self.agents.len()).for_each(|place| self.compare_ledgers(place));
        self.judge();
    }

    /// Everything has converged: asks what is asked at the end.
    fn judge(&mut self) {
        self.check(loss::none(&self.truth));
        self.check(self.setbacks_noticed());
        let contents: BTreeMap<NodeId, Contents> =
            self.standing().map(|(node, store)| (node, contents_of(store))).collect();
        let nodes: Vec<NodeId> = contents.keys().copied().collect();
        for node in nodes {
            self.floors_stand(node);
            let damaged = self.hubs.get(&node).and_then(|hub| hub.store.as_ref()).map(damage_in);
            self.check(agreement::sound(Holder::Hub(node), &damaged.unwrap_or_default()));
        }
        self.check(replicas::alike(&self.truth, &self.oracle.placement, &contents));
        if self.plan.ageing.is_none() {
            return;
        }
        let copies =
            self.standing().map(|(node, store)| (node, copy_of(store, contents.get(&node)))).collect();
        self.check(agreement::reached(&self.truth, &self.oracle.placement, &copies));
        self.judge_devices(&copies);
    }

    /// The same for what devices still have of the journals that they write.
    fn judge_devices(&mut self, copies: &BTreeMap<NodeId, Copy>) {
        let stores = self.agents.iter().enumerate();
        let stores = stores.filter_map(|(place, agent)| Some((place, agent.store.as_ref()?)));
        let mut verdicts = Vec::new();
        for (place, store) in stores {
            verdicts.push(agreement::sound(Holder::Device(place), &damage_in(store)));
            let contents = contents_of(store);
            verdicts.push(served::as_kept(&self.truth, Holder::Device(place), &contents));
            verdicts.push(self.device_differs(place, &copy_of(store, Some(&contents)), copies));
        }
        let copies: Vec<(NodeId, &Copy)> = copies.iter().map(|(node, copy)| (*node, copy)).collect();
        verdicts.push(declaration::of_damage(&self.truth, &self.oracle.placement, &copies));
        verdicts.into_iter().for_each(|verdict| self.check(verdict));
    }

    /// Whether a device's copy is not that of its hub, which keeps it.
    fn device_differs(&self, place: usize, copy: &Copy, copies: &BTreeMap<NodeId, Copy>) -> Verdict {
        let hub =
            self.agents.get(place).map(|agent| agent.dialled).filter(|node| self.keeps_of(*node, place));
        let Some((node, hub)) = hub.and_then(|node| Some((node, copies.get(&node)?))) else { return Ok(()) };
        agreement::with_device(place, copy, (node, hub))
    }

    /// The hubs that stand, with their stores.
    fn standing(&self) -> impl Iterator<Item = (NodeId, &Store)> {
        let standing = self.hubs.iter().filter(|(_, hub)| !hub.removed);
        standing.filter_map(|(node, hub)| Some((*node, hub.store.as_ref()?)))
    }

    /// The time to converge is over.
    pub(super) fn out_of_time(&mut self) {
        let waiting = self.waiting();
        if self.plan.ageing.is_some() {
            self.judge();
        }
        self.check(convergence::reached(&waiting));
        self.check(Err(Violation::new("convergence", "the world did not end")));
        self.over = true;
    }

    /// Whether what the only hub lost may stay lost: its devices keep nothing for as long as a world takes.
    pub(super) fn may_stay_lost(&self) -> bool {
        let grace = self.plan.ageing.as_ref().map(|ageing| ageing.grace);
        self.plan.hubs == 1 && grace.is_some_and(|grace| self.plan.heal_at > Moment(0) + grace)
    }

    /// Whether people were told so.
    fn is_told_lost(&self) -> bool {
        self.overdue && self.may_stay_lost()
    }

    /// Whether a hub is a replica of a journal: one that only has an old copy of it hears nothing of it any more.
    fn keeps(&self, node: NodeId, journal: &JournalId) -> bool {
        let assignment = self.oracle.placement.of(Partition::of(&journal.device));
        assignment.is_some_and(|assignment| assignment.replicas.contains(&node))
    }

    /// Whether any of these records is sound on any disk.
    pub(super) fn is_anywhere(&self, journal: &JournalId, ranges: &RangeSet) -> bool {
        let at_hub = |disk: &BTreeMap<JournalId, RangeSet>| {
            disk.get(journal).is_some_and(|here| !here.intersection(ranges).is_empty())
        };
        let author = self.agents.iter().find(|agent| agent.device == journal.device);
        let here = author.map(|agent| agent.present(journal)).unwrap_or_default();
        let here = here.difference(&self.truth.unsound(journal));
        self.truth.disks.values().any(at_hub) || !here.intersection(ranges).is_empty()
    }

    /// Whether agents scrub.
    pub(super) fn devices_scrub(&self) -> bool {
        self.plan.ageing.as_ref().is_some_and(|ageing| ageing.devices_scrub)
    }

    /// Whether a whole pass of a scrub, if there is one, has begun and ended since the healing, when passes ended at these times.
    fn has_scrubbed(&self, ended: &[Moment], scrubs: bool) -> bool {
        let Some(healed_at) = self.healed_at.filter(|_| scrubs) else { return true };
        // The pass before the second one that ended since then may have begun earlier.
        ended.iter().filter(|at| **at > healed_at).count() > 1
    }

    /// Who still waits for what.
    fn waiting(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        for (place, agent) in self.agents.iter().enumerate() {
            let Some(engine) = &agent.engine else {
                waiting.push(format!("agent {place} is off"));
                continue;
            };
            if engine.awaits_complete_hub() {
                waiting.push(format!("agent {place} does not know what the hubs still hold"));
            }
            let status = engine.status();
            if !self.has_scrubbed(&agent.scrubbed, self.devices_scrub()) {
                waiting.push(format!("agent {place} has not read everything"));
            }
            if agent.store.as_ref().is_some_and(|store| store.has_open_gaps().unwrap_or(true)) {
                waiting.push(format!("agent {place} has undeclared gaps"));
            }
            if status.recovering {
                waiting.push(format!("agent {place} fills a new incarnation"));
            }
            if status.ledger.pending > 0 || status.session != "open" {
                waiting
                    .push(format!("agent {place} is {}, {} pending", status.session, status.ledger.pending));
            }
        }
        if self.oracle.placement.moving() > 0 || !self.oracle.leaving.is_empty() {
            waiting.push(format!("{} partitions move", self.oracle.placement.moving()));
        }
        for (node, standing) in &self.oracle.hubs {
            let Some(engine) = self.hubs.get(node).and_then(|hub| hub.engine.as_ref()) else {
                waiting.push(format!("hub {node} is off"));
                continue;
            };
            if !standing.full {
                waiting.push(format!("hub {node} is not full: {:?}", engine.fullness()));
            }
            let owed: Vec<_> =
                engine.replication().into_iter().filter(|debt| debt.records > 0 || !debt.connected).collect();
            if engine.is_busy() || !owed.is_empty() {
                waiting.push(format!("hub {node} owes {owed:?}"));
            }
            let mending = engine.mending(self.now).into_iter();
            let mending: Vec<_> = mending.filter(|mend| self.keeps(*node, &mend.journal)).collect();
            if !mending.is_empty() && !self.is_told_lost() {
                waiting.push(format!("hub {node} mends {mending:?}"));
            }
            let scrubbed = self.hubs.get(node).map_or(&[][..], |hub| &hub.scrubbed);
            if !self.has_scrubbed(scrubbed, self.plan.ageing.is_some()) {
                waiting.push(format!("hub {node} has not read everything"));
            }
        }
        let damaged = self.truth.damaged.iter();
        let kept = damaged.flat_map(|(node, journals)| journals.iter().map(|of| (*node, of)));
        let kept = kept.filter(|(node, (journal, _))| self.keeps(*node, journal));
        let damaged = kept.filter(|(_, (journal, ranges))| self.is_anywhere(journal, ranges)).count();
        if waiting.is_empty() && damaged > 0 && !self.is_told_lost() {
            waiting.push(format!("damaged still: {:?}", self.truth.damaged));
        }
        if waiting.is_empty() && self.plan.ageing.is_some() {
            let copies = self.standing().map(|(node, store)| (node, copy_of(store, None))).collect();
            let differs = agreement::reached(&self.truth, &self.oracle.placement, &copies).err();
            waiting.extend(differs.map(|differs| differs.to_string()));
            let devices = self.agents.iter().enumerate().filter_map(|(place, agent)| {
                self.device_differs(place, &copy_of(agent.store.as_ref()?, None), &copies).err()
            });
            waiting.extend(devices.map(|differs| differs.to_string()));
        }
        waiting
    }
}

/// Every record that a store has, read.
fn contents_of(store: &Store) -> Contents {
    let mut held = Contents::new();
    for state in store.journals() {
        for range in state.present.iter() {
            let found = checks_of(store, &state.journal, range);
            held.extend(found.into_iter().map(|(seq, check)| ((state.journal, seq), check)));
        }
    }
    held
}

/// What a store says of its journals, and the tail rows among its contents when these were read.
fn copy_of(store: &Store, contents: Option<&Contents>) -> Copy {
    let states = store.journals().into_iter().map(|state| (state.journal, state)).collect();
    let mut segments: BTreeMap<JournalId, Vec<SeqRange>> = BTreeMap::new();
    for segment in store.survey(usize::MAX).unwrap_or_default() {
        segments.entry(segment.journal).or_default().extend(segment.name.range());
    }
    let tails = contents.map(|contents| {
        let sealed: BTreeMap<JournalId, RangeSet> =
            segments.iter().map(|(journal, all)| (*journal, all.iter().copied().collect())).collect();
        let mut tails: BTreeMap<JournalId, BTreeMap<Seq, RecordCheck>> = BTreeMap::new();
        for ((journal, seq), check) in contents {
            if !sealed.get(journal).is_some_and(|sealed| sealed.contains(*seq)) {
                tails.entry(*journal).or_default().insert(*seq, *check);
            }
        }
        tails
    });
    Copy { states, tails, segments }
}
