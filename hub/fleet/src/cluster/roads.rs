//! The connections of a hub: those that it dials, and those that others dial.
//!
//! Absent: what is said on them (the engine).

use std::time::Duration;

use millrace_hub_engine::Event;
use millrace_model::NodeId;
use millrace_sim::{ConnectionId, Notice};
use millrace_wire::Frame;

use super::hub::HubHappening;
use super::{AGENTS, ClusterWorld, Talk, node_of};

impl ClusterWorld {
    pub(super) fn dial(&mut self, node: NodeId, to: NodeId) {
        let now = self.now;
        let known = self.oracle.hubs.contains_key(&to);
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        if !known || hub.roads.contains_key(&to) {
            return;
        }
        let connection = self.network.connect(node_of(node), node_of(to), now);
        hub.roads.insert(to, connection);
    }

    pub(super) fn hub_noticed(&mut self, node: NodeId, notice: Notice<Talk>) {
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        match notice {
            Notice::Accepted { connection, from, .. } if from >= AGENTS => {
                hub.agents.insert(connection);
                let device = self.agents.get((from - AGENTS) as usize).map(|agent| agent.device);
                if let Some(device) = device {
                    self.tell_hub(node, Event::Opened { link: connection, device });
                }
            }
            Notice::Accepted { connection, from, .. } => {
                let from = NodeId(from.into());
                // Only hubs of the table that this hub knows are let in; the others come again.
                if hub.placed.as_ref().is_some_and(|placed| placed.hubs.contains_key(&from)) {
                    hub.guests.insert(connection, from);
                    self.tell_hub(node, Event::GuestUp { guest: connection, node: from });
                } else {
                    self.network.close(connection, node_of(node), false, self.now);
                }
            }
            Notice::Connected { connection, .. } => {
                let to = hub.roads.iter().find(|(_, road)| **road == connection).map(|(to, _)| *to);
                if let Some(to) = to {
                    hub.told.remove(&to);
                    self.tell_hub(node, Event::PeerUp { node: to });
                }
            }
            Notice::Frame { connection, frame: Talk::Agent(frame), .. } => {
                let from = self.network.dialer(connection).and_then(|from| from.checked_sub(AGENTS));
                let device = from.and_then(|place| Some(self.agents.get(place as usize)?.device));
                if let (Frame::Run(run), Some(device)) = (&frame, device) {
                    self.brings(node, run.journal.of(device), run);
                }
                self.tell_hub(node, Event::Received { link: connection, frame });
            }
            Notice::Frame { connection, frame: Talk::Peer(frame), .. } => {
                if let Some(from) = hub.guests.get(&connection).copied() {
                    self.hears(node, from, &frame);
                    return self.tell_hub(node, Event::GuestSaid { guest: connection, frame });
                }
                let from = hub.roads.iter().find(|(_, road)| **road == connection).map(|(from, _)| *from);
                if let Some(from) = from {
                    self.hears(node, from, &frame);
                    self.tell_hub(node, Event::PeerSaid { node: from, frame });
                }
            }
            Notice::Ended { connection, .. } => self.connection_ended(node, connection),
            Notice::Taken { .. } => {}
        }
    }

    pub(super) fn connection_ended(&mut self, node: NodeId, connection: ConnectionId) {
        let pause = Duration::from_millis(self.random.u64(200..1_500));
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        if hub.agents.remove(&connection) {
            return self.tell_hub(node, Event::Closed { link: connection });
        }
        if hub.guests.remove(&connection).is_some() {
            return self.tell_hub(node, Event::GuestDown { guest: connection });
        }
        let to = hub.roads.iter().find(|(_, road)| **road == connection).map(|(to, _)| *to);
        if let Some(to) = to {
            hub.roads.remove(&to);
            self.hub_later(node, pause, HubHappening::Dial(to));
            self.tell_hub(node, Event::PeerDown { node: to });
        }
    }
}
