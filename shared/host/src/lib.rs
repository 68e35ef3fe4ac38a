//! What every daemon owes its host: clock, config, logs, metrics, signals, systemd, schedules.
//!
//! Promise: whatever the operating system knows (time, entropy, signals, the service manager, the
//! terminal) enters Millrace here and nowhere else, and each part can be replaced in a test.
//! Absent: journals, MQTT and QUIC; no decision about data. Of records it knows only how people see one.
//!
//! | module | what it gives |
//! |---|---|
//! | [`backoff`] | how long to wait before the next attempt |
//! | [`clock`] | monotonic, wall and boot time; the boot id; how far the wall clock can be trusted |
//! | [`config`] | a TOML file into a strict raw struct, errors with line, key and fix; units |
//! | [`entropy`] | seeds from the operating system |
//! | [`failure`] | what a command ends with when it fails: a sentence, the fix, an exit code |
//! | [`files`] | small files, replaced as a whole |
//! | [`http`] | a bounded local HTTP server, one error shape, health and metrics routes |
//! | [`lifecycle`] | shutdown, reload, exit codes |
//! | [`logs`] | tracing to a terminal, to a file or to journald |
//! | [`metrics`] | a registry, OpenMetrics text, figures of the process itself |
//! | [`privacy`] | what a program stores is readable by its owner alone |
//! | [`rows`], [`times`] | a record as JSON; times as people write them |
//! | [`schedules`] | named cron schedules and daily windows |
//! | [`systemd`] | readiness, watchdog that feeds only while work moves, credentials |
//! | [`terminal`] | colours, tables, and figures that people can read |

pub mod backoff;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod failure;
pub mod files;
pub mod http;
pub mod lifecycle;
pub mod logs;
pub mod metrics;
pub mod privacy;
pub mod rows;
pub mod schedules;
pub mod systemd;
pub mod terminal;
pub mod times;

pub use backoff::Backoff;
pub use clock::{Clock, ClockQuality};
pub use failure::Failure;
pub use lifecycle::{Exit, Reload, Shutdown};
