//! The directory: which hubs agents are told of, and when they hear that it changed.
//!
//! Promise: a hub that comes, goes or drains is told at once; how busy hubs are, and which of them keep a device's readings, at
//! most every [`REFRESH`].

use std::time::Duration;

use millrace_model::{DeviceId, HubId, JournalId, Lane, Moment};
use millrace_wire::{Frame, HubEndpoint, Hubs};

use crate::link::Stage;
use crate::{Engine, LinkId};

/// How often agents hear of loads at most.
const REFRESH: Duration = Duration::from_secs(30);

/// What agents were told.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    told_at: Option<Moment>,
    /// Loads or replicas are other ones than agents were told.
    pub(crate) moved: bool,
}

impl Engine {
    /// What agents are to be told of the hubs has changed.
    pub(crate) fn direct(&mut self, mut hubs: Vec<HubEndpoint>, now: Moment) {
        hubs.truncate(millrace_wire::limits::HUBS_MAX);
        let table = |hubs: &[HubEndpoint]| -> Vec<HubEndpoint> {
            hubs.iter().map(|hub| HubEndpoint { load_permille: 0, replica: false, ..hub.clone() }).collect()
        };
        let changed = table(&hubs) != table(&self.config.hubs);
        self.directory.moved |= hubs != self.config.hubs;
        self.config.hubs = hubs;
        if changed {
            self.tell_hubs(now);
        }
    }

    /// When agents hear of what is no haste.
    pub(crate) fn directory_due(&self) -> Option<Moment> {
        let waits = self.directory.moved
            && !self.config.hubs.is_empty()
            && !self.is_stopping()
            && !self.links.is_empty();
        waits.then(|| self.directory.told_at.map_or(Moment(0), |at| at + REFRESH))
    }

    pub(crate) fn refresh_directory(&mut self, now: Moment) {
        if self.directory_due().is_some_and(|due| due <= now) {
            self.tell_hubs(now);
        }
    }

    fn tell_hubs(&mut self, now: Moment) {
        (self.directory.told_at, self.directory.moved) = (Some(now), false);
        let open = self.links.iter().filter(|(_, link)| matches!(link.stage, Stage::Open { .. }));
        let open: Vec<(LinkId, DeviceId)> = open.map(|(id, link)| (*id, link.device)).collect();
        for (link, device) in open {
            let hubs = self.hubs_for(device);
            self.send(link, Frame::Hubs(Hubs { hubs }));
        }
    }

    /// The hubs, and which of them keep the readings of `device`.
    pub(crate) fn hubs_for(&self, device: DeviceId) -> Vec<HubEndpoint> {
        let incarnation = millrace_model::Incarnation::new(0);
        let journal = JournalId { device, incarnation, lane: Lane::Urgent };
        let placed = self.replication.placed.as_ref();
        let replicas = self.replication.assignment(journal).map_or(&[][..], |of| &of.replicas);
        let of_hub = |hub: &HubId| {
            let standing = |node| placed.and_then(|placed| placed.hubs.get(node));
            replicas.iter().any(|node| standing(node).is_some_and(|standing| standing.hub == *hub))
        };
        let told = |hub: &HubEndpoint| match placed {
            Some(_) => HubEndpoint { replica: of_hub(&hub.hub), ..hub.clone() },
            None => hub.clone(),
        };
        self.config.hubs.iter().map(told).collect()
    }
}
