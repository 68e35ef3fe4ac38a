//! The `millrace-hub` program as a library, so that tests can run a whole hub in their own process.
//!
//! Promise: an agent is told that a record is safe only after this hub's disk has it (the engine's promise, kept here by
//! handing it nothing but the journal's own proof).
//! Absent: decisions (`millrace-hub-engine`), SQLite (`millrace-journal`), QUIC and TLS (`millrace-link`).
//!
//! `DESIGN.md` beside this crate draws the tasks and channels, and says what happens when each is full.
//!
//! | room | what stands there |
//! |---|---|
//! | [`hub`] | the whole: starting, running, ending |
//! | [`driver`] | the task that owns the engine |
//! | [`reception`], [`session`] | who came in, and the tasks of each connection |
//! | [`cluster`] | what the hubs decide together |
//! | [`peers`] | the other hubs: calls, replication, gossip |
//! | [`registry`], [`registrar`] | who is enrolled; who gets a certificate |
//! | [`opening`], [`reading`], [`scrub`] | the store: at start, and beside the writer |
//! | [`attesting`] | what this hub says over its signature of what it has |
//! | [`hubs`] | what agents and clients are told of the hubs |
//! | [`http`] | the API |
//! | [`alarms`], [`repairs`], [`meters`], [`pulse`] | what people and machines see of it |
//! | [`backup`] | backups, and new clusters out of what is left of old ones |
//! | [`health`] | what the hub thinks of itself |
//! | [`config`], [`places`] | the configuration file, the data directory |
//! | [`cli`], [`client`] | the command line, and how it talks to the running hub |

pub mod alarms;
pub mod attesting;
pub mod backup;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod driver;
pub mod health;
pub mod http;
pub mod hub;
pub mod hubs;
pub mod meters;
pub mod opening;
pub mod peers;
pub mod places;
pub mod pulse;
pub mod reading;
pub mod reception;
pub mod registrar;
pub mod registry;
pub mod repairs;
pub mod retention;
pub mod scrub;
pub mod session;

pub use config::Config;
pub use hub::Hub;
pub use places::{Places, Runtime};

/// Name and version, as told to callers.
pub const SOFTWARE: &str = concat!("millrace-hub ", env!("CARGO_PKG_VERSION"));
