//! What `routes` shows: every hub as this agent sees it.

use millrace_agent_engine::routing::{Route, Weights};
use millrace_model::HubId;
use millrace_model::Moment;
use serde::Serialize;

use super::{Hubs, Uplink};
use crate::config::HubSettings;
use crate::memory::Memory;

/// The whole page.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RoutesPage {
    /// Whether an agent runs and says so; else it is what stands on disk.
    pub running: bool,
    /// The hub of the session.
    pub present: Option<HubId>,
    /// The region that is preferred.
    pub region: Option<String>,
    /// Whether hubs that no address of the operator's leads to are dialled.
    pub follow: Option<bool>,
    /// Whether other hubs are measured: not on a metered road.
    pub probes: Option<bool>,
    /// How long a hub may answer nothing before another takes over, in microseconds.
    pub silence_us: Option<u64>,
    /// Every hub, the best first.
    pub hubs: Vec<HubRow>,
    /// The addresses to begin with.
    pub seeds: Vec<SeedRow>,
    /// What counts, and how much.
    pub weights: Weights,
}

/// One hub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HubRow {
    /// Its name.
    pub name: String,
    /// Whether the session is with it.
    pub present: bool,
    /// Where it is dialled, in this order.
    pub addresses: Vec<String>,
    /// What it costs, and why.
    #[serde(flatten)]
    pub route: Route,
}

/// One address to begin with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SeedRow {
    /// `host:port`.
    pub address: String,
    /// The hub that it leads to, if that is known.
    pub hub: Option<HubId>,
}

impl Uplink {
    /// Every hub as this agent sees it now.
    #[must_use]
    pub fn routes(&self) -> RoutesPage {
        let present =
            self.present().as_ref().filter(|present| present.welcomed).and_then(|present| present.hub);
        let silence_us = u64::try_from(self.road.silence.as_micros()).ok();
        RoutesPage {
            running: true,
            probes: Some(!self.metered),
            silence_us,
            ..page(&self.hubs(), present, self.clock.moment())
        }
    }
}

/// What stands on disk of an agent that does not run.
#[must_use]
pub fn offline(memory: Memory) -> RoutesPage {
    let region = memory.region.clone();
    let settings = HubSettings { addresses: Vec::new(), region, ..HubSettings::default() };
    let hubs = Hubs::new(&settings, memory, 0);
    RoutesPage { follow: None, ..page(&hubs, None, Moment(0)) }
}

fn page(hubs: &Hubs, present: Option<HubId>, now: Moment) -> RoutesPage {
    let row = |(route, told, addresses): (Route, millrace_wire::HubEndpoint, Vec<String>)| HubRow {
        name: told.name,
        present: Some(route.hub) == present,
        addresses,
        route,
    };
    RoutesPage {
        running: false,
        present,
        region: hubs.region().map(str::to_owned),
        follow: Some(hubs.follows()),
        probes: None,
        silence_us: None,
        hubs: hubs.table(now).into_iter().map(row).collect(),
        seeds: hubs.seeds().into_iter().map(|(address, hub)| SeedRow { address, hub }).collect(),
        weights: Weights::DEFAULTS,
    }
}
