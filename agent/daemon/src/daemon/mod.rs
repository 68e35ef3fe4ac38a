//! The running agent: opens what it needs, starts the parts, waits for the end, stops them in order.
//!
//! | room | what stands there |
//! |---|---|
//! | [`driver`] | the task that owns the engine |
//! | [`disk`] | the writer's and the reader's thread |
//! | [`uplink`] | QUIC to a hub |
//! | [`sources`] | MQTT |
//! | [`windows`] | bandwidth by hour |
//! | [`scrub`] | reading everything again within a week |
//! | [`attesting`] | receipts that a hub has the same records |
//! | [`backlog`] | how much waits for a hub |
//! | [`http`], [`gauges`], [`scrape`] | what is shown |

pub mod attesting;
pub mod backlog;
pub mod disk;
pub mod driver;
mod episode;
pub mod gauges;
pub mod http;
mod open_receipts;
pub mod scrape;
pub mod scrub;
pub mod sources;
pub mod uplink;
pub mod windows;

use std::sync::Arc;

use anyhow::Context;
use millrace_agent_engine::{EPOCH_NAME, Engine, RESTORE_NAME, wanted_anew};
use millrace_host::http::HttpLimits;
use millrace_host::metrics::Metrics;
use millrace_host::systemd::{self, Watchdog};
use millrace_host::{Clock, Shutdown, clock, entropy};
use millrace_journal::{Author, Options, Store};
use millrace_model::notice::Open;
use millrace_model::store::Change;
use millrace_model::{DeviceId, Incarnation, Lane, Record};
use tokio::sync::mpsc;

use self::attesting::Attesting;
use self::backlog::Gauging;
use self::disk::Disk;
use self::driver::{Driver, Ears, Stages};
use self::gauges::Gauges;
use self::http::{Fitness, Subject};
use self::scrape::Scrape;
use self::scrub::Scrub;
use self::sources::Source;
use self::uplink::Uplink;
use crate::config::Config;
use crate::identity;
use crate::places::{Places, Runtime};

/// Name and version, as hubs show it.
pub const SOFTWARE: &str = concat!("millrace-agent ", env!("CARGO_PKG_VERSION"));

/// Events that may wait for the driver. Small: each of its senders waits when it is full.
const EVENTS: usize = 256;

/// Part of the disk budget that the write-ahead log may take, as a divisor.
const LOG_SHARE: u64 = 32;

/// Part of the disk budget that damaged records, kept aside for people, may take, as a divisor.
const QUARANTINE_SHARE: u64 = 32;

/// Publications that may wait for the driver, beside what the engine's own limits allow.
const ARRIVALS: usize = 4_096;

/// Runs an agent until `shutdown` is triggered.
///
/// # Errors
/// What kept it from starting, or made it stop.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let places = Places::new(&config.data_dir);
    let identity = identity::load(&places)?;
    let device = identity
        .own()
        .device()
        .context("the certificate is not a device's: enrol again with a join token")?;
    let name = identity.own().name.clone();
    let clock = Clock::system();
    let metrics = Metrics::new("millrace_agent", clock.clone());
    let (events, heard) = mpsc::channel(EVENTS);
    let (arrivals, arrived) = mpsc::channel(ARRIVALS);
    let (asks, asked) = mpsc::channel(16);
    let (fatal, failed) = mpsc::channel(1);

    let (store, options) = open_store(&places, &config, device, &clock)?;
    // The store is ours alone now: whatever else stands there, a killed agent left behind.
    places.withdraw();
    let missing = store.opened().missing.len();
    let incarnation = store.incarnation().context("the store has no author")?;
    let (epoch, restore) = (store.recall(EPOCH_NAME)?, store.recall(RESTORE_NAME)?);
    let mut engine = Engine::new(
        engine_config(&config, device),
        incarnation,
        store.journals(),
        store.usage(),
        entropy::seed_u64()?,
        clock.moment(),
    );
    if let Some(epoch) = epoch {
        engine.recall_epoch(&epoch);
    }
    if let Some(restore) = restore {
        engine.recall_restore(&restore);
    }
    let disk = Disk::start(store, &places.journal(), &options, events.clone(), fatal)?;
    let gauging = Gauging::open(&places.journal(), &options, clock.clone())?;
    let (metered, seed) = (config.uplink.metered, entropy::seed_u64()?);
    let uplink = Uplink::new(identity, places.clone(), clock.clone(), &config.hub, metered, seed);
    let uplink = Arc::new(uplink);
    let (journal, ours) = (places.journal(), Arc::clone(&uplink));
    let attesting = Arc::new(Attesting::open(&journal, &options, device, ours, clock.clone())?);
    let schedules = windows::start(config.uplink.clone(), clock.clone(), events.clone()).await?;

    let watchdog = Watchdog::new(clock.clone());
    let stages = Stages {
        ingest: watchdog.stage("ingest"),
        commit: watchdog.stage("commit"),
        sync: watchdog.stage("sync"),
    };
    let gauges = Gauges::new(&metrics)?;
    gauges.alarms.inc_by(missing as u64);
    let scrub = Scrub {
        journal: places.journal(),
        options,
        note: places.scrub(),
        within: config.scrub_within,
        mender: disk.mender(),
        read: gauges.scrubbed.clone(),
        clock: clock.clone(),
    };
    let driver =
        Driver::new(engine, clock.clone(), disk, Arc::clone(&uplink), events.clone(), stages, gauges);
    let latest = driver.latest();

    let listener = millrace_host::http::bind(config.http, false).await?;
    let http = listener.local_addr()?;
    let source = Source::start(config.mqtt, device, entropy::seed_u64()?, arrivals).await?;
    let mqtt = source.status.clone();
    Scrape { uplink: Arc::clone(&uplink), mqtt: mqtt.clone(), gauging: gauging.clone() }.show_on(&metrics);
    let subject = Subject {
        device: device.to_string(),
        name: name.clone(),
        software: SOFTWARE.to_owned(),
        asks,
        events,
        mqtt: mqtt.clone(),
        uplink: Arc::clone(&uplink),
        gauging: gauging.clone(),
        attesting,
        schedules: schedules.clone(),
    };
    let scrubbing = tokio::spawn(scrub.run(shutdown.clone()));
    let probing = tokio::spawn(Arc::clone(&uplink).probe(shutdown.clone()));
    let keeping = tokio::spawn(Arc::clone(&uplink).keep_news(shutdown.clone()));
    let measuring = tokio::spawn(gauging.run(Arc::clone(&latest), shutdown.clone()));
    let fitness = Arc::new(Fitness { watchdog: watchdog.clone(), latest, mqtt });
    let serving = tokio::spawn(millrace_host::http::serve(
        listener,
        http::routes(subject, fitness, metrics),
        HttpLimits::DEFAULTS,
        shutdown.clone(),
    ));
    let feeding = tokio::spawn(watchdog.run(shutdown.clone()));
    places.announce(&Runtime { pid: std::process::id(), http, mqtt: source.address })?;
    systemd::ready();
    // Without a broker of its own it subscribes at another, and the field is not there.
    let mqtt_address = source.address.map(tracing::field::display);
    tracing::info!(%device, name, %incarnation, %http, mqtt = mqtt_address, "the agent runs");

    let stopping = {
        let shutdown = shutdown.clone();
        async move {
            shutdown.triggered().await;
            systemd::stopping();
            // The driver is still there: what is on its way to the disk gets its receipts before the sockets close.
            source.stop().await;
        }
    };
    let ears = Ears { events: heard, arrivals: arrived, asks: asked, fatal: failed };
    let ended = driver.run(ears, stopping).await;
    shutdown.trigger();
    places.withdraw();
    schedules.shutdown().await;
    let _served = tokio::join!(serving, feeding, measuring, probing, keeping, scrubbing);
    ended.map_err(|why| StoreFailed(why).into())
}

/// The store cannot go on; nobody knows what is on the disk until the next start looks.
#[derive(Debug, thiserror::Error)]
#[error("the journal failed: {0}")]
pub struct StoreFailed(String);

/// Opens the journals and writes the `open` record of this start.
fn open_store(
    places: &Places,
    config: &Config,
    device: DeviceId,
    clock: &Clock,
) -> anyhow::Result<(Store, Options)> {
    let incarnation_if_new = Incarnation::new(entropy::seed_u64()?);
    let mut options = Options::agent(Author { device, incarnation_if_new });
    // The log counts against the budget: a small budget gets a small log.
    options.wal_limit_bytes = options.wal_limit_bytes.min(config.disk_budget_bytes / LOG_SHARE);
    options.quarantine_bytes = options.quarantine_bytes.min(config.disk_budget_bytes / QUARANTINE_SHARE);
    let mut store = Store::open(&places.journal(), &options)?;
    let report = store.opened().clone();
    let open = |reason: Option<&str>, previous: Option<Incarnation>| -> anyhow::Result<Record> {
        let open = Open {
            boot: clock::boot_id().unwrap_or_default(),
            nonce: format!("{:016x}", entropy::seed_u64()?),
            clock: clock::clock_quality().as_str().to_owned(),
            software: SOFTWARE.to_owned(),
            previous: previous.map(|incarnation| incarnation.to_string()),
            reason: reason.map(str::to_owned),
        };
        open.to_record(clock.wall(), clock.mono_since_boot()).context("an open record cannot be written")
    };
    let change = if report.lost_commits > 0 {
        // Their numbers may be known at a hub, so they are not used again.
        tracing::error!(
            commits = report.lost_commits,
            "the write-ahead log was damaged: a new incarnation begins"
        );
        let incarnation = Incarnation::new(entropy::seed_u64()?);
        Change::Reincarnate { incarnation, open: Box::new(open(Some("damaged-log"), store.incarnation())?) }
    } else {
        let reason = report.created.then_some("new");
        Change::Append { lane: Lane::Urgent, records: vec![open(reason, None)?] }
    };
    // A directory that nobody wrote to, of a device that may have been here before: its history is asked for.
    let is_blank = store.journals().iter().all(|journal| journal.head == 0);
    let wanted = is_blank.then(|| Change::Remember { name: RESTORE_NAME, value: wanted_anew() });
    let changes: Vec<Change> = std::iter::once(change).chain(wanted).collect();
    store.commit(0, &changes).context("the first commit of this start")?;
    Ok((store, options))
}

fn engine_config(config: &Config, device: DeviceId) -> millrace_agent_engine::Config {
    millrace_agent_engine::Config {
        level: config.hub.level,
        disk_budget_bytes: config.disk_budget_bytes,
        disk_reserve_bytes: config.disk_reserve_bytes,
        policies: config.policies,
        grace: config.grace,
        history_bytes: config.history_bytes,
        ..millrace_agent_engine::Config::new(device, SOFTWARE)
    }
}
