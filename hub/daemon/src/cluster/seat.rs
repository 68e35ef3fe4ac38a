//! The seat: who this hub is in its cluster, and how it takes its place there.
//!
//! ```text
//!  init ──▶ cluster.json {node 1, founding} ──first start──▶ control/ with one voter, first records ──▶ {founding: false}
//!  join ──▶ cluster.json {node n} ─────────────first start──▶ empty control/, waits to be found by the leader
//!  a hub of before (registry.jsonl, no cluster.json) ──▶ as after init, and what stands there is taken over
//! ```
//!
//! Promise: a cluster is founded once: whatever a crash leaves, the next start goes on from there, and a directory that lost
//! its decisions never founds a second cluster under the same number.
//! Absent: asking others to be taken in ([`super::joining`]).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_host::{Exit, Failure, entropy};
use millrace_hub_control::kv::{Compare, Op, Txn};
use millrace_hub_control::{Control, ControlError, Member, OpenError, Options, Seat, Transport};
use millrace_hub_engine::placement::{Placement, Site, target};
use millrace_journal::decisions::{LogOpenError, StateOpenError};
use millrace_link::KeyHash;
use millrace_model::{HubId, Incarnation, NodeId, Wall};

use super::record::{ClusterRecord, HubRecord, HubState, Settings};
use super::{Cluster, keys};
use crate::backup::restoring::read_dump;
use crate::places::{About, Places, SeatFile};
use crate::registry::import::Import;
use crate::registry::sightings::Sightings;
use crate::registry::{Registry, RegistryError, put};

/// The number of the hub that founds a cluster.
pub const FOUNDER: NodeId = NodeId(1);
/// The first epoch of a cluster.
const FIRST_EPOCH: u64 = 1;
/// How long a hub that is alone may take to elect itself: some flushes.
const ALONE_PATIENCE: Duration = Duration::from_secs(20);

/// Who takes the seat.
pub struct Taking<'a> {
    /// Its data directory.
    pub places: &'a Places,
    /// What `init` or `join` was told.
    pub about: &'a About,
    /// Its id.
    pub hub: HubId,
    /// Its key.
    pub key: KeyHash,
    /// Numbers of the core.
    pub options: Options,
    /// The road to the other hubs.
    pub transport: Arc<dyn Transport>,
    /// The wall clock.
    pub now: Wall,
}

/// A new seat for the hub that founds a cluster.
///
/// # Errors
/// When there is no randomness.
pub fn founder() -> Result<SeatFile, Failure> {
    let control = fresh_incarnation()?;
    let seeds = Vec::new();
    Ok(SeatFile {
        node: FOUNDER,
        epoch: FIRST_EPOCH,
        control,
        seeds,
        witness: false,
        founding: true,
        begun: false,
    })
}

/// 64 random bits.
pub(crate) fn fresh_incarnation() -> Result<Incarnation, Failure> {
    let bits = entropy::seed_u64().map_err(|error| Failure::internal(&error))?;
    Ok(Incarnation::new(bits))
}

/// The seat that stands in `places`, or that of a hub of before.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn known(places: &Places) -> Result<SeatFile, Failure> {
    let unreadable = |error: &std::io::Error| {
        Failure::io("cluster.json cannot be read", error).hint(
        "put it back from a backup; without one move the data directory aside and join again with a token of \
         `millrace-hub token create --hub --replace NAME`",
    )
    };
    if let Some(seat) = places.read_seat().map_err(|error| unreadable(&error))? {
        return Ok(seat);
    }
    if !places.registry().exists() {
        let message =
            format!("{} belongs to no cluster: a `join` did not come to its end", places.root().display());
        return Err(Failure::new(Exit::Config, message).hint("run the same `millrace-hub join` again"));
    }
    let seat = founder()?;
    places.write_seat(&seat).map_err(|error| Failure::io("cluster.json cannot be written", &error))?;
    Ok(seat)
}

/// Whether the decisions' directory at `path` has never been used, or was lost.
#[must_use]
pub fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none())
}

/// Opens the core in the seat and founds the cluster when that is still to be done. What a hub of before kept by itself is
/// taken over.
///
/// # Errors
/// What is wrong, with the fix and the exit code.
pub async fn take(taking: Taking<'_>, sightings: Sightings) -> Result<Arc<Registry>, Failure> {
    let places = taking.places;
    let mut seat = known(places)?;
    let directory = places.control();
    if is_empty(&directory) && seat.begun && !seat.founding {
        let message = format!("the cluster's decisions are missing: {} is empty", directory.display());
        let hint = "start the hub: when it is one of several it joins again by itself; otherwise restore the data \
                    directory from a backup";
        return Err(Failure::new(Exit::Data, message).hint(hint));
    }
    let opened = Control::open(
        Seat {
            id: seat.node.0,
            incarnation: seat.control.bits(),
            epoch: seat.epoch,
            directory,
            seed: entropy::seed_u64().map_err(|error| Failure::internal(&error))?,
            inline: false,
        },
        taking.options.clone(),
        Arc::clone(&taking.transport),
    );
    let control = opened.await.map_err(|error| open_failure(&error))?;
    let settled = settle(&control, &taking, &seat, sightings).await;
    let registry = match settled {
        Ok(registry) => registry,
        Err(failure) => {
            control.close().await;
            return Err(failure);
        }
    };
    if seat.founding || !seat.begun {
        (seat.founding, seat.begun) = (false, true);
        places.write_seat(&seat).map_err(|error| Failure::io("cluster.json cannot be written", &error))?;
        // Taken in now; that it could not be removed changes nothing.
        let _ = std::fs::remove_file(places.dump());
    }
    Ok(registry)
}

async fn settle(
    control: &Control,
    taking: &Taking<'_>,
    seat: &SeatFile,
    sightings: Sightings,
) -> Result<Arc<Registry>, Failure> {
    let failed = |error: ControlError| control_failure(&error);
    if seat.founding && control.members().is_empty() {
        control.found(BTreeMap::from([(seat.node.0, member(taking, seat))])).await.map_err(failed)?;
    }
    if is_alone(control) {
        control.led(ALONE_PATIENCE).await.map_err(failed)?;
    }
    let cluster = Cluster::of(control.clone(), seat.epoch, seat.control).await.map_err(failed)?;
    if seat.founding {
        if taking.places.dump().exists() {
            // What an old cluster decided: with it there, the first records are no news.
            let dump = read_dump(&taking.places.dump())?;
            cluster.control().refill(&dump).await.map_err(failed)?;
            cluster.caught_up(dump.revision).await;
        }
        first_records(&cluster, taking, seat).await?;
    }
    let registry = Registry::new(cluster, sightings);
    take_over(&registry, taking.places).await?;
    Ok(registry)
}

/// Whether this node is its cluster's only voter.
pub(crate) fn is_alone(control: &Control) -> bool {
    let members = control.members();
    let mut voters = members.iter().filter(|member| member.votes);
    voters.next().is_some_and(|voter| voter.id == control.id()) && voters.next().is_none()
}

fn member(taking: &Taking<'_>, seat: &SeatFile) -> Member {
    Member {
        incarnation: seat.control.bits(),
        address: taking.about.addresses.join(","),
        region: taking.about.region.clone(),
        witness: false,
    }
}

/// What stands in a cluster from its first moment. A second time changes nothing.
async fn first_records(cluster: &Cluster, taking: &Taking<'_>, seat: &SeatFile) -> Result<(), Failure> {
    let about = taking.about;
    let mut placement = Placement::default();
    let site = Site { node: seat.node, region: about.region.clone() };
    placement.begin(&target(&[site], Settings::default().replicas));
    let first = HubRecord {
        node: seat.node,
        hub: taking.hub,
        name: about.name.clone(),
        region: about.region.clone(),
        addresses: about.addresses.clone(),
        witness: false,
        control: seat.control,
        store: None,
        state: HubState::Member,
        joined_at: taking.now,
        key: taking.key,
    };
    let itself = ClusterRecord { name: about.name.clone(), epoch: seat.epoch, founded_at: taking.now };
    let ops = || -> Result<Vec<Op>, RegistryError> {
        Ok(vec![
            put(keys::CLUSTER.into(), &itself)?,
            Op::put(keys::NEXT_NODE, (seat.node.0 + 1).to_string()),
            put(keys::hub(seat.node), &first)?,
            put(keys::PLACEMENT.into(), &placement)?,
            put(keys::SETTINGS.into(), &Settings::default())?,
        ])
    };
    let then = ops().map_err(|error| Failure::internal(&error))?;
    let txn = Txn { compares: vec![Compare::absent(keys::CLUSTER)], then, otherwise: Vec::new() };
    cluster.decide(txn).await.map_err(|error| control_failure(&error))?;
    Ok(())
}

/// Takes over what a hub of before kept by itself.
async fn take_over(registry: &Registry, places: &Places) -> Result<(), Failure> {
    let path = places.registry();
    if !path.exists() {
        return Ok(());
    }
    if !is_alone(registry.cluster().control()) {
        tracing::warn!(path = %path.display(), "a registry of before is not taken over: this hub is not alone any more");
        return Ok(());
    }
    let import = Import::read(&path).map_err(|error| crate::hub::registry_failure(&error))?;
    let (devices, tokens) = (import.devices.len(), import.tokens.len());
    registry.import(import).await.map_err(|error| crate::hub::registry_failure(&error))?;
    let kept = path.with_extension("jsonl.imported");
    std::fs::rename(&path, &kept).map_err(|error| Failure::io("the registry of before stays", &error))?;
    tracing::info!(devices, tokens, kept = %kept.display(), "the registry of before is taken over");
    Ok(())
}

/// What a core that cannot decide means to a command.
pub(crate) fn control_failure(error: &ControlError) -> Failure {
    let exit = match error {
        ControlError::Refused(_)
        | ControlError::TooLarge { .. }
        | ControlError::Membership(_)
        | ControlError::NoMember(_) => Exit::Usage,
        ControlError::Stopped(_) => Exit::Io,
        _ => Exit::Temporary,
    };
    Failure::new(exit, error.to_string())
}

/// What helps when the decisions' files are damaged, wherever that is noticed.
const JOIN_AGAIN: &str = "move control/ in the data directory aside (do not delete it) and start: a hub that is one of several joins again \
                          by itself; one that is alone is restored from a backup";

fn open_failure(error: &OpenError) -> Failure {
    let exit = match error {
        OpenError::Io(error) => Exit::from_io(error),
        OpenError::Consensus(_) => Exit::Internal,
        OpenError::OtherIncarnation { .. } => Exit::Config,
        OpenError::Log(LogOpenError::Open(error)) | OpenError::State(StateOpenError::Open(error)) => {
            if matches!(error, millrace_journal::OpenError::Locked { .. }) {
                Exit::Temporary
            } else {
                Exit::Data
            }
        }
        _ => Exit::Data,
    };
    let failure = Failure::new(exit, error.to_string());
    if exit == Exit::Data { failure.hint(JOIN_AGAIN) } else { failure }
}
