//! From what stands in the file to what the program runs with.
//!
//! Promise: whatever a [`Config`] says can be carried out; what cannot is refused with line, key and fix.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use millrace_host::config::{ConfigError, Loaded, Source, Span};
use millrace_host::logs::LogOptions;
use millrace_host::schedules::Expression;
use millrace_hub_engine::WhenFull;
use millrace_journal::ScrubPace;

pub use super::raw::Preset;
use super::raw::{self, Raw};
use crate::places::Places;
use crate::scrub::STEP_BYTES;

/// Shortest life of a certificate: less would be renewed all day long.
const LIFE_MIN: Duration = Duration::from_secs(3_600);
/// Shortest time that records are kept: they go within a sixteenth of it and an hour.
const KEEP_MIN: Duration = Duration::from_secs(3_600);
/// Longest life; the same as the CA's own bound.
const LIFE_MAX: Duration = millrace_link::ca::LEAF_LIFE_MAX;

/// What a hub runs with.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The data directory.
    pub places: Places,
    /// What is logged, and how.
    pub log: LogOptions,
    /// The hub's name, when the config says one.
    pub name: Option<String>,
    /// Its region, when the config says one.
    pub region: Option<String>,
    /// UDP address for agents.
    pub quic: SocketAddr,
    /// Where agents reach it, when the config says so.
    pub advertise: Vec<String>,
    /// TCP address of the API.
    pub http: SocketAddr,
    /// Whether other machines may reach the API.
    pub http_remote: bool,
    /// Queries that read at the same time.
    pub readers: usize,
    /// Life of certificates.
    pub certificate_life: Duration,
    /// Grace after their end.
    pub certificate_grace: Duration,
    /// Limits of devices.
    pub quota: Quota,
    /// Bytes that the store may take.
    pub store_budget_bytes: u64,
    /// How long records stay.
    pub retention: Retention,
    /// How copies are compared and mended.
    pub repair: Repair,
    /// How everything stored is read again.
    pub scrub: ScrubPace,
    /// Whether the TCP address may change keys, leases and locks; the admin socket always may.
    pub http_writable: bool,
    /// How far the hubs are from each other.
    pub preset: Preset,
    /// Where other hubs are reached, by name, when not as they say themselves.
    pub roads: BTreeMap<String, Vec<String>>,
}

/// How long records stay; see the example for what each means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retention {
    /// How long after their arrival; `None`: for ever.
    pub keep: Option<Duration>,
    /// What happens when the store's budget is used up.
    pub when_full: WhenFull,
    /// When to look: a checked cron expression.
    pub schedule: String,
}

/// How copies are compared and mended; see the example for what each means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repair {
    /// Between two comparisons with one holder.
    pub interval: Duration,
    /// When all copies are compared: a checked cron expression.
    pub schedule: String,
    /// Bytes of one batch.
    pub batch_bytes: u64,
    /// How long something may be lacking.
    pub consistency_timeout: Duration,
}

/// Limits of devices; see the example for what each means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Devices connected at once.
    pub sessions: usize,
    /// Bytes per second of one device; `None` is unlimited.
    pub device_rate: Option<u64>,
    /// Stored bytes of one device.
    pub device_bytes: u64,
    /// Journals of one device.
    pub device_journals: usize,
    /// Connected incarnations of one device.
    pub device_incarnations: usize,
    /// Ranges of one journal.
    pub journal_holes: usize,
    /// Bytes in memory of all devices.
    pub memory_bytes: u64,
    /// Bytes in memory of one device.
    pub device_memory_bytes: u64,
}

impl Config {
    /// Checks what stands in a file.
    ///
    /// # Errors
    /// The first mistake, with its line and fix.
    pub fn check(loaded: &Loaded<Raw>) -> Result<Self, ConfigError> {
        let (raw, source) = (&loaded.raw, &loaded.source);
        let words = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        let name_fits = |key, text: &str| {
            let fits = text.trim().is_empty() || millrace_link::ca::valid_name(text.trim());
            let fix = "write 1 to 64 characters, for example \"hub-1\"";
            if fits { Ok(()) } else { Err(source.mistake(key, format!("`{text}` is not a name"), fix)) }
        };
        name_fits("name", &raw.name)?;
        name_fits("region", &raw.region)?;
        if raw.data_dir.as_os_str().is_empty() {
            return Err(source.mistake("data_dir", "it is empty", "name a directory"));
        }
        for address in &raw.quic.advertise {
            if !valid_address(address) {
                let problem = format!("`{address}` is not an address");
                return Err(source.mistake("quic.advertise", problem, "write \"host:port\""));
            }
        }
        Ok(Self {
            places: Places::new(&raw.data_dir),
            log: LogOptions { level: raw.log.clone(), format: raw.log_format },
            name: words(&raw.name),
            region: words(&raw.region),
            quic: socket(source, "quic.listen", &raw.quic.listen)?,
            advertise: raw.quic.advertise.clone(),
            http: socket(source, "http.listen", &raw.http.listen)?,
            http_remote: raw.http.remote,
            readers: within(source, "http.readers", raw.http.readers, 64)?,
            certificate_life: life(source, raw)?,
            certificate_grace: raw.certificates.grace.duration(),
            quota: quota(source, raw)?,
            store_budget_bytes: at_least(source, "store.budget", raw.store.budget.as_u64(), 16 << 20)?,
            retention: retention(source, raw)?,
            repair: repair(source, raw)?,
            scrub: scrub(source, raw)?,
            http_writable: raw.http.writable,
            preset: raw.cluster.preset,
            roads: roads(source, raw)?,
        })
    }
}

fn roads(source: &Source, raw: &Raw) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    for (name, addresses) in &raw.cluster.addresses {
        let wrong = addresses.iter().find(|address| !valid_address(address) || address.ends_with(":0"));
        if let Some(wrong) = wrong {
            let problem = format!("`{wrong}` is not where the hub `{name}` can be reached");
            return Err(source.mistake("cluster.addresses", problem, "write \"host:port\""));
        }
    }
    Ok(raw.cluster.addresses.clone())
}

fn socket(source: &Source, key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        let fix = "write an IP address and a port, for example \"0.0.0.0:7443\" or \"[::]:7443\"";
        source.mistake(key, format!("`{text}` is not an address to listen on"), fix)
    })
}

fn within(source: &Source, key: &str, value: u32, max: u32) -> Result<usize, ConfigError> {
    let fits = (1..=max).contains(&value).then(|| usize::try_from(value).ok()).flatten();
    fits.ok_or_else(|| source.mistake(key, format!("{value} is out of bounds"), format!("write 1 to {max}")))
}

fn at_least(source: &Source, key: &str, value: u64, min: u64) -> Result<u64, ConfigError> {
    if value >= min {
        return Ok(value);
    }
    let fix = format!("write at least \"{}MiB\"", min >> 20);
    Err(source.mistake(key, format!("{value} bytes are too few to work with"), fix))
}

fn life(source: &Source, raw: &Raw) -> Result<Duration, ConfigError> {
    let life = raw.certificates.life.duration();
    if (LIFE_MIN..=LIFE_MAX).contains(&life) {
        return Ok(life);
    }
    let problem = format!("a certificate cannot live {}", raw.certificates.life);
    Err(source.mistake("certificates.life", problem, "write \"1h\" to \"1825days\""))
}

fn retention(source: &Source, raw: &Raw) -> Result<Retention, ConfigError> {
    let retention = &raw.retention;
    let keep = match retention.keep.trim() {
        "forever" => None,
        text => {
            let span = text.parse::<Span>().ok().map(Span::duration).filter(|span| *span >= KEEP_MIN);
            let mistake = || {
                let problem = format!("`{text}` is not a time to keep records for");
                source.mistake(
                    "retention.keep",
                    problem,
                    "write \"forever\", or at least \"1h\": \"365days\"",
                )
            };
            Some(span.ok_or_else(mistake)?)
        }
    };
    let least = retention.keep_at_least.duration();
    let when_full = match retention.when_full {
        raw::WhenFull::Refuse => WhenFull::Refuse,
        raw::WhenFull::DropOldest => WhenFull::DropOldest { keep_at_least: least },
    };
    if retention.when_full == raw::WhenFull::DropOldest && keep.is_some_and(|keep| keep < least) {
        let problem = format!("it is longer than retention.keep = \"{}\"", retention.keep);
        let fix = "write a shorter time, or let retention.keep be longer";
        return Err(source.mistake("retention.keep_at_least", problem, fix));
    }
    calendar(source, "retention.schedule", &retention.schedule)?;
    Ok(Retention { keep, when_full, schedule: retention.schedule.clone() })
}

/// Shortest time between two comparisons, and shortest patience with what is lacking: the second look takes twelve seconds.
const REPAIR_MIN: Duration = Duration::from_secs(60);

/// Shortest time for a pass of the scrub.
const SCRUB_MIN: Duration = Duration::from_secs(60);

fn repair(source: &Source, raw: &Raw) -> Result<Repair, ConfigError> {
    let repair = &raw.repair;
    calendar(source, "repair.schedule", &repair.schedule)?;
    Ok(Repair {
        interval: span_of(source, "repair.interval", repair.interval, REPAIR_MIN)?,
        schedule: repair.schedule.clone(),
        batch_bytes: at_least(source, "repair.max_batch_size", repair.max_batch_size.as_u64(), 1 << 20)?,
        consistency_timeout: span_of(
            source,
            "repair.consistency_timeout",
            repair.consistency_timeout,
            REPAIR_MIN,
        )?,
    })
}

fn scrub(source: &Source, raw: &Raw) -> Result<ScrubPace, ConfigError> {
    let scrub = &raw.scrub;
    if scrub.tranquility > 1_000 {
        let problem = format!("{} is out of bounds", scrub.tranquility);
        return Err(source.mistake("scrub.tranquility", problem, "write 0 to 1000"));
    }
    let within = span_of(source, "scrub.within", scrub.within, SCRUB_MIN)?;
    Ok(ScrubPace { within, tranquility: scrub.tranquility, tranquility_min: 0, step_bytes: STEP_BYTES })
}

fn span_of(source: &Source, key: &str, span: Span, min: Duration) -> Result<Duration, ConfigError> {
    if span.duration() >= min {
        return Ok(span.duration());
    }
    let fix = format!("write at least \"{}s\"", min.as_secs());
    Err(source.mistake(key, format!("{span} is too short"), fix))
}

fn calendar(source: &Source, key: &str, expression: &str) -> Result<(), ConfigError> {
    let fix = "write six fields, for example \"0 0 * * * *\" for every hour";
    let checked = Expression::new(expression).map(|_| ());
    checked.map_err(|error| source.mistake(key, error.to_string(), fix))
}

fn quota(source: &Source, raw: &Raw) -> Result<Quota, ConfigError> {
    let quota = &raw.quota;
    let journals = u32::try_from(millrace_wire::limits::JOURNALS_MAX).unwrap_or(u32::MAX);
    let holes = u32::try_from(millrace_model::limits::RANGES_MAX / 2).unwrap_or(u32::MAX);
    Ok(Quota {
        sessions: within(source, "quota.sessions", quota.sessions, 20_000)?,
        device_rate: quota.device_rate.limit(),
        device_bytes: at_least(source, "quota.device_bytes", quota.device_bytes.as_u64(), 1 << 20)?,
        device_journals: within(source, "quota.device_journals", quota.device_journals, journals)?,
        device_incarnations: within(source, "quota.device_incarnations", quota.device_incarnations, 64)?,
        journal_holes: within(source, "quota.journal_holes", quota.journal_holes, holes)?,
        memory_bytes: at_least(source, "quota.memory", quota.memory.as_u64(), 4 << 20)?,
        device_memory_bytes: at_least(source, "quota.device_memory", quota.device_memory.as_u64(), 1 << 20)?,
    })
}

/// Whether `address` is `host:port`; port 0 stands for the port that the hub listens on.
#[must_use]
pub fn valid_address(address: &str) -> bool {
    let plain = address.len() <= millrace_link::token::ADDRESS_BYTES_MAX
        && !address.chars().any(|c| c.is_control() || c.is_whitespace());
    let split = address.rsplit_once(':');
    plain && split.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}
