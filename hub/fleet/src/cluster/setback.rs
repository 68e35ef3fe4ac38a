//! A device that is set back: its store is put back from an older copy, while hubs go on as they do.
//!
//! What it wrote since the copy was made it does not know any more. What of that is on a quorum must stay there, the very same; what was on its
//! own disk alone is lost; and what it writes now under the same numbers is another record, of which its hubs make it aware: it begins a new
//! life.
//!
//! Promise: as for [`super::truth`].
//! Absent: two branches of which each reached another hub: these find it out when they compare their copies, and tell people. And what becomes
//! of those that are cut into other segments: these hubs decline each other's segments, people hear of it, and no device begins a new life
//! because of it. Such a world ends there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_journal::Store;
use millrace_model::{DeviceId, Incarnation, JournalId, Lane, RangeSet, RecordCheck, Seq, SeqRange};

use super::possession::Possession;
use super::truth::Truth;
use super::{ClusterWorld, Happening};
use crate::invariants::branches::Ahead;
use crate::invariants::{Verdict, branches};

/// How long it takes to put a copy back.
const PUT_BACK: Duration = Duration::from_millis(500);

/// A copy of a device's store, and what was true of it.
#[derive(Clone)]
pub(super) struct Copied {
    image: Vec<u8>,
    incarnation: Incarnation,
    heads: BTreeMap<JournalId, Seq>,
    claims: BTreeMap<JournalId, RangeSet>,
    possession: Possession,
}

/// What is known of devices that were set back.
#[derive(Debug, Default)]
pub struct Setbacks {
    /// Lives in which two records may stand under one number.
    pub lives: BTreeSet<(DeviceId, Incarnation)>,
    /// Contents beside the first that was written in a place.
    pub again: BTreeMap<(JournalId, Seq), Vec<RecordCheck>>,
    /// What a device counted as acknowledged, with its content.
    pub counted: BTreeMap<(JournalId, Seq), RecordCheck>,
    /// What devices do not know any more: only hubs have it.
    pub unknown: BTreeMap<JournalId, RangeSet>,
    /// Devices of which the hubs had more on a quorum than they themselves.
    pub ahead: Vec<Ahead>,
}

impl Setbacks {
    /// Whether two records stand under one number anywhere in a journal.
    #[must_use]
    pub fn is_forked(&self, journal: &JournalId) -> bool {
        let Some(all) = SeqRange::new(1, Seq::MAX) else { return false };
        self.again.range((*journal, all.first())..=(*journal, all.last())).next().is_some()
    }
}

impl Truth {
    /// Whether a device ever wrote this record in this place.
    #[must_use]
    pub fn is_written(&self, journal: &JournalId, seq: Seq, check: RecordCheck) -> bool {
        let at = (*journal, seq);
        let again = || self.setbacks.again.get(&at).is_some_and(|contents| contents.contains(&check));
        self.written.get(&at) == Some(&check) || again()
    }

    /// A device wrote a record.
    pub fn wrote(&mut self, journal: JournalId, seq: Seq, check: RecordCheck) -> Verdict {
        let at = (journal, seq);
        match self.written.get(&at) {
            None => {
                self.written.insert(at, check);
            }
            Some(first) if *first == check => {}
            Some(_) => {
                self.setbacks.again.entry(at).or_default().push(check);
                return branches::rewritten(&self.setbacks, &journal, seq);
            }
        }
        Ok(())
    }

    /// All hubs were lost, and this is left: what their devices do not know of nobody can bring or declare.
    pub fn lost_unknown(&mut self, left: &BTreeMap<JournalId, RangeSet>) {
        for (journal, unknown) in self.setbacks.unknown.clone() {
            let here = left.get(&journal).cloned().unwrap_or_default();
            self.moved(journal, &unknown.difference(&here));
        }
    }

    /// A device does not know any more what it wrote after `heads`.
    fn set_back(&mut self, device: DeviceId, heads: &BTreeMap<JournalId, Seq>) {
        let mut after: BTreeMap<JournalId, RangeSet> = BTreeMap::new();
        for (journal, seq) in self.written.keys().filter(|(journal, _)| journal.device == device) {
            if *seq > heads.get(journal).copied().unwrap_or(0) {
                after.entry(*journal).or_default().insert(SeqRange::only(*seq));
            }
        }
        for (journal, ranges) in after {
            // What it was told to be on a quorum stays there. Of the rest nobody sends what no hub has got yet.
            let told = self.told.get(&journal).cloned().unwrap_or_default();
            self.moved(journal, &ranges.difference(&told));
            self.setbacks.unknown.entry(journal).or_default().extend(&ranges);
        }
    }
}

impl ClusterWorld {
    /// Somebody keeps a copy of a device's store.
    pub(super) fn copy_agent(&mut self, place: usize) {
        let Some(agent) = self.agents.get_mut(place) else { return };
        let Some(store) = agent.store.as_mut() else { return };
        let (Ok(image), Some(incarnation)) = (store.image(), store.incarnation()) else { return };
        let states = store.journals();
        agent.copied = Some(Copied {
            image,
            incarnation,
            heads: states.iter().map(|state| (state.journal, state.head)).collect(),
            claims: states.iter().map(|state| (state.journal, state.present.clone())).collect(),
            possession: self.truth.devices.get(&agent.device).cloned().unwrap_or_default(),
        });
    }

    /// A device's store is put back from the copy, if there is one.
    pub(super) fn set_agent_back(&mut self, place: usize) {
        if self.agents.get(place).is_none_or(|agent| agent.copied.is_none()) {
            return;
        }
        self.cut_agent_power(place);
        let Some(agent) = self.agents.get_mut(place) else { return };
        let Some(Copied { image, incarnation, heads, claims, possession, .. }) = agent.copied.take() else {
            return;
        };
        let device = agent.device;
        (agent.image, agent.claims, agent.scrub) = (Some(image), claims, None);
        let now = self.truth.devices.remove(&device).unwrap_or_default();
        self.truth.devices.insert(device, possession.put_back(&now));
        self.truth.wear.setbacks += 1;
        self.truth.set_back(device, &heads);
        self.truth.setbacks.lives.insert((device, incarnation));
        for lane in Lane::ALL {
            let journal = JournalId { device, incarnation, lane };
            let safe = self.truth.acked.get(&journal).and_then(RangeSet::last).unwrap_or(0);
            if safe > heads.get(&journal).copied().unwrap_or(0) {
                let epoch = self.oracle.epoch;
                self.truth.setbacks.ahead.push(Ahead { place, journal, safe, epoch });
            }
        }
        self.timeline.after(PUT_BACK, Happening::StartAgent(place));
    }

    /// One hub has one branch of a device that was set back, another one the other, cut into other segments: the world ends without a
    /// judgement.
    pub(super) fn leave_forked(&mut self) {
        self.transcript.note(self.now, format_args!("two branches are cut otherwise at two hubs"));
        self.over = true;
    }

    /// Everything has converged: whoever was set back goes on under a new incarnation.
    pub(super) fn setbacks_noticed(&self) -> Verdict {
        let now = self.agents.iter().map(|agent| agent.store.as_ref().and_then(Store::incarnation));
        branches::turned(&self.truth, &now.collect::<Vec<_>>(), self.oracle.epoch)
    }
}
