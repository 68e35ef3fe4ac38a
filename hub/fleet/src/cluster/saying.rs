//! What a hub says to agents and to people: what it calls safe must be so, and it alarms nobody without need.
//!
//! Promise: what agents were told is learned here, off the road.

use bytes::Bytes;
use millrace_hub_engine::Alarm;
use millrace_journal::sabotage;
use millrace_model::{AckLevel, DeviceId, Encoding, JournalId, NodeId, RangeSet, block};
use millrace_sim::ConnectionId;
use millrace_wire::{Frame, RunFrame};

use super::{AGENTS, ClusterWorld, Talk, node_of};
use crate::ClusterSabotage;
use crate::invariants::{Violation, quorum};

impl ClusterWorld {
    pub(super) fn hub_alarmed(&mut self, node: NodeId, alarm: &Alarm) {
        self.transcript.note(self.now, format_args!("hub {node} alarm: {alarm:?}"));
        match alarm {
            Alarm::Full | Alarm::Evicting | Alarm::Gap(..) => {}
            Alarm::Damaged { .. } if self.truth.harmed.contains(&node) => {}
            Alarm::Overdue { .. } | Alarm::Differs { .. } | Alarm::Irreparable { .. }
                if self.may_stay_lost() =>
            {
                self.overdue = true;
            }
            Alarm::RolledBack { journal } | Alarm::Forked { journal, .. }
                if self.truth.may_turn(&journal.device) => {}
            Alarm::Declined { journal, .. } if self.truth.setbacks.is_forked(journal) => self.leave_forked(),
            Alarm::Cloned { device, .. } if self.truth.may_turn(device) => {}
            // Neither another hub nor the device has any of it.
            Alarm::Irreparable { journal, ranges } if !self.is_anywhere(journal, ranges) => {
                self.truth.given_up(*journal, ranges);
            }
            Alarm::Regressed { node: regressed, .. } if self.truth.broken.contains(regressed) => {}
            _ => self.check(Err(Violation::new("protocol", format!("hub {node}, all honest: {alarm:?}")))),
        }
    }

    /// A hub sends an agent a frame: what it calls safe must be so.
    pub(super) fn hub_says(&mut self, node: NodeId, link: ConnectionId, mut frame: Frame) {
        if let (Frame::Welcome(welcome), ClusterSabotage::EmptyWitnesses) = (&mut frame, self.plan.sabotage) {
            welcome.complete = true;
        }
        if let (Frame::Run(run), ClusterSabotage::Changelings) = (&mut frame, self.plan.sabotage) {
            *run = changeling(run.clone());
        }
        let dialer = self.network.dialer(link).and_then(|from| from.checked_sub(AGENTS));
        let device = dialer.and_then(|place| self.agents.get(place as usize)).map(|agent| agent.device);
        let placed = self.hubs.get(&node).and_then(|hub| hub.placed.clone());
        let mut safe: Vec<(JournalId, RangeSet)> = Vec::new();
        match (&frame, device) {
            (Frame::Acks(acks), Some(device)) => {
                let quorum = acks.acks.iter().filter(|ack| ack.level == AckLevel::Quorum);
                safe.extend(quorum.map(|ack| (ack.journal.of(device), ack.ranges.clone())));
            }
            (Frame::Welcome(welcome), Some(device)) => {
                safe.extend(welcome.holdings.iter().map(|held| {
                    (JournalId { device, incarnation: held.incarnation, lane: held.lane }, held.safe.clone())
                }));
            }
            // What is the same there is as safe as what is acknowledged.
            (Frame::Compared(compared), Some(device)) => {
                safe.push((compared.journal.of(device), compared.equal.clone()));
            }
            _ => {}
        }
        if let Some(placed) = placed {
            for (journal, ranges) in safe {
                self.truth.told.entry(journal).or_default().extend(&ranges);
                // What its author declared as lost is as safe as it will ever be.
                let lost = self.truth.forgiven.get(&journal).cloned().unwrap_or_default();
                let ranges = ranges.difference(&lost);
                self.check(quorum::told(&self.truth, &placed, &journal, &ranges));
                self.truth.acked.entry(journal).or_default().extend(&ranges);
            }
        }
        self.carry(link, node_of(node), 0, Talk::Agent(frame));
    }
}

/// Other records in the place of these.
fn changeling(run: RunFrame) -> RunFrame {
    let Some(mut records) = sabotage::records_of(&run.clone().into_run(DeviceId::from_bytes([0; 16]))) else {
        return run;
    };
    records.iter_mut().for_each(|record| record.payload = Bytes::from_static(b"another one"));
    let body = Bytes::from(block::encode(&records));
    RunFrame { encoding: Encoding::Plain, body, segment: None, ..run }
}
