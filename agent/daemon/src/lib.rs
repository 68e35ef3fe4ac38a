//! The `millrace-agent` program: MQTT in, SQLite, QUIC out.
//!
//! ```text
//!  mqtt ──Arrival──▶ driver (owns the engine) ──frames──▶ uplink ══QUIC══▶ hub
//!    ◀──receipts───    │  ▲                    ◀─events──
//!                      ▼  │
//!               disk: writer thread, reader thread (SQLite)
//! ```
//!
//! Promise: one task, the driver, owns the engine and carries out its commands in order; everything else hands it
//! events through one bounded channel.
//! Absent: decisions, which `millrace-agent-engine` makes.
//!
//! | room | what stands there |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`config`] | the configuration file: raw, checked, and its complete example |
//! | [`daemon`] | the running agent |
//! | [`identity`] | what this machine shows to hubs, or why it cannot |
//! | [`memory`] | what is remembered of the hubs from one start to the next |
//! | [`mqtt`] | the subscriber and the embedded broker |
//! | [`places`] | which file stands where in the data directory |

pub mod cli;
pub mod config;
pub mod daemon;
pub mod identity;
pub mod memory;
pub mod mqtt;
pub mod places;
