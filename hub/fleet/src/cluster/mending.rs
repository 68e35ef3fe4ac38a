//! What hubs ask for that they lost, and what they know of each other's copies.
//!
//! Promise: what is known here was read off the frames on their roads, not asked of the engines.

use millrace_model::{JournalId, NodeId, RangeSet, SeqRange};
use millrace_sim::ConnectionId;
use millrace_wire::peer::{Held, Lacks};
use millrace_wire::{Frame, PeerFrame, Records, RunFrame};

use super::{AGENTS, ClusterWorld, Talk, node_of};
use crate::ClusterSabotage;
use crate::invariants::thrift;

impl ClusterWorld {
    /// A hub asks another one for what it lost.
    pub(super) fn asks_hub(&mut self, node: NodeId, guest: ConnectionId, mut lacks: Lacks) {
        match self.plan.sabotage {
            ClusterSabotage::IdleMending => return,
            ClusterSabotage::GreedyMending => lacks.ranges = everything_up_to(&lacks.ranges),
            _ => {}
        }
        self.check(thrift::asks(&self.truth, node, &lacks.journal, &lacks.ranges));
        self.carry(guest, node_of(node), 0, Talk::Peer(PeerFrame::Lacks(lacks)));
    }

    /// A hub asks a device for what it lost.
    pub(super) fn asks_device(&mut self, node: NodeId, link: ConnectionId, mut wanted: Records) {
        match self.plan.sabotage {
            ClusterSabotage::IdleMending => return,
            ClusterSabotage::GreedyMending => wanted.ranges = everything_up_to(&wanted.ranges),
            _ => {}
        }
        let dialer = self.network.dialer(link).and_then(|from| from.checked_sub(AGENTS));
        if let Some(agent) = dialer.and_then(|place| self.agents.get(place as usize)) {
            let journal = wanted.journal.of(agent.device);
            self.check(thrift::asks(&self.truth, node, &journal, &wanted.ranges));
        }
        self.carry(link, node_of(node), 0, Talk::Agent(Frame::Wanted(wanted)));
    }

    /// What a hub hears from another one says what that one has.
    pub(super) fn hears(&mut self, node: NodeId, from: NodeId, frame: &PeerFrame) {
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        let told = hub.told.entry(from).or_default();
        match frame {
            PeerFrame::Holds(holds) | PeerFrame::Flushed(holds) => {
                for Held { journal, ranges } in &holds.held {
                    told.entry(*journal).or_default().extend(ranges);
                }
            }
            PeerFrame::Lacks(Lacks { journal, ranges, .. }) | PeerFrame::Gone(Held { journal, ranges }) => {
                let known = told.entry(*journal).or_default();
                known.subtract(ranges);
            }
            _ => {}
        }
    }

    /// An agent brings records to a hub.
    pub(super) fn brings(&mut self, node: NodeId, journal: JournalId, run: &RunFrame) {
        let range = SeqRange::starting(run.first, u64::from(run.count));
        if let (Some(hub), Some(range)) = (self.hubs.get_mut(&node), range) {
            hub.brought.entry(journal).or_default().insert(range);
        }
    }
}

fn everything_up_to(ranges: &RangeSet) -> RangeSet {
    SeqRange::new(1, ranges.last().unwrap_or(1)).map(RangeSet::from).unwrap_or_default()
}
