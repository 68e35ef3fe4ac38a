//! Starting: every part in the order in which it can fail for a reason that the operator can mend.

mod disk;
mod doors;
mod engine;

use std::sync::{Arc, OnceLock};

use millrace_host::systemd::{self, Watchdog};
use millrace_host::{Clock, Failure, Shutdown};
use millrace_hub_control::LOG_FILE;
use millrace_hub_engine::Event;
use millrace_journal::Writer;
use tokio::sync::{Semaphore, watch};

use super::linking::{self, LinkingParts};
use super::{Hub, Shows, identity, taking_part};
use crate::alarms::AlarmBoard;
use crate::attesting::Attesting;
use crate::cluster::Cluster;
use crate::cluster::seat::{self, Taking};
use crate::cluster::upkeep::Own;
use crate::config::{Config, Preset};
use crate::driver::input::{Answers, Input};
use crate::driver::{Driver, DriverHandle, Parts};
use crate::health::footing::Footing;
use crate::http::{Api, ApiParts, WATCHERS_MAX};
use crate::hubs::Hubs;
use crate::meters::Meters;
use crate::peers::control_road::ControlRoad;
use crate::places::Runtime;
use crate::pulse::Pulse;
use crate::reading::Reading;
use crate::reception;
use crate::registrar::Registrar;
use crate::registry::Expelled;
use crate::repairs::{Repairs, telling};
use crate::retention::Looking;
use crate::scrub::{self, Scrub};
use crate::session::{RENEWALS_AT_ONCE, Sessions};
pub(crate) use disk::{load_ca, open_sightings, registry_failure, store_failure};
use doors::{Doors, OVER_QUOTA_MAX, endpoint, misdirected, serve_socket, serve_web};
pub(super) use engine::numbers;
use engine::{engine, look_on_schedule};

/// Jobs that wait for the journal's thread: one commit, and what damage there is to move aside.
const WRITER_QUEUE_MAX: usize = 256;

impl Hub {
    /// Opens and binds everything, and takes agents and callers from then on. Needs a tokio runtime.
    ///
    /// # Errors
    /// What is wrong, with the fix and the exit code.
    pub async fn start(config: Config, clock: Clock, shutdown: Shutdown) -> Result<Self, Failure> {
        let opening = {
            let (config, clock) = (config.clone(), clock.clone());
            tokio::task::spawn_blocking(move || disk::open(&config, &clock))
        };
        let opened = opening.await.map_err(|error| Failure::internal(&error))??;
        let hub = opened.identity.own().hub().ok_or_else(|| identity::missing(&config.places))?;
        let (showing, shown) = watch::channel(opened.identity.clone());
        let signing = shown.clone();
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
        let footing = Footing::of([config.places.journal(), config.places.control().join(LOG_FILE)]);
        let footing = footing.map_err(|error| Failure::io("what was opened is not there", &error))?;
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
        let answers = Answers::new();
        let pool = |readers| Reading::new(readers, writer.handle(), answers.damages());
        let (reading, checking) = (pool(opened.readers), pool(opened.checkers));
        let (loading, scrubbing) = (pool(opened.loaders), pool(opened.scrubbers));
        let consulting = pool(opened.consulted);
        let meters = Meters::new(clock.clone()).map_err(|error| Failure::internal(&error))?;
        let pulse = Arc::new(Pulse::new(Watchdog::new(clock.clone())));
        let board = AlarmBoard::new(Arc::clone(&registry));
        let engine = engine(&config, &endpoint, opened.fence, &writer, (&clock, &registry)).await?;
        let scrub = Scrub::default();
        let repairs_at = config.places.repairs();
        let repairs = tokio::task::spawn_blocking(move || Repairs::open(&repairs_at)).await;
        let repairs = repairs.map_err(|error| Failure::internal(&error))?;
        let looking = Looking::default();
        let comparing = Looking::default();
        let schedules = look_on_schedule(&config, &clock, &looking, &comparing).await?;
        let (to_cluster, from_driver) = linking::to_cluster();
        let (driver, handle) = Driver::new(Parts {
            engine,
            clock: clock.clone(),
            registry: Arc::clone(&registry),
            board: board.clone(),
            repairs: repairs.clone(),
            meters: meters.clone(),
            writer: writer.handle(),
            answers,
            checking,
            loading,
            consulting,
            cluster: to_cluster,
            pulse: Arc::clone(&pulse),
            looking: looking.clone(),
            comparing,
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
        let attesting = Attesting::new(reading.clone(), signing, clock.clone());
        let api = Api::new(ApiParts {
            endpoint,
            hubs: hubs.clone(),
            peers: peers.clone(),
            roster: linked.roster,
            profile: linked.profile.subscribe(),
            own: linked.own.subscribe(),
            quic: doors.quic,
            http: doors.http,
            places: config.places.clone(),
            store_budget_bytes: config.store_budget_bytes,
            clock: clock.clone(),
            registry,
            registrar: Arc::clone(&registrar),
            reading,
            attesting: attesting.clone(),
            driver: handle.clone(),
            board,
            repairs: repairs.clone(),
            scrub: scrub.clone(),
            scrub_pace: config.scrub,
            meters: meters.clone(),
            pulse: Arc::clone(&pulse),
            listener: Arc::clone(&doors.listener),
            shutdown: shutdown.clone(),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        });
        // The first to be set, so it always is.
        let _ = answering.set(api.downgrade());
        let scrubbing = scrub::Parts {
            reading: scrubbing,
            writer: writer.handle(),
            note: config.places.scrub(),
            pace: config.scrub,
            scrub,
            meters: meters.clone(),
            clock: clock.clone(),
            shutdown: shutdown.clone(),
        };
        let sessions = Sessions {
            driver: handle.clone(),
            attesting,
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
        crew.begin("the scrub", scrub::run(scrubbing));
        crew.begin(
            "telling other hubs of repairs",
            telling::run(repairs, cluster.clone(), peers.clone(), shutdown.clone()),
        );
        crew.attempt("the data directory", footing.watch(shutdown.clone()));
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

/// The numbers of the replicated core for hubs that are so far from each other.
fn control_options(preset: Preset) -> millrace_hub_control::Options {
    match preset {
        Preset::Lan => millrace_hub_control::Options::lan(),
        Preset::Wan => millrace_hub_control::Options::wan(),
    }
}

/// Cuts the sessions of devices that are revoked, and of machines whose place another one took, wherever that was decided.
async fn cut_revoked(cluster: Cluster, driver: DriverHandle, shutdown: Shutdown) {
    loop {
        let revoked = tokio::select! {
            revoked = cluster.next_revoked() => revoked,
            () = shutdown.triggered() => return,
        };
        for (device, expelled) in revoked {
            let input = match expelled {
                Expelled::Revoked(reason) => Input::Event(Event::Revoked { device, reason }),
                Expelled::Replaced => Input::Replaced(device),
            };
            // When the driver has ended, so have the sessions.
            driver.tell(input).await;
        }
    }
}
