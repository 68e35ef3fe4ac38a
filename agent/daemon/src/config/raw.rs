//! The configuration file as it is written. Unknown keys are errors; every key has a default.
//!
//! Absent: bounds across keys, which [`super::checked`] checks.

use std::net::SocketAddr;
use std::path::PathBuf;

use millrace_host::config::{ByteSize, Rate, Span};
use millrace_host::logs::LogFormat;
use millrace_host::schedules::Zone;
use millrace_model::{AckLevel, Lane};
use serde::{Deserialize, Serialize};

use crate::mqtt::Version;

/// The whole file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Where identity and journals live.
    pub data_dir: PathBuf,
    /// How much is logged: a level or directives.
    pub log: String,
    /// `text` or `json`.
    pub log_format: LogFormat,
    /// `[mqtt]`
    pub mqtt: Mqtt,
    /// `[[subscription]]`
    pub subscription: Vec<Subscription>,
    /// `[hub]`
    pub hub: Hub,
    /// `[uplink]`
    pub uplink: Uplink,
    /// `[store]`
    pub store: Store,
    /// `[restore]`
    pub restore: Restore,
    /// `[http]`
    pub http: Http,
}

/// `[mqtt]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mqtt {
    /// Where the embedded broker listens, when `broker` is absent.
    pub listen: SocketAddr,
    /// Whether the embedded broker may listen beyond loopback without a login.
    pub open_to_the_network: bool,
    /// A broker beside us: `mqtt://host:port` or `mqtts://host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// `3.1.1` or `5`.
    pub version: Version,
    /// The name of our session at the broker; the device's id when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// User name towards the broker, or that clients of the embedded one must show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the password; the systemd credential `mqtt-password` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities to trust for `mqtts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of our certificate chain for `mqtts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// PEM file of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// `[[subscription]]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// A topic filter.
    pub filter: String,
    /// The highest quality of service asked for.
    #[serde(default = "one")]
    pub qos: u8,
    /// The lane of its records.
    #[serde(default = "normal")]
    pub lane: Lane,
}

const fn one() -> u8 {
    1
}

const fn normal() -> Lane {
    Lane::Normal
}

/// `[hub]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// `host:port` of hubs to begin with; those known from enrolment and from hubs when empty.
    pub addresses: Vec<String>,
    /// Whether hubs that no address names, and that hubs tell of, are dialled too.
    pub follow: bool,
    /// The region to be preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `fibre`, `cellular` or `satellite`.
    pub road: String,
    /// How durable a record must be before it may be trimmed here.
    pub ack: AckLevel,
}

/// `[uplink]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Uplink {
    /// Bytes per second towards the hub.
    pub rate: Rate,
    /// Whether each byte costs money.
    pub metered: bool,
    /// How hours in windows are meant.
    pub zone: Zone,
    /// `[[uplink.window]]`
    pub window: Vec<Window>,
}

/// `[[uplink.window]]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// When it opens, as a cron expression.
    pub open: String,
    /// How long it stays open.
    #[serde(rename = "for")]
    pub length: Span,
    /// Bytes per second while it is open.
    pub rate: Rate,
}

/// `[store]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Bytes on disk, write-ahead log included. A file of 2 MiB, kept for the day when the disk is full, comes on top.
    pub budget: ByteSize,
    /// Part of the budget kept free for gap records and for making room; at most an eighth of it counts.
    pub reserve: ByteSize,
    /// How long acknowledged records stay.
    pub grace: Span,
    /// Everything stored is read again, and compared with what it was, within this time.
    pub scrub: Span,
    /// `[store.full]`
    pub full: Full,
}

/// `[store.full]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Full {
    /// What the urgent lane does when the budget is used up.
    pub urgent: String,
    /// What the normal lane does.
    pub normal: String,
    /// What the bulk lane does.
    pub bulk: String,
}

/// `[restore]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restore {
    /// How much of its history a new disk gets back from the hubs: bytes as they travel, `none` or `all`.
    pub history: String,
}

/// `[http]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where health, status and metrics are served.
    pub listen: SocketAddr,
}

impl Default for File {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/millrace-agent"),
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            mqtt: Mqtt::default(),
            subscription: vec![Subscription { filter: "#".to_owned(), qos: 1, lane: Lane::Normal }],
            hub: Hub::default(),
            uplink: Uplink::default(),
            store: Store::default(),
            restore: Restore::default(),
            http: Http::default(),
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            open_to_the_network: false,
            broker: None,
            version: Version::V5,
            client_id: None,
            username: None,
            password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
        }
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            follow: true,
            region: None,
            road: "fibre".to_owned(),
            ack: AckLevel::Hub,
        }
    }
}

impl Default for Uplink {
    fn default() -> Self {
        Self { rate: Rate::UNLIMITED, metered: false, zone: Zone::Utc, window: Vec::new() }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            budget: ByteSize::gib(1),
            reserve: ByteSize::mib(4),
            grace: Span::hours(1),
            scrub: Span::days(7),
            full: Full::default(),
        }
    }
}

impl Default for Full {
    fn default() -> Self {
        Self { urgent: "block".to_owned(), normal: "drop-oldest".to_owned(), bulk: "drop-oldest".to_owned() }
    }
}

impl Default for Restore {
    fn default() -> Self {
        Self { history: "256MiB".to_owned() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7480)) }
    }
}
