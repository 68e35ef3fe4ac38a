//! What hubs ask for that they lost, and what they know of each other's copies.
//!
//! Promise: what is known here was read off the frames on their roads, not asked of the engines.

use std::time::Duration;

use millrace_model::{JournalId, NodeId, Partition, RangeSet, SeqRange};
use millrace_sim::ConnectionId;
use millrace_wire::peer::{Held, Lacks};
use millrace_wire::{Fetch, Frame, PeerFrame, Records, RunFrame};

use super::agent::{AgentHappening, agent_node};
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

    /// The hubs that an agent tries, in turn: when all is well those that keep its readings, which any hub names to it.
    pub(super) fn hubs_to_try(&self, place: usize) -> Vec<NodeId> {
        let standing: Vec<NodeId> = self.oracle.hubs.keys().copied().collect();
        let keepers: Vec<NodeId> =
            standing.iter().copied().filter(|node| self.keeps_of(*node, place)).collect();
        let picky = self.healed_at.is_some() && self.devices_scrub() && !keepers.is_empty();
        if picky { keepers } else { standing }
    }

    pub(super) fn keeps_of(&self, node: NodeId, place: usize) -> bool {
        let device = self.agents.get(place).map(|agent| agent.device);
        let assignment = device.and_then(|device| self.oracle.placement.of(Partition::of(&device)));
        assignment.is_some_and(|assignment| assignment.replicas.contains(&node))
    }

    /// An agent whose hub does not keep its readings turns to one that does.
    pub(super) fn prefer_keepers(&mut self) {
        for place in 0..self.agents.len() {
            let Some(agent) = self.agents.get(place).filter(|_| self.devices_scrub()) else { continue };
            let open = agent.engine.as_ref().is_some_and(|engine| engine.status().session == "open");
            if !open || self.keeps_of(agent.dialled, place) {
                continue;
            }
            if let Some(connection) = self.agents.get_mut(place).and_then(|agent| agent.connection.take()) {
                self.transcript
                    .note(self.now, format_args!("agent {place} turns to a hub that keeps its readings"));
                self.network.close(connection, agent_node(place), false, self.now);
                self.later(place, Duration::ZERO, AgentHappening::HungUp);
            }
        }
    }

    /// A device asks its hub for what it lost.
    pub(super) fn asks_back(&mut self, place: usize, mut fetch: Fetch) {
        match self.plan.sabotage {
            ClusterSabotage::IdleRegaining => return,
            ClusterSabotage::GreedyRegaining => fetch.ranges = everything_up_to(&fetch.ranges),
            _ => {}
        }
        let Some(agent) = self.agents.get(place) else { return };
        let journal = fetch.journal.of(agent.device);
        let sound = agent.present(&journal).difference(&self.truth.unsound(&journal));
        let connection = agent.connection;
        self.transcript.note(self.now, format_args!("agent {place} asks for {journal} {}", fetch.ranges));
        self.check(thrift::fetches(place, &journal, &fetch.ranges, &sound));
        if let Some(connection) = connection {
            self.carry(connection, agent_node(place), 0, Talk::Agent(Frame::Fetch(fetch)));
        }
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
