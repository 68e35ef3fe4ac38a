//! Linking this hub to the others: whom to be connected with, who answers them, gossip, and what each side is told of the cluster.
//!
//! ```text
//!  table ──▶ peers (whom to dial) · driver (Placed) · steward · upkeep ──▶ table
//!  driver ──synced, relive──▶ upkeep                gossip ──▶ roster (a hint)
//! ```
//!
//! Absent: decisions (`cluster`), roads (`peers`).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use millrace_host::{Clock, Failure, Shutdown, entropy};
use millrace_hub_engine::Synced;
use millrace_hub_engine::membership::{Fullness, Liveness, Peer, Preset as GossipPreset, Profile};
use millrace_journal::WriterHandle;
use millrace_link::Road;
use millrace_model::{HubId, Incarnation, NodeId};
use millrace_wire::HubEndpoint;
use tokio::sync::{mpsc, watch};

use super::answering::Answering;
use super::crew::Crew;
use super::lives::Lives;
use super::place::{in_cluster, note_place};
use crate::cluster::record::{HubRecord, HubState};
use crate::cluster::upkeep::{self, Own, Reported};
use crate::cluster::{Cluster, Table, placed, steward};
use crate::config::Preset;
use crate::driver::{DriverHandle, ToCluster};
use crate::health::{self, HealthParts};
use crate::http::ApiParts;
use crate::hubs::{Heard, Hubs, Listed};
use crate::meters::Meters;
use crate::peers::gossip::{self, GossipMeters, GossipParts, Roster};
use crate::peers::{Attendants, PeerAddress, Peers};
use crate::places::Places;
use crate::pulse::{Need, Pulse};
use crate::registrar::Registrar;

/// Reports of the engine that wait; further ones are said again.
const SYNCED_WAITING_MAX: usize = 16;

/// What the driver has to say to the cluster, and where it comes out.
pub(super) struct FromDriver {
    pub(super) synced: mpsc::Receiver<Synced>,
    pub(super) relive: mpsc::Receiver<String>,
}

/// Both ends.
pub(super) fn to_cluster() -> (ToCluster, FromDriver) {
    let (synced, synced_out) = mpsc::channel(SYNCED_WAITING_MAX);
    let (relive, relive_out) = mpsc::channel(1);
    (ToCluster { synced, relive }, FromDriver { synced: synced_out, relive: relive_out })
}

/// What it links.
pub(super) struct LinkingParts {
    pub(super) cluster: Cluster,
    pub(super) peers: Peers,
    pub(super) registrar: Arc<Registrar>,
    pub(super) driver: DriverHandle,
    pub(super) writer: WriterHandle,
    pub(super) from_driver: FromDriver,
    pub(super) endpoint: HubEndpoint,
    /// What agents are told of the hubs.
    pub(super) hubs: Hubs,
    pub(super) pulse: Arc<Pulse>,
    pub(super) witness: bool,
    /// Who answers other hubs' queries, once it is there.
    pub(super) api: Arc<OnceLock<Weak<ApiParts>>>,
    pub(super) own: Own,
    pub(super) places: Places,
    pub(super) preset: Preset,
    /// Where others are reached, by name, when not as they say themselves.
    pub(super) roads: BTreeMap<String, Vec<String>>,
    pub(super) sessions_max: usize,
    pub(super) meters: Meters,
    pub(super) clock: Clock,
    pub(super) shutdown: Shutdown,
}

/// What came of it.
pub(super) struct Linked {
    /// What this hub says of itself in the table.
    pub(super) own: watch::Sender<Own>,
    /// What it says of itself in gossip.
    pub(super) profile: Arc<watch::Sender<Profile>>,
    /// Who seems alive: a hint.
    pub(super) roster: watch::Receiver<Arc<Roster>>,
    /// Ends when goodbye is said.
    pub(super) gossip: Crew,
    pub(super) crew: Crew,
}

/// The road between hubs that are so far from each other.
pub(super) const fn road(preset: Preset) -> Road {
    match preset {
        Preset::Lan => Road::HUBS_NEAR,
        Preset::Wan => Road::HUBS_FAR,
    }
}

/// Links this hub to the others. Needs a tokio runtime.
pub(super) fn link(parts: LinkingParts) -> Result<Linked, Failure> {
    let LinkingParts { cluster, peers, driver, clock, shutdown, .. } = &parts;
    let meters = GossipMeters::new(&parts.meters.metrics).map_err(|error| Failure::internal(&error))?;
    peers.meter(&parts.meters.metrics).map_err(|error| Failure::internal(&error))?;
    let store = parts.own.store;
    let seed = entropy::seed_u64().map_err(|error| Failure::internal(&error))?;
    let profile =
        Arc::new(watch::Sender::new(profile(&parts.endpoint, &cluster.table(), cluster.me(), store)));
    let life = u64::try_from(clock.wall().0).unwrap_or(1);
    let gossip = gossip::start(GossipParts {
        clock: clock.clone(),
        peers: peers.clone(),
        me: Peer { node: cluster.me(), life, incarnation: store.unwrap_or(Incarnation::new(0)) },
        preset: match parts.preset {
            Preset::Lan => GossipPreset::Lan,
            Preset::Wan => GossipPreset::Wan,
        },
        seed,
        profile: profile.subscribe(),
        meters,
        shutdown: shutdown.clone(),
    });
    let tables = cluster.tables();
    peers.attach(Attendants {
        calls: Arc::new(Answering {
            registrar: Arc::downgrade(&parts.registrar),
            api: Arc::clone(&parts.api),
            clock: clock.clone(),
        }),
        driver: driver.clone(),
        gossip: gossip.inbox,
        node_of: Arc::new(move |hub: &HubId| tables.borrow().node_of(hub)),
    });
    let own = watch::Sender::new(parts.own.clone());
    let reported = Reported::default();
    let (places, halt) = (parts.places.clone(), || shutdown.clone());
    let mut crew = Crew::default();
    if let Some(following) = cluster.following() {
        let stopping = halt();
        crew.attempt("following the decisions", async move {
            tokio::select! {
                ended = following => ended.map_err(|error| Failure::internal(&error)),
                // It goes on until the cluster is closed: what is decided until then is known.
                () = stopping.triggered() => Ok(()),
            }
        });
    }
    if parts.witness {
        parts.pulse.votes_only();
        parts.pulse.lacks(Need::Vote, Some("this hub is a witness, and has just started".to_owned()));
    }
    note_place(&parts.pulse, cluster, &cluster.table());
    crew.begin("expecting other hubs", expect(cluster.clone(), peers.clone(), parts.roads.clone(), halt()));
    crew.begin("upkeep", upkeep::run(cluster.clone(), own.subscribe(), reported.clone(), places, halt()));
    crew.begin("steward", steward::run(cluster.clone(), clock.clone(), halt()));
    let described =
        describe(Arc::clone(&profile), own.subscribe(), cluster.clone(), parts.endpoint.clone(), halt());
    crew.begin("describing this hub", described);
    let told = (parts.hubs.clone(), Arc::clone(&parts.pulse));
    crew.begin(
        "listing the hubs",
        list(told, cluster.clone(), gossip.roster.clone(), profile.subscribe(), halt()),
    );
    let (_, judging) = health::start(HealthParts {
        clock: clock.clone(),
        pulse: Arc::clone(&parts.pulse),
        driver: driver.clone(),
        meters: parts.meters.clone(),
        sessions_max: parts.sessions_max,
        witness: parts.witness,
        cluster: Arc::new({
            let (cluster, peers, own) = (cluster.clone(), peers.clone(), own.subscribe());
            let meters = parts.meters.cluster.clone();
            move || {
                let now = in_cluster(&cluster, &peers);
                let (table, life) = (cluster.table(), own.borrow().store);
                let full = table.store_of(cluster.me(), life).is_some_and(|store| store.full);
                meters.stand(cluster.control(), &table, now.lost, full);
                now
            }
        }),
        profile: Arc::clone(&profile),
        shutdown: halt(),
    });
    crew.take_in("health", judging);
    if store.is_some() {
        crew.begin("placement", placed::run(cluster.clone(), own.subscribe(), driver.clone(), halt()));
    }
    let mut goodbye = Crew::default();
    goodbye.take_in("gossip", gossip.task);
    let lives = Lives { pulse: parts.pulse, own: own.clone(), writer: parts.writer, seed };
    crew.attempt("the store's life", lives.hear(parts.from_driver, reported, parts.shutdown));
    Ok(Linked { own, profile, roster: gossip.roster, gossip: goodbye, crew })
}

/// Has the peers be connected with the hubs of the table.
async fn expect(cluster: Cluster, peers: Peers, roads: BTreeMap<String, Vec<String>>, shutdown: Shutdown) {
    let mut tables = cluster.tables();
    loop {
        let table = Arc::clone(&tables.borrow_and_update());
        let address = |record: &HubRecord| {
            let addresses = roads.get(&record.name).unwrap_or(&record.addresses).clone();
            PeerAddress { hub: record.hub, addresses }
        };
        let others: BTreeMap<_, _> =
            table.others(cluster.me()).into_iter().map(|(node, record)| (node, address(record))).collect();
        peers.expect(others);
        tokio::select! {
            changed = tables.changed() => if changed.is_err() { return },
            () = shutdown.triggered() => return,
        }
    }
}

/// Keeps the list that agents are told of true: the committed table, and what gossip hints at.
async fn list(
    (hubs, pulse): (Hubs, Arc<Pulse>),
    cluster: Cluster,
    mut roster: watch::Receiver<Arc<Roster>>,
    mut own: watch::Receiver<Profile>,
    shutdown: Shutdown,
) {
    let mut tables = cluster.tables();
    loop {
        let table = Arc::clone(&tables.borrow_and_update());
        note_place(&pulse, &cluster, &table);
        // A hub that was not taken in yet knows of itself alone.
        if table.hub(cluster.me()).is_some() {
            let listed = table
                .records()
                .filter(|record| record.state != HubState::Leaving || record.node == cluster.me());
            hubs.decided(cluster.me(), listed.map(listed_as).collect(), table.placement.value.clone());
        }
        let heard = roster.borrow_and_update().members.clone();
        let heard = heard.into_iter().filter_map(|(node, member)| {
            let profile = member.profile?;
            let alive = member.liveness != Liveness::Down;
            let (draining, load_permille) = (profile.draining, profile.load_permille);
            Some((node, Heard { alive, draining, load_permille }))
        });
        // The roster is of the others.
        let said = own.borrow_and_update().clone();
        let mine = Heard { alive: true, draining: said.draining, load_permille: said.load_permille };
        hubs.heard(heard.chain([(cluster.me(), mine)]).collect());
        tokio::select! {
            changed = tables.changed() => if changed.is_err() { return },
            changed = roster.changed() => if changed.is_err() { return },
            changed = own.changed() => if changed.is_err() { return },
            () = shutdown.triggered() => return,
        }
    }
}

fn listed_as(record: &HubRecord) -> Listed {
    Listed {
        node: record.node,
        hub: record.hub,
        name: record.name.clone(),
        region: record.region.clone(),
        addresses: record.addresses.clone(),
        witness: record.witness,
        member: record.state == HubState::Member,
    }
}

/// What this hub says of itself in gossip, as far as the table knows it: `life` of its store, and no other.
fn profile(endpoint: &HubEndpoint, table: &Table, me: NodeId, life: Option<Incarnation>) -> Profile {
    let fullness = match (table.hub(me), table.store_of(me, life)) {
        (Some(record), _) if record.witness => Fullness::Witness,
        (_, Some(store)) if store.full => Fullness::Full,
        (_, Some(_)) => Fullness::Syncing,
        _ => Fullness::Empty,
    };
    let profile = Profile {
        hub: endpoint.hub,
        name: endpoint.name.clone(),
        region: endpoint.region.clone(),
        addresses: endpoint.addresses.clone(),
        software: crate::SOFTWARE.to_owned(),
        load_permille: 0,
        draining: false,
        fullness,
    };
    profile.fitted()
}

/// Keeps the profile true: how full the store is. How busy the hub is and whether it drains is [`health`]'s to say.
async fn describe(
    said: Arc<watch::Sender<Profile>>,
    mut own: watch::Receiver<Own>,
    cluster: Cluster,
    endpoint: HubEndpoint,
    shutdown: Shutdown,
) {
    let mut tables = cluster.tables();
    loop {
        let table = Arc::clone(&tables.borrow_and_update());
        let life = own.borrow_and_update().store;
        said.send_if_modified(|said| {
            let (load_permille, draining) = (said.load_permille, said.draining);
            let now = Profile { load_permille, draining, ..profile(&endpoint, &table, cluster.me(), life) };
            let changed = *said != now;
            *said = now;
            changed
        });
        tokio::select! {
            changed = tables.changed() => if changed.is_err() { return },
            // The sender lives as long as the hub.
            _ = own.changed() => {}
            () = shutdown.triggered() => return,
        }
    }
}
