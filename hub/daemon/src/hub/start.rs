//! Starting: every part in the order in which it can fail for a reason that the operator can mend.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millrace_host::http::{HttpLimits, ServeError, bind, host_routes, serve};
use millrace_host::schedules::{Schedules, Zone};
use millrace_host::systemd::{self, Watchdog};
use millrace_host::{Clock, Exit, Shutdown};
use millrace_hub_engine::{Engine, Event};
use millrace_journal::{Options, Reader, Store, Writer};
use millrace_link::{
    Admission, CaError, CertificateAuthority, Identity, Listener, ServerOptions, VaultError,
};
use millrace_model::{Fence, HubId, Incarnation};
use millrace_wire::HubEndpoint;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use super::linking::{self, LinkingParts};
use super::{Hub, Shows, identity, taking_part};
use crate::alarms::AlarmBoard;
use crate::cluster::Cluster;
use crate::cluster::seat::{self, Taking};
use crate::cluster::upkeep::Own;
use crate::config::{Config, Preset};
use crate::driver::input::Input;
use crate::driver::{CHECKS_RUNNING_MAX, Driver, DriverHandle, LOADS_RUNNING_MAX, Parts};
use crate::http::{ADMIN_CONNECTIONS_MAX, Api, ApiParts, Limited, WATCHERS_MAX};
use crate::hubs::Hubs;
use crate::meters::Meters;
use crate::opening::{self, StoreError};
use crate::peers::control_road::ControlRoad;
use crate::places::{About, Places, Runtime};
use crate::pulse::Pulse;
use crate::reading::Reading;
use crate::reception;
use crate::registrar::Registrar;
use crate::registry::sightings::Sightings;
use crate::registry::{Registry, RegistryError};
use crate::retention::{self, Looking};
use crate::session::{RENEWALS_AT_ONCE, Sessions};
use millrace_host::Failure;

/// Jobs that wait for the journal's thread: one commit, and what damage there is to move aside.
const WRITER_QUEUE_MAX: usize = 256;
/// Devices' connections beyond the quota that are kept for as long as it takes the engine to say goodbye in words. Further ones are
/// closed as soon as their handshake has shown that they are devices.
const OVER_QUOTA_MAX: usize = 256;
/// Connections beside those of devices, so that in a storm of agents that come back another hub always finds a place: handshakes
/// under way, as many that were just turned away and linger for a moment, and eight connections each of 64 hubs.
const BESIDE_DEVICES_MAX: usize = 2 * millrace_link::limits::HANDSHAKES_MAX + 8 * 64;
/// Connections to the HTTP API. One more gets `503 busy`.
const WEB_CONNECTIONS_MAX: usize = 256;
/// Page cache of a connection that only reads.
const READER_CACHE_BYTES: u64 = 8 << 20;

/// Everything that others come in by.
struct Doors {
    listener: Arc<Listener>,
    web: TcpListener,
    socket: UnixListener,
    quic: SocketAddr,
    http: SocketAddr,
}

impl Doors {
    async fn open(
        config: &Config,
        identity: Identity,
        registry: &Arc<Registry>,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        let listener = Arc::new(listen(config, identity, registry, clock)?);
        let quic = listener.local_addr().map_err(|error| Failure::io("no UDP port", &error))?;
        let (web, socket) = listen_for_callers(config).await?;
        let http = web.local_addr().map_err(|error| Failure::io("no TCP port", &error))?;
        Ok(Self { listener, web, socket, quic, http })
    }
}

/// What stands on disk, opened.
struct Opened {
    /// A witness has none.
    ca: Option<CertificateAuthority>,
    witness: bool,
    identity: Identity,
    about: About,
    sightings: Sightings,
    store: Store,
    life: Incarnation,
    readers: Vec<Reader>,
    checkers: Vec<Reader>,
    loaders: Vec<Reader>,
    fence: Fence,
}

impl Hub {
    /// Opens and binds everything, and takes agents and callers from then on. Needs a tokio runtime.
    ///
    /// # Errors
    /// What is wrong, with the fix and the exit code.
    pub async fn start(config: Config, clock: Clock, shutdown: Shutdown) -> Result<Self, Failure> {
        let opening = {
            let (config, clock) = (config.clone(), clock.clone());
            tokio::task::spawn_blocking(move || open(&config, &clock))
        };
        let opened = opening.await.map_err(|error| Failure::internal(&error))??;
        let hub = opened.identity.own().hub().ok_or_else(|| identity::missing(&config.places))?;
        let (showing, shown) = watch::channel(opened.identity.clone());
        let road = linking::road(config.preset);
        let peers = taking_part::peers(&opened.identity, shown, &clock, road, &shutdown)?;
        taking_part::join_again(&config.places, &opened.about, &peers).await?;
        let taking = Taking {
            places: &config.places,
            about: &opened.about,
            hub,
            key: opened.identity.own().public_key_hash,
            options: control_options(config.preset),
            transport: Arc::new(ControlRoad::new(peers.clone())),
            now: clock.wall(),
        };
        let registry = seat::take(taking, opened.sightings).await?;
        let (registrar, cluster) = (Arc::clone(&registry), registry.cluster().clone());
        let ca_pem = opened.identity.ca_pem().to_owned();
        let registrar = Registrar::new(registrar, &ca_pem, opened.ca, clock.clone(), config.certificate_life);
        let registrar = Arc::new(registrar);

        let (own_key, witness) = (opened.identity.own().public_key_hash, opened.witness);
        let doors = Doors::open(&config, opened.identity, &registry, &clock).await?;
        let endpoint = endpoint(&config, hub, &opened.about, doors.quic);
        let own = Own {
            name: endpoint.name.clone(),
            region: endpoint.region.clone(),
            addresses: endpoint.addresses.clone(),
            key: own_key,
            store: (!witness).then_some(opened.life),
        };
        for address in misdirected(&endpoint.addresses, doors.quic) {
            tracing::warn!(
                address,
                listens = %doors.quic,
                "agents are sent to another port than this hub listens on: set `quic.listen` to that port, or \
                 `quic.advertise` to where agents reach it; ignore this when the port is forwarded"
            );
        }
        let writer = Writer::start(opened.store, WRITER_QUEUE_MAX);
        let writer = writer.map_err(|error| Failure::io("no thread for the journal", &error))?;
        let reading = Reading::new(opened.readers, writer.handle());
        let checking = Reading::new(opened.checkers, writer.handle());
        let loading = Reading::new(opened.loaders, writer.handle());
        let meters = Meters::new(clock.clone()).map_err(|error| Failure::internal(&error))?;
        let pulse = Arc::new(Pulse::new(Watchdog::new(clock.clone())));
        let board = AlarmBoard::new(Arc::clone(&registry));
        let engine = engine(&config, &endpoint, opened.fence, &writer, (&clock, &registry)).await?;
        let looking = Looking::default();
        let schedules = look_on_schedule(&config, &clock, &looking).await?;
        let (to_cluster, from_driver) = linking::to_cluster();
        let (driver, handle) = Driver::new(Parts {
            engine,
            clock: clock.clone(),
            registry: Arc::clone(&registry),
            board: board.clone(),
            meters: meters.clone(),
            writer: writer.handle(),
            checking,
            loading,
            cluster: to_cluster,
            pulse: Arc::clone(&pulse),
            looking: looking.clone(),
            memory: config.places.retention(),
        });
        let driver = tokio::spawn(driver.run(shutdown.clone()));
        let (hubs, answering) = (Hubs::alone(&endpoint), Arc::new(OnceLock::new()));
        let linked = linking::link(LinkingParts {
            cluster: cluster.clone(),
            peers: peers.clone(),
            registrar: Arc::clone(&registrar),
            driver: handle.clone(),
            writer: writer.handle(),
            from_driver,
            endpoint: endpoint.clone(),
            hubs: hubs.clone(),
            pulse: Arc::clone(&pulse),
            witness,
            api: Arc::clone(&answering),
            own,
            places: config.places.clone(),
            preset: config.preset,
            roads: config.roads.clone(),
            sessions_max: config.quota.sessions,
            meters: meters.clone(),
            clock: clock.clone(),
            shutdown: shutdown.clone(),
        })?;
        let api = Api::new(ApiParts {
            endpoint,
            hubs: hubs.clone(),
            peers: peers.clone(),
            roster: linked.roster,
            quic: doors.quic,
            http: doors.http,
            places: config.places.clone(),
            store_budget_bytes: config.store_budget_bytes,
            clock: clock.clone(),
            registry,
            registrar: Arc::clone(&registrar),
            reading,
            driver: handle.clone(),
            board,
            meters: meters.clone(),
            pulse: Arc::clone(&pulse),
            listener: Arc::clone(&doors.listener),
            shutdown: shutdown.clone(),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        });
        // The first to be set, so it always is.
        let _ = answering.set(api.downgrade());
        let sessions = Sessions {
            driver: handle.clone(),
            registrar: Arc::clone(&registrar),
            meters,
            renewing: Arc::new(Semaphore::new(RENEWALS_AT_ONCE)),
            witness,
        };
        let Doors { listener, web, socket, quic, http } = doors;
        let mut crew = linked.crew;
        crew.begin("telling agents of the hubs", hubs.tell(handle.clone(), shutdown.clone()));
        let devices_max = config.quota.sessions.saturating_add(OVER_QUOTA_MAX);
        let receiving = reception::receive(Arc::clone(&listener), sessions, Some(peers.clone()), devices_max);
        crew.begin("reception", receiving);
        crew.begin("the HTTP API", serve_web(web, &api, config.http_writable, &shutdown));
        crew.attempt("the admin socket", serve_socket(socket, &api, &shutdown));
        let (watchdog, ended) = (pulse.watchdog.clone(), shutdown.clone());
        crew.begin("the watchdog", async move {
            watchdog.run(ended.clone()).await;
            // Where the service manager asks for none, there is nothing to do.
            ended.triggered().await;
        });
        crew.begin("revocations", cut_revoked(cluster.clone(), handle.clone(), shutdown.clone()));
        let shows = Shows { identity: showing, own: linked.own, profile: linked.profile };
        let gossip = linked.gossip;
        #[rustfmt::skip]
        let hub = Self {
            config, clock, shutdown, listener, registrar, pulse, writer, handle, driver, crew, quic, http,
            schedules, looking, hub, cluster, peers, gossip, shows, rereading: None,
        };
        hub.announce()?;
        Ok(hub)
    }

    /// Says that agents and callers are taken.
    fn announce(&self) -> Result<(), Failure> {
        self.pulse.serving(true);
        let runtime = Runtime { pid: std::process::id(), http: self.http, quic: self.quic };
        let announced = self.config.places.announce(&runtime);
        announced.map_err(|error| Failure::io("could not write runtime.json", &error))?;
        systemd::ready();
        tracing::info!(quic = %self.quic, http = %self.http, data = %self.config.places.root().display(), "the hub is ready");
        Ok(())
    }
}

/// How often to try for a data directory that is held, and the pause in between.
const LOCK_LOOKS: usize = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

fn open(config: &Config, clock: &Clock) -> Result<Opened, Failure> {
    let places = &config.places;
    let about = places.read_about().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => identity::missing(places),
        _ => Failure::io("about.json in the data directory cannot be read", &error),
    })?;
    let now = clock.wall();
    // Locked first: whoever holds it is the only process on this directory.
    let sightings = open_sightings(places).map_err(|error| registry_failure(&error))?;
    let witness = seat::known(places)?.witness;
    let ca = if witness { None } else { Some(load_ca(config)?) };
    let identity = identity::current(places, ca.as_ref(), config.certificate_life, now)?;
    // Reading a long log after a crash takes its time.
    systemd::status("opening the store");
    let options = opening::options(config.store_budget_bytes);
    let mut store = opening::open(&places.journal(), &options).map_err(|error| store_failure(&error))?;
    let fence = opening::begin_epoch(&mut store).map_err(|error| store_failure(&error))?;
    let fresh = seat::fresh_incarnation()?;
    let life = opening::incarnation(&mut store, fresh).map_err(|error| store_failure(&error))?;
    let reading = Options { page_cache_bytes: READER_CACHE_BYTES, ..options };
    let connections = |count: usize| {
        let opened = (0..count).map(|_| Reader::open(&places.journal(), &reading));
        opened.collect::<Result<Vec<_>, _>>().map_err(|error| store_failure(&error.into()))
    };
    let (readers, checkers) = (connections(config.readers)?, connections(CHECKS_RUNNING_MAX)?);
    let loaders = connections(LOADS_RUNNING_MAX)?;
    Ok(Opened { ca, witness, identity, about, sightings, store, life, readers, checkers, loaders, fence })
}

/// Opens the sightings, and locks the data directory by that. A command that makes a token beside a hub that starts holds it
/// for a moment.
pub(crate) fn open_sightings(places: &Places) -> Result<Sightings, RegistryError> {
    for _ in 0..LOCK_LOOKS {
        match Sightings::open(&places.seen()) {
            Err(RegistryError::Locked { .. }) => std::thread::sleep(LOCK_PAUSE),
            opened => return opened,
        }
    }
    Sightings::open(&places.seen())
}

/// The numbers of the replicated core for hubs that are so far from each other.
fn control_options(preset: Preset) -> millrace_hub_control::Options {
    match preset {
        Preset::Lan => millrace_hub_control::Options::lan(),
        Preset::Wan => millrace_hub_control::Options::wan(),
    }
}

/// Cuts the sessions of devices that are revoked, wherever that was decided.
async fn cut_revoked(cluster: Cluster, driver: DriverHandle, shutdown: Shutdown) {
    loop {
        let revoked = tokio::select! {
            revoked = cluster.next_revoked() => revoked,
            () = shutdown.triggered() => return,
        };
        for (device, reason) in revoked {
            // When the driver has ended, so have the sessions.
            driver.tell(Input::Event(Event::Revoked { device, reason })).await;
        }
    }
}

/// The CA of the cluster.
pub(crate) fn load_ca(config: &Config) -> Result<CertificateAuthority, Failure> {
    CertificateAuthority::load(&config.places.ca()).map_err(|error| match error {
        CaError::Vault(VaultError::Missing { .. }) => identity::missing(&config.places),
        error => Failure::new(Exit::Config, error.to_string()),
    })
}

pub(crate) fn registry_failure(error: &RegistryError) -> Failure {
    let exit = match error {
        RegistryError::Damaged { .. } | RegistryError::TooLong { .. } => Exit::Data,
        RegistryError::Io { source, .. } => Exit::from_io(source),
        RegistryError::Locked { .. } | RegistryError::Contended => Exit::Temporary,
        RegistryError::Broken { .. } => Exit::Io,
        RegistryError::Entry(_) => Exit::Internal,
        RegistryError::Control(error) => return seat::control_failure(error),
        _ => Exit::Usage,
    };
    Failure::new(exit, error.to_string())
}

pub(crate) fn store_failure(error: &StoreError) -> Failure {
    use millrace_journal::OpenError;
    let exit = match error {
        StoreError::Open(OpenError::Locked { .. }) => Exit::Temporary,
        StoreError::Open(OpenError::Damaged { .. } | OpenError::Ledger { .. }) | StoreError::Epoch(_) => {
            Exit::Data
        }
        StoreError::Open(
            OpenError::Foreign { .. } | OpenError::WrongRole { .. } | OpenError::OtherDevice { .. },
        ) => Exit::Config,
        _ => Exit::Io,
    };
    Failure::new(exit, error.to_string())
}

fn listen(
    config: &Config,
    identity: Identity,
    registry: &Arc<Registry>,
    clock: &Clock,
) -> Result<Listener, Failure> {
    let admission = Arc::clone(registry) as Arc<dyn Admission>;
    let wall = clock.clone();
    let mut options = ServerOptions::new(identity, admission, Arc::new(move || wall.wall()));
    options.grace = config.certificate_grace;
    options.connections_max = config.quota.sessions.saturating_add(OVER_QUOTA_MAX + BESIDE_DEVICES_MAX);
    Listener::bind(config.quic, options).map_err(|error| {
        Failure::new(Exit::Unavailable, error.to_string()).hint("is another hub running? See `quic.listen`")
    })
}

async fn listen_for_callers(config: &Config) -> Result<(TcpListener, UnixListener), Failure> {
    let web = bind(config.http, config.http_remote).await;
    let web = web.map_err(|error| {
        let exit = match error {
            ServeError::NotLoopback(_) => Exit::Config,
            ServeError::Bind { .. } => Exit::Unavailable,
        };
        Failure::new(exit, error.to_string()).hint("see `http.listen` and `http.remote`")
    })?;
    // The registry's lock says that no other hub runs here: what stands there was left by one that was killed.
    config.places.withdraw();
    let path = config.places.socket();
    let bound = UnixListener::bind(&path).and_then(|socket| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(socket)
    });
    let socket = bound.map_err(|error| {
        let failure = Failure::io(&format!("cannot listen on {}", path.display()), &error);
        failure.hint("a socket's path has at most 107 bytes: choose a shorter data directory")
    })?;
    Ok((web, socket))
}

/// Who this hub is, and where it is reached: the config's word counts before that of `init`.
fn endpoint(config: &Config, hub: HubId, about: &About, quic: SocketAddr) -> HubEndpoint {
    let told = if config.advertise.is_empty() { &about.addresses } else { &config.advertise };
    let with_port = |address: &String| match address.rsplit_once(':') {
        Some((host, "0")) => format!("{host}:{}", quic.port()),
        _ => address.clone(),
    };
    HubEndpoint {
        hub,
        name: config.name.clone().unwrap_or_else(|| about.name.clone()),
        region: config.region.clone().unwrap_or_else(|| about.region.clone()),
        addresses: told.iter().map(with_port).collect(),
        load_permille: 0,
        draining: false,
        replica: true,
    }
}

/// The addresses that name another port than the one that the hub listens on.
fn misdirected(addresses: &[String], quic: SocketAddr) -> impl Iterator<Item = &str> {
    let elsewhere = move |address: &&String| {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        port.is_some_and(|port| port != quic.port())
    };
    addresses.iter().filter(elsewhere).map(String::as_str)
}

async fn engine(
    config: &Config,
    endpoint: &HubEndpoint,
    fence: Fence,
    writer: &Writer,
    (clock, registry): (&Clock, &Registry),
) -> Result<Engine, Failure> {
    let (send, found) = tokio::sync::oneshot::channel();
    let asked = writer.handle().visit(move |store| {
        // Fails only when the start was given up.
        let _ = send.send((store.journals(), store.usage()));
    });
    asked.map_err(|error| Failure::internal(&error))?;
    let (journals, usage) = found.await.map_err(|error| Failure::internal(&error))?;
    let mut numbers = numbers(config, endpoint.hub);
    (numbers.name, numbers.region) = (endpoint.name.clone(), endpoint.region.clone());
    numbers.hubs = vec![endpoint.clone()];
    (numbers.epoch, numbers.clustered) = (registry.cluster().epoch(), true);
    numbers.fence_base = fence;
    let memory_at = config.places.retention();
    let memory = tokio::task::spawn_blocking(move || retention::load(&memory_at)).await;
    let mut engine = Engine::new(numbers, &journals, usage, clock.moment());
    engine.recall(memory.map_err(|error| Failure::internal(&error))?, &registry.gone());
    Ok(engine)
}

/// The numbers of the config that the engine works with.
pub(super) fn numbers(config: &Config, hub: HubId) -> millrace_hub_engine::Config {
    let mut numbers = millrace_hub_engine::Config::new(hub, "", "");
    let quota = &config.quota;
    numbers.links_max = quota.sessions;
    numbers.incarnations_online_max = quota.device_incarnations;
    numbers.memory_budget_bytes = quota.memory_bytes;
    numbers.credit_max_bytes = quota.device_memory_bytes;
    numbers.device_rate = quota.device_rate;
    numbers.device_bytes_max = quota.device_bytes;
    numbers.device_journals_max = quota.device_journals;
    numbers.journal_ranges_max = quota.journal_holes;
    numbers.disk_budget_bytes = config.store_budget_bytes;
    (numbers.keep, numbers.when_full) = (config.retention.keep, config.retention.when_full);
    numbers.idle_timeout = millrace_link::limits::HUB_IDLE_TIMEOUT;
    numbers
}

/// Looks at the start, so that a hub that is restarted often looks at all, and then by the calendar.
async fn look_on_schedule(config: &Config, clock: &Clock, looking: &Looking) -> Result<Schedules, Failure> {
    let schedules = Schedules::new(clock.clone(), Zone::Utc).await;
    let schedules = schedules.map_err(|error| Failure::internal(&error))?;
    let entered = retention::schedule(&schedules, &config.retention.schedule, looking).await;
    entered
        .map_err(|error| Failure::new(Exit::Config, error.to_string()).hint("see `retention.schedule`"))?;
    looking.ask();
    Ok(schedules)
}

fn serve_web(
    listener: TcpListener,
    api: &Api,
    writable: bool,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + use<> {
    let writing = if writable { api.writing_routes() } else { api.read_only_routes() };
    let limits = HttpLimits { connections_max: WEB_CONNECTIONS_MAX, ..HttpLimits::DEFAULTS };
    let host = host_routes(api.pulse(), api.metrics());
    serve(listener, api.routes().merge(writing).merge(host), limits, shutdown.clone())
}

fn serve_socket(
    listener: UnixListener,
    api: &Api,
    shutdown: &Shutdown,
) -> impl Future<Output = Result<(), Failure>> + use<> {
    let host = host_routes(api.pulse(), api.metrics());
    let routes = api.routes().merge(api.writing_routes()).merge(api.admin_routes()).merge(host);
    let shutdown = shutdown.clone();
    let served = axum::serve(Limited::new(listener, ADMIN_CONNECTIONS_MAX), routes)
        .with_graceful_shutdown(async move { shutdown.triggered().await });
    async move { served.await.map_err(|error| Failure::io("the admin socket is closed", &error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_another_port_is_told_and_port_0_is_the_port_that_is_listened_on() {
        let about = |addresses: &[&str]| About {
            name: "hub-1".into(),
            region: "north".into(),
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        };
        let config = crate::config::defaults(std::path::Path::new("hub")).unwrap();
        let quic: SocketAddr = "0.0.0.0:7443".parse().unwrap();
        let told = |config: &Config, addresses: &[&str]| -> Vec<String> {
            let endpoint = endpoint(config, HubId::default(), &about(addresses), quic);
            misdirected(&endpoint.addresses, quic).map(str::to_owned).collect()
        };
        assert_eq!(told(&config, &["hub.example:0", "hub.example:7443", "[::1]:7443"]), [""; 0]);
        assert_eq!(told(&config, &["hub.example:8443", "hub.example:7443"]), ["hub.example:8443"]);
        let advertised = Config { advertise: vec!["hub.example:7443".into()], ..config };
        assert_eq!(told(&advertised, &["hub.example:8443"]), [""; 0], "the config's word counts");
    }
}
