//! The config as it stands in the file. The defaults here are the program's defaults; `systemd/hub.toml` says the same.
//!
//! Absent: checks that need more than one key, or a parser of its own: [`super::checked`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use millrace_host::config::{ByteSize, Rate, Span};
use millrace_host::logs::LogFormat;
use serde::{Deserialize, Serialize};

/// A whole file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Log level or directives.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The hub's name; empty: as `init` was told.
    pub name: String,
    /// The hub's region; empty: as `init` was told.
    pub region: String,
    /// Agents.
    pub quic: Quic,
    /// People and programs.
    pub http: Http,
    /// Certificates of devices and of this hub.
    pub certificates: Certificates,
    /// What one device, and all together, may take.
    pub quota: Quota,
    /// The disk.
    pub store: Store,
    /// How long records stay.
    pub retention: Retention,
    /// How copies are compared and mended.
    pub repair: Repair,
    /// How everything stored is read again.
    pub scrub: Scrub,
    /// The hubs among each other.
    pub cluster: Cluster,
}

/// Where agents connect.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quic {
    /// UDP address to listen on.
    pub listen: String,
    /// Where agents reach this hub, `host:port`; empty: as `init` was told.
    pub advertise: Vec<String>,
}

/// The HTTP API.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// TCP address to listen on.
    pub listen: String,
    /// Whether other machines may reach it.
    pub remote: bool,
    /// Queries that read the store at the same time.
    pub readers: u32,
    /// Whether it may change keys, leases and locks.
    pub writable: bool,
}

/// Lives of certificates.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certificates {
    /// How long a certificate is good.
    pub life: Span,
    /// How long after its end it may still be renewed with the key on record.
    pub grace: Span,
}

/// Limits of devices.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Connected devices.
    pub sessions: u32,
    /// Bytes of records per second and device.
    pub device_rate: Rate,
    /// Bytes that one device's journals may take.
    pub device_bytes: ByteSize,
    /// Journals of one device.
    pub device_journals: u32,
    /// Incarnations of one device that are connected at once.
    pub device_incarnations: u32,
    /// Holes in one journal.
    pub journal_holes: u32,
    /// Bytes of records that are received and not yet flushed, of all devices together.
    pub memory: ByteSize,
    /// The same of one device.
    pub device_memory: ByteSize,
}

/// The store.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Bytes that it may take on disk.
    pub budget: ByteSize,
}

/// How long records stay.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// How long after its arrival a record is dropped: a time, or `forever`.
    pub keep: String,
    /// What happens when the store's budget is used up.
    pub when_full: WhenFull,
    /// What `drop-oldest` never touches: records that arrived less than this ago.
    pub keep_at_least: Span,
    /// When to look, as a cron expression in UTC.
    pub schedule: String,
}

/// How copies are compared and mended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Repair {
    /// How long after a comparison with another holder the next one comes.
    pub interval: Span,
    /// When all copies are compared beside that, as a cron expression in UTC.
    pub schedule: String,
    /// Bytes that are fetched in one batch.
    pub max_batch_size: ByteSize,
    /// How long something may be lacking before that is an alarm.
    pub consistency_timeout: Span,
}

/// How everything stored is read again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scrub {
    /// A whole pass takes no longer.
    pub within: Span,
    /// How many times as long as it reads it rests.
    pub tranquility: u32,
}

/// The hubs among each other.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// How far they are from each other.
    pub preset: Preset,
    /// Where this hub reaches others, by their names, when not as they say themselves.
    pub addresses: BTreeMap<String, Vec<String>>,
}

/// How far the hubs are from each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Some milliseconds.
    #[default]
    Lan,
    /// Continents.
    Wan,
}

/// What happens when the store's budget is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// Agents are told to go elsewhere, and keep their records.
    Refuse,
    /// The records that arrived first go.
    DropOldest,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep: "forever".to_owned(),
            when_full: WhenFull::Refuse,
            keep_at_least: Span::days(30),
            schedule: "0 0 * * * *".to_owned(),
        }
    }
}

impl Default for Repair {
    fn default() -> Self {
        Self {
            interval: Span::hours(6),
            schedule: "0 20 3 * * *".to_owned(),
            max_batch_size: ByteSize::mib(16),
            consistency_timeout: Span::hours(1),
        }
    }
}

impl Default for Scrub {
    fn default() -> Self {
        Self { within: Span::days(7), tranquility: 9 }
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/millrace-hub"),
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            name: String::new(),
            region: String::new(),
            quic: Quic::default(),
            http: Http::default(),
            certificates: Certificates::default(),
            quota: Quota::default(),
            store: Store::default(),
            retention: Retention::default(),
            repair: Repair::default(),
            scrub: Scrub::default(),
            cluster: Cluster::default(),
        }
    }
}

impl Default for Quic {
    fn default() -> Self {
        Self { listen: "0.0.0.0:7443".to_owned(), advertise: Vec::new() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7481".to_owned(), remote: false, readers: 4, writable: false }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self { life: Span::days(30), grace: Span::days(180) }
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            device_rate: Rate::UNLIMITED,
            device_bytes: ByteSize::gib(1_024),
            device_journals: 192,
            device_incarnations: 4,
            journal_holes: 2_048,
            memory: ByteSize::mib(256),
            device_memory: ByteSize::mib(8),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { budget: ByteSize::gib(1_024) }
    }
}
