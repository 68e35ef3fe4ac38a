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
use millrace_hub_control::Role;
use millrace_hub_engine::Synced;
use millrace_hub_engine::membership::{Fullness, Liveness, Peer, Preset as GossipPreset, Profile};
use millrace_journal::WriterHandle;
use millrace_link::Road;
use millrace_model::store::Change;
use millrace_model::{HubId, Incarnation, Partition};
use millrace_wire::HubEndpoint;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::answering::Answering;
use crate::cluster::record::{HubRecord, HubState};
use crate::cluster::upkeep::{self, Own, Reported};
use crate::cluster::{Cluster, Table, placed, seat, steward};
use crate::config::Preset;
use crate::driver::{DriverHandle, ToCluster};
use crate::health::{self, HealthParts};
use crate::http::ApiParts;
use crate::hubs::{Heard, Hubs, Listed};
use crate::meters::Meters;
use crate::opening;
use crate::peers::gossip::{self, GossipMeters, GossipParts, Roster};
use crate::peers::{Attendants, PeerAddress, Peers};
use crate::places::Places;
use crate::pulse::Pulse;
use crate::registrar::Registrar;

/// Reports of the engine that wait; further ones are said again.
const SYNCED_WAITING_MAX: usize = 16;

/// What the driver has to say to the cluster, and where it comes out.
pub(super) struct FromDriver {
    synced: mpsc::Receiver<Vec<Partition>>,
    relive: mpsc::Receiver<String>,
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
    pub(super) gossip: JoinHandle<()>,
    pub(super) tasks: Vec<JoinHandle<()>>,
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
    let store = parts.own.store;
    let profile = Arc::new(watch::Sender::new(profile(&parts.endpoint, &cluster.table(), cluster)));
    let life = u64::try_from(clock.wall().0).unwrap_or(1);
    let gossip = gossip::start(GossipParts {
        clock: clock.clone(),
        peers: peers.clone(),
        me: Peer { node: cluster.me(), life, incarnation: store.unwrap_or(Incarnation::new(0)) },
        preset: match parts.preset {
            Preset::Lan => GossipPreset::Lan,
            Preset::Wan => GossipPreset::Wan,
        },
        seed: entropy::seed_u64().map_err(|error| Failure::internal(&error))?,
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
    let mut tasks = vec![
        tokio::spawn(expect(cluster.clone(), peers.clone(), parts.roads.clone(), halt())),
        tokio::spawn(upkeep::run(cluster.clone(), own.subscribe(), reported.clone(), places, halt())),
        tokio::spawn(steward::run(cluster.clone(), clock.clone(), halt())),
        tokio::spawn(describe(Arc::clone(&profile), cluster.clone(), parts.endpoint.clone(), halt())),
        tokio::spawn(list(
            parts.hubs.clone(),
            cluster.clone(),
            gossip.roster.clone(),
            profile.subscribe(),
            halt(),
        )),
    ];
    let control = cluster.control().clone();
    let (_, judging) = health::start(HealthParts {
        clock: clock.clone(),
        pulse: Arc::clone(&parts.pulse),
        driver: driver.clone(),
        meters: parts.meters.clone(),
        sessions_max: parts.sessions_max,
        witness: parts.witness,
        control: Arc::new(move || match control.metrics().role {
            Role::Stopped => Some("it has stopped taking part in the cluster's decisions".to_owned()),
            _ => None,
        }),
        profile: Arc::clone(&profile),
        shutdown: halt(),
    });
    tasks.push(judging);
    if store.is_some() {
        tasks.push(tokio::spawn(placed::run(cluster.clone(), own.subscribe(), driver.clone(), halt())));
    }
    let cluster = cluster.clone();
    let heard = hear(parts.from_driver, cluster, reported, own.clone(), parts.writer, parts.shutdown);
    tasks.push(tokio::spawn(heard));
    Ok(Linked { own, profile, roster: gossip.roster, gossip: gossip.task, tasks })
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
    hubs: Hubs,
    cluster: Cluster,
    mut roster: watch::Receiver<Arc<Roster>>,
    mut own: watch::Receiver<Profile>,
    shutdown: Shutdown,
) {
    let mut tables = cluster.tables();
    loop {
        let table = Arc::clone(&tables.borrow_and_update());
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

/// Takes what the engine says of its store.
async fn hear(
    mut from: FromDriver,
    cluster: Cluster,
    reported: Reported,
    own: watch::Sender<Own>,
    writer: WriterHandle,
    shutdown: Shutdown,
) {
    loop {
        tokio::select! {
            Some(partitions) = from.synced.recv() => {
                let store = own.borrow().store.unwrap_or(Incarnation::new(0));
                reported.report(assigned(partitions, store, &cluster.table()));
            }
            Some(reason) = from.relive.recv() => {
                // What was synced was synced by the life that is over, also what waits to be heard. The engine reports nothing more until
                // it lives the next one.
                while from.synced.try_recv().is_ok() {}
                reported.forget();
                match new_life(&writer).await {
                    Ok(life) => {
                        tracing::warn!(%life, reason, "the store begins a new life, and is filled by the other hubs");
                        own.send_modify(|own| own.store = Some(life));
                    }
                    Err(failure) => tracing::error!(%failure, "the store cannot begin a new life"),
                }
            }
            () = shutdown.triggered() => return,
            else => return,
        }
    }
}

/// What the engine has synced, as the table assigns it.
fn assigned(partitions: Vec<Partition>, store: Incarnation, table: &Table) -> Synced {
    let since = |partition: Partition| Some((partition, table.placement.value.of(partition)?.since));
    Synced { store, partitions: partitions.into_iter().filter_map(since).collect() }
}

async fn new_life(writer: &WriterHandle) -> Result<Incarnation, Failure> {
    let life = seat::fresh_incarnation()?;
    let (send, done) = oneshot::channel();
    let asked = writer.visit(move |store| {
        let change = Change::Remember { name: opening::LIFE, value: life.bits().to_be_bytes().to_vec() };
        // Fails only when nobody waits any more.
        let _ = send.send(store.commit(0, &[change]).map(|_| ()));
    });
    asked.map_err(|error| Failure::internal(&error))?;
    let written = done.await.map_err(|error| Failure::internal(&error))?;
    written.map_err(|error| Failure::internal(&error))?;
    Ok(life)
}

/// What this hub says of itself in gossip, as far as the table knows it.
fn profile(endpoint: &HubEndpoint, table: &Table, cluster: &Cluster) -> Profile {
    let fullness = match table.hub(cluster.me()) {
        Some(record) if record.witness => Fullness::Witness,
        Some(HubRecord { store: Some(store), .. }) if store.full => Fullness::Full,
        Some(HubRecord { store: Some(_), .. }) => Fullness::Syncing,
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
    cluster: Cluster,
    endpoint: HubEndpoint,
    shutdown: Shutdown,
) {
    let mut tables = cluster.tables();
    loop {
        let table = Arc::clone(&tables.borrow_and_update());
        said.send_if_modified(|said| {
            let (load_permille, draining) = (said.load_permille, said.draining);
            let now = Profile { load_permille, draining, ..profile(&endpoint, &table, &cluster) };
            let changed = *said != now;
            *said = now;
            changed
        });
        tokio::select! {
            changed = tables.changed() => if changed.is_err() { return },
            () = shutdown.triggered() => return,
        }
    }
}
