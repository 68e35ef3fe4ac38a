//! What an agent decides: intake, retention, uplink. Pure: it owns no socket, no disk, no clock and no randomness but a
//! seed.
//!
//! ```text
//!             Event                    Engine                        Command
//!   publication ───▶ ┌──────────────────────────────────────┐ ───▶ Commit
//!   committed   ───▶ │ intake ▶ one commit at a time ▶ acks │ ───▶ Acknowledge (takes the proof)
//!   frame       ───▶ │ uplink: greeting, shipping, recovery │ ───▶ Send, Load, Check
//!   loaded      ───▶ │ retention: what goes when full       │ ───▶ Survey
//!               ───▶ └──────────────────────────────────────┘ ───▶ Connect, Close, Alarm
//! ```
//!
//! Call order: any number of [`Engine::handle_event`], then [`Engine::poll_command`] until it is empty, then sleep until
//! [`Engine::poll_timeout`] or the next event. At the timeout send [`Event::Timer`].
//!
//! Promise: a publication is acknowledged, and a record trimmed, only with a proof that a flush happened. Memory is
//! bounded by [`config::Config`], not by the backlog.
//! Absent: MQTT, SQLite, QUIC; hubs' names and addresses.
//!
//! | room | what is decided there |
//! |---|---|
//! | [`engine`] | nothing of its own: it hands events to the rooms below |
//! | [`event`], [`command`] | the words |
//! | [`config`] | the numbers, their bounds and reasons |
//! | [`committing`] | what goes into the next commit, one at a time |
//! | [`intake`] | which publications are stored, refused or held back |
//! | [`epoch`] | what happens when the hubs were made anew |
//! | [`shelf`] | what is known of one journal: present, acked, sent |
//! | [`routing`] | which hub to dial, and when to move |
//! | [`session`] | when to dial, greet, back off |
//! | [`shipping`] | which records go next, on which channel |
//! | [`allowance`] | how many bytes may go: credit and bandwidth |
//! | [`recovery`] | what happens after a rollback or a clone |
//! | [`repairing`] | what the hub asks when copies are compared, or when it lost records |
//! | [`attesting`] | what is stated when somebody asks whether the hub has the same |
//! | [`fetching`] | how records come back from a hub, one question at a time |
//! | [`restoring`] | what a new disk gets back of older incarnations |
//! | [`regaining`] | what comes back of what damage took |
//! | [`retention`] | what is trimmed and evicted |
//! | [`status`] | what `status` shows |

pub mod allowance;
pub mod attesting;
pub mod command;
pub mod committing;
pub mod config;
pub mod engine;
pub mod epoch;
pub mod event;
pub mod fetching;
pub mod intake;
pub mod recovery;
pub mod regaining;
pub mod repairing;
pub mod restoring;
pub mod retention;
pub mod routing;
pub mod session;
pub mod shelf;
pub mod shipping;
pub mod status;

pub use command::{Alarm, Channel, Command, LoadRequest, Receipts};
pub use config::{Config, Policy};
pub use engine::Engine;
pub use epoch::EPOCH_NAME;
pub use event::{Event, Ticket, WakeReason};
pub use restoring::{RESTORE_NAME, wanted_anew};
pub use status::{RegainStatus, RestoreStatus, Status};
