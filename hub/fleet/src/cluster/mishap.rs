//! What goes wrong with hubs, and how it is mended.

use std::time::Duration;

use millrace_model::NodeId;

use super::hub::{Backup, HubHappening};
use super::plan::ClusterFault;
use super::{ClusterWorld, Happening, node_of};
use crate::invariants::loss;

impl ClusterWorld {
    fn chosen(&self, turn: usize) -> Option<NodeId> {
        let standing: Vec<NodeId> = self.oracle.hubs.keys().copied().collect();
        standing.get(turn.checked_rem(standing.len())?).copied()
    }

    /// Whether a disk may be lost now: all are full, nothing moves, and somebody else has everything.
    fn may_lose_a_disk(&self) -> bool {
        self.truth.broken.is_empty()
            && self.truth.damaged.is_empty()
            && self.oracle.hubs.len() > 1
            && self.oracle.placement.moving() == 0
            && self.oracle.hubs.values().all(|standing| standing.full)
    }

    pub(super) fn go_wrong(&mut self, fault: ClusterFault) {
        self.transcript.note(self.now, format_args!("fault: {fault:?}"));
        self.faults += 1;
        match fault {
            ClusterFault::Crash { hub, span } => {
                if let Some(node) = self.chosen(hub) {
                    self.cut_hub_power(node);
                    self.timeline.after(span, Happening::StartHub(node));
                }
            }
            ClusterFault::Backup { hub } => self.back_up(hub),
            ClusterFault::Wipe { hub } => self.lose_disk(hub, false),
            ClusterFault::Restore { hub } => self.lose_disk(hub, true),
            ClusterFault::Disaster { hub } => {
                if let Some(node) = self.chosen(hub) {
                    self.lose_everything(node);
                }
            }
            ClusterFault::Cut { a, b, both, times, span } => {
                let (Some(a), Some(b)) = (self.chosen(a), self.chosen(b)) else { return };
                if a != b {
                    self.cut(a, b, both, true);
                    let fault = ClusterFault::Cut {
                        a: usize::try_from(a.0).unwrap_or(0),
                        b: usize::try_from(b.0).unwrap_or(0),
                        both,
                        times,
                        span,
                    };
                    self.timeline.after(span, Happening::Lift(fault));
                }
            }
            ClusterFault::Isolate { hub, span } => {
                if let Some(node) = self.chosen(hub) {
                    self.isolate(node, true);
                    let hub = usize::try_from(node.0).unwrap_or(0);
                    self.timeline.after(span, Happening::Lift(ClusterFault::Isolate { hub, span }));
                }
            }
            ClusterFault::Pause { hub, span } => {
                let Some(node) = self.chosen(hub) else { return };
                if let Some(hub) = self.hubs.get_mut(&node).filter(|hub| hub.engine.is_some()) {
                    hub.paused = true;
                    self.timeline.after(span, Happening::Resume(node));
                }
            }
            ClusterFault::Full { hub, span } => {
                let Some(node) = self.chosen(hub) else { return };
                if let Some(hub) = self.hubs.get_mut(&node) {
                    hub.disk.set_full(true);
                }
                let hub = usize::try_from(node.0).unwrap_or(0);
                self.timeline.after(span, Happening::Lift(ClusterFault::Full { hub, span }));
            }
            ClusterFault::Join => {
                if self.oracle.hubs.len() < 6 {
                    self.add_hub(false);
                    self.steer();
                }
            }
            ClusterFault::Leave { hub } => {
                let Some(node) = self.chosen(hub) else { return };
                // A hub that was put back from an old copy, and to which nobody could say so yet, is believed to be full: to
                // take away another one then is to lose two disks at once. So it is while one is damaged.
                let aware = self.truth.unaware.is_empty() && self.truth.damaged.is_empty();
                if aware && self.oracle.hubs.len() - self.oracle.leaving.len() > 1 {
                    self.oracle.leaving.insert(node);
                    self.steer();
                }
            }
            ClusterFault::Drain { hub, span } => {
                if let Some(node) = self.chosen(hub) {
                    self.hub_later(node, Duration::ZERO, HubHappening::Drain(true));
                    self.hub_later(node, span, HubHappening::Drain(false));
                }
            }
            ClusterFault::Damage { hub, harm, off } => {
                if let Some(node) = self.chosen(hub) {
                    self.damage(node, harm, off);
                }
            }
            ClusterFault::BackupAgent { agent } => self.copy_agent(agent),
            ClusterFault::RestoreAgent { agent } => self.set_agent_back(agent),
            ClusterFault::DamageAgent { agent, harm, off } => self.damage_agent(agent, harm, off),
            ClusterFault::CrashAgent { agent, span } => {
                self.cut_agent_power(agent);
                self.timeline.after(span, Happening::StartAgent(agent));
            }
        }
    }

    pub(super) fn lift(&mut self, fault: &ClusterFault) {
        let node = |hub: &usize| NodeId(*hub as u64);
        match fault {
            ClusterFault::Cut { a, b, both, times, span } => {
                let (from, to) = (node(a), node(b));
                self.cut(from, to, *both, false);
                if *times > 1 && self.healed_at.is_none() {
                    self.timeline
                        .after(*span / 2, Happening::Fault(self.again(from, to, *both, times - 1, *span)));
                }
            }
            ClusterFault::Isolate { hub, .. } => self.isolate(node(hub), false),
            ClusterFault::Full { hub, .. } => {
                if let Some(hub) = self.hubs.get_mut(&node(hub)) {
                    hub.disk.set_full(false);
                }
            }
            _ => {}
        }
    }

    fn again(&self, a: NodeId, b: NodeId, both: bool, times: u32, span: Duration) -> ClusterFault {
        let turn = |node| self.oracle.hubs.keys().position(|other| *other == node).unwrap_or(0);
        ClusterFault::Cut { a: turn(a), b: turn(b), both, times, span }
    }

    fn cut(&mut self, a: NodeId, b: NodeId, both: bool, on: bool) {
        self.network.weather(node_of(a), node_of(b)).cut = on;
        if both || !on {
            self.network.weather(node_of(b), node_of(a)).cut = on;
        }
    }

    fn isolate(&mut self, node: NodeId, on: bool) {
        let others: Vec<NodeId> = self.hubs.keys().copied().filter(|other| *other != node).collect();
        others.into_iter().for_each(|other| self.cut(node, other, true, on));
        if let Some(hub) = self.hubs.get_mut(&node) {
            hub.isolated = on;
        }
    }

    fn back_up(&mut self, hub: usize) {
        let Some(node) = self.chosen(hub) else { return };
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        let image = match hub.store.as_mut().map(millrace_journal::Store::image) {
            Some(Ok(image)) => Some(image),
            _ => hub.image.clone(),
        };
        hub.backup = image.map(|image| Backup {
            image,
            sound: self.truth.disks.get(&node).cloned().unwrap_or_default(),
            damaged: self.truth.damaged.get(&node).cloned().unwrap_or_default(),
            floors: self.truth.floors.get(&node).cloned().unwrap_or_default(),
        });
    }

    /// A hub comes back with an empty disk, or with an older copy of its store.
    fn lose_disk(&mut self, hub: usize, from_backup: bool) {
        let Some(node) = self.chosen(hub).filter(|_| self.may_lose_a_disk()) else { return };
        if from_backup && self.hubs.get(&node).is_none_or(|hub| hub.backup.is_none()) {
            return;
        }
        self.cut_hub_power(node);
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        let backup = hub.backup.take().filter(|_| from_backup);
        hub.image = backup.as_ref().map(|backup| backup.image.clone());
        let left = backup.as_ref().map(|backup| backup.sound.clone()).unwrap_or_default();
        if self.truth.disks.get(&node) != Some(&left) {
            self.truth.lost(node, left);
            if from_backup {
                self.truth.unaware.insert(node);
            }
        }
        if let Some(backup) = backup {
            self.truth.put_back(node, backup.damaged, backup.floors);
        } else if let Some(hub) = self.hubs.get_mut(&node) {
            (hub.memory, hub.scrub) = (millrace_hub_engine::Memory::default(), None);
        }
        self.check(loss::none(&self.truth));
        self.timeline.after(Duration::from_millis(500), Happening::StartHub(node));
    }

    /// Faults stop: whatever is broken is mended, whoever is off starts.
    pub(super) fn heal(&mut self) {
        self.transcript.note(self.now, format_args!("healing"));
        self.healed_at = Some(self.now);
        let nodes: Vec<NodeId> = self.hubs.keys().copied().collect();
        for node in nodes {
            self.isolate(node, false);
            if let Some(hub) = self.hubs.get_mut(&node) {
                hub.disk.set_full(false);
            }
            self.resume(node);
            self.hub_later(node, Duration::ZERO, HubHappening::Drain(false));
            self.timeline.at(self.now, Happening::StartHub(node));
        }
        for place in 0..self.agents.len() {
            self.timeline.at(self.now, Happening::StartAgent(place));
        }
        self.timeline.after(Duration::from_millis(500), Happening::Watch);
    }
}
