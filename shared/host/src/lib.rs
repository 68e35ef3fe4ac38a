//! What every daemon owes its host: clock, config, logs, metrics, signals, systemd, schedules.
//!
//! Promise: whatever the operating system knows (time, entropy, signals, the service manager, the
//! terminal) enters Millrace here and nowhere else, and each part can be replaced in a test.
//! Absent: nothing about records, journals, MQTT or QUIC; no decision about data.
//!
//! | module | what it gives |
//! |---|---|
//! | [`clock`] | monotonic, wall and boot time; the boot id; how far the wall clock can be trusted |
//! | [`config`] | a TOML file into a strict raw struct, errors with line, key and fix; units |
//! | [`entropy`] | seeds from the operating system |
//! | [`http`] | a bounded local HTTP server, one error shape, health and metrics routes |
//! | [`lifecycle`] | shutdown, reload, exit codes |
//! | [`logs`] | tracing to a terminal, to a file or to journald |
//! | [`metrics`] | a registry, OpenMetrics text, figures of the process itself |
//! | [`schedules`] | named cron schedules and daily windows |
//! | [`systemd`] | readiness, watchdog that feeds only while work moves, credentials |
//! | [`terminal`] | colours, tables, and figures that people can read |

pub mod clock;
pub mod config;
pub mod entropy;
pub mod http;
pub mod lifecycle;
pub mod logs;
pub mod metrics;
pub mod schedules;
pub mod systemd;
pub mod terminal;

pub use clock::{Clock, ClockQuality};
pub use lifecycle::{Exit, Reload, Shutdown};
