//! What agents and clients are told of the hubs: the committed table, and what gossip hints at.
//!
//! ```text
//!  committed table, placement ─┐                    ┌─▶ tell() ─▶ driver ─▶ every session (Frame::Hubs)
//!  roster of gossip ───────────┼─▶ Hubs (one view) ─┤
//!  drain, on this hub ─────────┘                    └─▶ GET /v1/route
//! ```
//!
//! Promise: only hubs of the committed table are told, witnesses never. A hub that gossip has not heard of is told all the
//! same: silence is no verdict. Small changes of load are told rarely, everything else at once.
//! Absent: what an agent makes of it; whether a hub keeps an agent's readings, which the engine fills in for each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_host::Shutdown;
use millrace_hub_engine::Event;
use millrace_hub_engine::placement::Placement;
use millrace_model::{HubId, NodeId, Partition};
use millrace_wire::HubEndpoint;
use millrace_wire::limits::HUBS_MAX;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::driver::DriverHandle;
use crate::driver::input::Input;

/// Load is told in steps of so many thousandths: a step is worth half a millisecond at most, and is not worth a frame to
/// every agent each second.
const LOAD_STEP: u16 = 50;

/// How often a change of nothing but load is told.
const FIGURES_EVERY: Duration = Duration::from_secs(5);

/// A hub as the committed table has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its number.
    pub node: NodeId,
    /// Its id.
    pub hub: HubId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// `host:port`, in the order to be tried.
    pub addresses: Vec<String>,
    /// Whether it votes and stores nothing: agents never hear of it.
    pub witness: bool,
    /// Whether it takes part: neither joining nor leaving. Others want no agents.
    pub member: bool,
}

/// What gossip says of a hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// Whether it seems to be there.
    pub alive: bool,
    /// Whether it says that it wants no agents: it drains, or is not well.
    pub draining: bool,
    /// How busy it says it is, in thousandths.
    pub load_permille: u16,
}

/// Everything that is told, from one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct View {
    /// This hub's number.
    pub me: NodeId,
    /// The table.
    pub table: Vec<Listed>,
    /// Who keeps what; before the first placement everybody keeps everything.
    pub placement: Placement,
    /// What gossip says, of those that it has heard of.
    pub roster: BTreeMap<NodeId, Heard>,
    /// Whether this hub drains.
    pub draining: bool,
}

/// The view, shared. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hubs(Arc<watch::Sender<View>>);

impl Hubs {
    /// The view of a hub that knows of nobody else.
    #[must_use]
    pub fn alone(endpoint: &HubEndpoint) -> Self {
        let HubEndpoint { hub, name, region, addresses, .. } = endpoint.clone();
        let me = NodeId(1);
        let own = Listed { node: me, hub, name, region, addresses, witness: false, member: true };
        let view = View { me, table: vec![own], ..View::default() };
        Self(Arc::new(watch::channel(view).0))
    }

    /// The committed table and placement are these now.
    pub fn decided(&self, me: NodeId, table: Vec<Listed>, placement: Placement) {
        self.change(|view| (view.me, view.table, view.placement) = (me, table, placement));
    }

    /// Gossip says this now.
    pub fn heard(&self, roster: BTreeMap<NodeId, Heard>) {
        self.change(|view| view.roster = roster);
    }

    /// This hub drains, or no more. Whether that is new.
    pub fn drain(&self, on: bool) -> bool {
        self.change(|view| view.draining = on)
    }

    /// Everything, as of now.
    #[must_use]
    pub fn view(&self) -> View {
        self.0.borrow().clone()
    }

    fn change(&self, change: impl FnOnce(&mut View)) -> bool {
        self.0.send_if_modified(|view| {
            let before = view.clone();
            change(view);
            *view != before
        })
    }

    /// Tells the driver, and by it every session, what is new of the hubs, until `shutdown`.
    pub async fn tell(self, driver: DriverHandle, shutdown: Shutdown) {
        let mut views = self.0.subscribe();
        let (mut told, mut figures_at): (Vec<HubEndpoint>, Instant) = (Vec::new(), Instant::now());
        loop {
            let hubs = views.borrow_and_update().endpoints();
            let only_load = !told.is_empty() && loadless(&hubs) == loadless(&told);
            let wait = only_load && Instant::now() < figures_at;
            if hubs != told && !wait {
                if !driver.tell(Input::Event(Event::Hubs { hubs: hubs.clone() })).await {
                    return;
                }
                (told, figures_at) = (hubs.clone(), Instant::now() + FIGURES_EVERY);
            }
            let again = async {
                if hubs == told { std::future::pending().await } else { sleep_until(figures_at).await }
            };
            tokio::select! {
                () = shutdown.triggered() => return,
                changed = views.changed() => if changed.is_err() { return },
                () = again => {}
            }
        }
    }
}

fn loadless(hubs: &[HubEndpoint]) -> Vec<HubEndpoint> {
    hubs.iter().map(|hub| HubEndpoint { load_permille: 0, ..hub.clone() }).collect()
}

impl View {
    /// What agents are told, this hub's own state included.
    #[must_use]
    pub fn endpoints(&self) -> Vec<HubEndpoint> {
        let mut roster = self.roster.clone();
        if self.draining {
            let own =
                roster.entry(self.me).or_insert(Heard { alive: true, draining: true, load_permille: 0 });
            own.draining = true;
        }
        endpoints(&self.table, &roster)
    }

    /// The hubs that keep, or are about to keep, a device's partition; nobody when that is not decided.
    #[must_use]
    pub fn replicas(&self, partition: Partition) -> Option<BTreeSet<HubId>> {
        let assignment = self.placement.of(partition)?;
        let nodes: BTreeSet<NodeId> = assignment.recipients().collect();
        let kept = self.table.iter().filter(|listed| nodes.contains(&listed.node));
        Some(kept.map(|listed| listed.hub).collect())
    }
}

/// What agents are told of the hubs in `table`, given what gossip says of them. When there are more than a frame holds, those
/// that want agents are told before the others.
#[must_use]
pub fn endpoints(table: &[Listed], roster: &BTreeMap<NodeId, Heard>) -> Vec<HubEndpoint> {
    let told = table.iter().filter(|listed| !listed.witness && !listed.addresses.is_empty());
    let mut told: Vec<HubEndpoint> = told
        .map(|listed| {
            let heard = roster.get(&listed.node);
            let load = heard.map_or(0, |heard| heard.load_permille.min(1_000));
            HubEndpoint {
                hub: listed.hub,
                name: listed.name.clone(),
                region: listed.region.clone(),
                addresses: listed.addresses.clone(),
                load_permille: load / LOAD_STEP * LOAD_STEP,
                draining: !listed.member || heard.is_some_and(|heard| heard.draining || !heard.alive),
                replica: true,
            }
        })
        .collect();
    if told.len() > HUBS_MAX {
        told.sort_by_key(|hub| hub.draining);
        told.truncate(HUBS_MAX);
    }
    told
}

#[cfg(test)]
#[path = "hubs_tests.rs"]
mod tests;
