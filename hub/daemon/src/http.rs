//! The HTTP API: status, devices, records, tail, route; keys, watches, leases, locks; members and placement. What changes keys is
//! taken on the admin socket, and over TCP when the config says so; what changes the cluster on the admin socket only.
//!
//! Promise: reading never waits for the engine's decisions nor holds them up; every refusal says what to do.
//! Absent: the server and its limits (`millrace-host`), logins: the API is for this machine, or behind a proxy.

mod admin;
mod attest;
mod devices;
mod dump;
mod feed;
mod gathering;
mod kv;
mod leases;
mod members;
mod others;
mod owners;
mod parameters;
mod records;
mod repair;
mod repairs;
mod route;
mod socket;
mod status;
mod tail;
mod watching;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use millrace_host::http::{Health, Problem};
use millrace_host::metrics::Metrics;
use millrace_host::{Clock, Shutdown};
use millrace_hub_engine::membership::Profile;
use millrace_journal::ScrubPace;
use millrace_link::Listener;
use millrace_model::NodeId;
use millrace_wire::HubEndpoint;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use crate::alarms::AlarmBoard;
use crate::attesting::Attesting;
use crate::cluster::record::StoreRecord;
use crate::cluster::upkeep::Own;
use crate::driver::DriverHandle;
use crate::hubs::Hubs;
use crate::meters::Meters;
use crate::peers::Peers;
use crate::peers::gossip::Roster;
use crate::places::Places;
use crate::pulse::Pulse;
use crate::reading::Reading;
use crate::registrar::Registrar;
use crate::registry::Registry;
use crate::repairs::Repairs;
use crate::scrub::Scrub;

/// Body of a request on the admin socket: a token with all its labels is below 4 KiB.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Body of a request that changes keys: a whole entry of the log (1.4 MiB), in base 64 as JSON.
const WRITING_BYTES_MAX: usize = 2 << 20;
/// Connections to the admin socket: 512 clients of a benchmark that each hold one, and as many for all other tools and watchers of
/// this machine. One more is answered with `503 busy`.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 1_024;
/// Watchers of keys at once.
pub(crate) const WATCHERS_MAX: usize = watching::WATCHERS_MAX;

/// What the API answers from.
pub struct ApiParts {
    /// Who this hub is.
    pub endpoint: HubEndpoint,
    /// What agents and clients are told of all hubs.
    pub hubs: Hubs,
    /// Where it listens for agents.
    pub quic: SocketAddr,
    /// Where it listens for callers.
    pub http: SocketAddr,
    /// Where everything stands.
    pub places: Places,
    /// Bytes that the store may take.
    pub store_budget_bytes: u64,
    /// Time.
    pub clock: Clock,
    /// Who is enrolled.
    pub registry: Arc<Registry>,
    /// The other hubs.
    pub peers: Peers,
    /// Who seems alive: a hint.
    pub roster: watch::Receiver<Arc<Roster>>,
    /// What this hub says of itself in gossip.
    pub profile: watch::Receiver<Profile>,
    /// What this hub is, as only it knows: which life its store lives.
    pub own: watch::Receiver<Own>,
    /// Who makes tokens.
    pub registrar: Arc<Registrar>,
    /// Connections that read.
    pub reading: Reading,
    /// Who says over this hub's signature what it has.
    pub attesting: Attesting,
    /// The engine's task.
    pub driver: DriverHandle,
    /// The latest alarms.
    pub board: AlarmBoard,
    /// What was mended.
    pub repairs: Repairs,
    /// How far the scrub has come, and how it goes.
    pub scrub: Scrub,
    /// At which pace.
    pub scrub_pace: ScrubPace,
    /// Figures.
    pub meters: Meters,
    /// Health.
    pub pulse: Arc<Pulse>,
    /// The door.
    pub listener: Arc<Listener>,
    /// When to end what goes on for long.
    pub shutdown: Shutdown,
    /// Places for watchers of keys.
    pub watchers: Arc<Semaphore>,
}

/// The API. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<ApiParts>);

pub(crate) use admin::{TokenRequest, shown as shown_token};
pub(crate) use attest::AttestRequest;
pub(crate) use devices::merged as merged_devices;
pub(crate) use records::for_peer as records_for_peer;
pub(crate) use repair::RepairRequest;
pub(crate) use repairs::LIMIT_MAX as REPAIRS_MAX;
pub(crate) use route::DrainRequest;
pub(crate) use socket::Limited;

type Answer = Result<Json<Value>, Problem>;

impl Api {
    /// An API over these parts.
    #[must_use]
    pub fn new(parts: ApiParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The API, for somebody who must not keep it.
    pub(crate) fn downgrade(&self) -> Weak<ApiParts> {
        Arc::downgrade(&self.0)
    }

    /// Back again, while it serves.
    pub(crate) fn upgrade(parts: &Weak<ApiParts>) -> Option<Self> {
        parts.upgrade().map(Self)
    }

    /// This hub's store as the table knows it; `None` when the table speaks of another life of it, or of none: what that one held is not here.
    fn store(&self) -> Option<StoreRecord> {
        let cluster = self.0.registry.cluster();
        cluster.table().store_of(cluster.me(), self.0.own.borrow().store)
    }

    /// The other hubs that can be asked now, and how far they are.
    fn reachable(&self) -> BTreeMap<NodeId, Duration> {
        let links = self.0.peers.links().into_iter().filter(|link| link.connected);
        links.map(|link| (link.node, link.rtt.unwrap_or(Duration::MAX))).collect()
    }

    /// What everybody on this machine may ask.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/v1/status", get(status::show))
            .route("/v1/devices", get(devices::list))
            .route("/v1/records", get(records::page))
            .route("/v1/tail", get(tail::follow))
            .route("/v1/kv", get(kv::many))
            .route("/v1/kv/{*key}", get(kv::one))
            .route("/v1/watch", get(watching::follow))
            .route("/v1/locks/{name}", get(leases::show))
            .route("/v1/repairs", get(repairs::list))
            .route("/v1/members", get(members::list))
            .route("/v1/placement", get(members::placement))
            .route("/v1/placement/plan", get(members::plan))
            .route("/v1/settings", get(members::settings))
            .route("/v1/route", get(route::show))
            .with_state(self.clone())
    }

    /// What changes keys, leases and locks.
    pub fn writing_routes(&self) -> Router {
        Router::new()
            .route("/v1/kv", delete(kv::delete_many))
            .route("/v1/kv/{*key}", put(kv::put).delete(kv::delete_one))
            .route("/v1/txn", post(kv::txn))
            .route("/v1/leases", post(leases::grant))
            .route("/v1/leases/{lease}", delete(leases::revoke))
            .route("/v1/leases/{lease}/renew", post(leases::renew))
            .route("/v1/locks/{name}", post(leases::take).delete(leases::release))
            .layer(DefaultBodyLimit::max(WRITING_BYTES_MAX))
            .with_state(self.clone())
    }

    /// The same paths where nothing is to be changed: the refusal says what to do.
    pub fn read_only_routes(&self) -> Router {
        Router::new()
            .route("/v1/kv", delete(read_only))
            .route("/v1/kv/{*key}", put(read_only).delete(read_only))
            .route("/v1/txn", post(read_only))
            .route("/v1/leases", post(read_only))
            .route("/v1/leases/{lease}", delete(read_only))
            .route("/v1/leases/{lease}/renew", post(read_only))
            .route("/v1/locks/{name}", post(read_only).delete(read_only))
    }

    pub(crate) fn control(&self) -> &millrace_hub_control::Control {
        self.0.registry.cluster().control()
    }

    /// What only the owner of the data directory may ask.
    pub fn admin_routes(&self) -> Router {
        Router::new()
            .route("/v1/tokens", post(admin::make_token))
            .route("/v1/dump", get(dump::show))
            .route("/v1/drain", post(route::drain))
            .route("/v1/repair", post(repair::begin))
            .route("/v1/attest", post(attest::compare))
            .route("/v1/devices/{device}/revoke", post(admin::revoke))
            .route("/v1/members/{name}/remove", post(members::remove))
            .route("/v1/settings", put(members::set))
            .fallback(unknown)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.clone())
    }

    /// Its health, for `/healthz` and `/readyz`.
    #[must_use]
    pub fn pulse(&self) -> Arc<dyn Health> {
        Arc::clone(&self.0.pulse) as Arc<dyn Health>
    }

    /// Its figures, for `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.meters.metrics.clone()
    }
}

async fn read_only() -> Problem {
    let message = "nothing is changed over this address";
    let hint =
        "use the hub's admin.sock, as `millrace-hub kv` does, or set `http.writable = true` in its config";
    Problem::new(StatusCode::FORBIDDEN, "read-only", message, hint)
}

async fn unknown(request: Request) -> Problem {
    Problem::not_found(format!("there is no {}", request.uri().path()), "docs/api.md lists the paths")
}

/// The driver has ended: the process is about to.
fn stopping() -> Problem {
    Problem::unavailable("the hub is stopping", "try again in a few seconds")
}
