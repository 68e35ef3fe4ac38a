//! What a hub decides: reception, and what it owes the other hubs. Pure: no socket, no disk, no clock, no randomness.
//!
//! ```text
//!             Event                   Engine                      Command
//!   opened, frame, closed ─▶ ┌──────────────────────────────┐ ─▶ Send, Close
//!   committed             ─▶ │ greeting ▶ reception ▶ acks  │ ─▶ Commit
//!   checked               ─▶ │ comparison · quotas · fences │ ─▶ Check
//!   revoked               ─▶ │──────────────────────────────│ ─▶ Stored, Alarm
//!   peer, guest           ─▶ │ owing ▶ replication ◀ guests │ ─▶ Tell, Answer, Part, Dismiss
//!   placed, loaded        ─▶ └──────────────────────────────┘ ─▶ Load, Synced, Relive
//! ```
//!
//! Call order: any number of [`Engine::handle_event`], then [`Engine::poll_command`] until it is empty, then sleep until
//! [`Engine::poll_timeout`] or the next event. At the timeout send [`Event::Timer`].
//!
//! Promise: an ack leaves only with the proof that its records were flushed (P3); a device writes only its own journals
//! (P11), because a frame cannot name a device; the newest session of an incarnation wins.
//! Absent: SQLite, QUIC, queries; how hubs agree (control). A hub to which nothing was committed about other hubs is alone.
//!
//! | room | what is decided there |
//! |---|---|
//! | [`engine`] | nothing of its own: it hands events to the rooms below |
//! | [`event`], [`command`] | the words |
//! | [`config`] | the numbers, their bounds and reasons |
//! | [`shelf`] | what is known of one journal |
//! | [`link`] | what is known of one connection |
//! | [`greeting`] | who is taken in, and what is said of its journals |
//! | [`reception`] | what becomes of runs and seals: commits, acks, conflicts |
//! | [`comparison`] | which records are the same |
//! | [`recalling`] | what a device with a new disk gets back |
//! | [`credit`], [`bucket`] | how much each agent may send, and each device |
//! | [`clones`] | when two sessions of one device are two machines |
//! | [`retention`] | which records go |
//! | [`mending`] | how what damage took is fetched again |
//! | [`holdings`] | what is here of what another hub keeps too |
//! | [`attesting`] | whether a journal is the same as its device states |
//! | [`repair`] | rounds of comparison with other holders, and what is done about what differs |
//! | [`placed`] | what the cluster has committed about its hubs |
//! | [`placement`] | which hubs keep which partition |
//! | [`upkeep`] | what this hub may say of its own store in the table |
//! | [`membership`] | which hubs seem to be alive, by gossip: beside the engine, with its own inputs and outputs |
//! | [`replication`] | what replicas are owed, and which acks what they have allows |
//! | [`owing`] | the streams to other hubs: what is told and read for them |
//! | [`guests`] | the streams from other hubs: what is taken from them, and answered |
//! | [`directory`] | which hubs agents are told of |
//! | [`draining`] | how agents are moved away before the hub stops |

pub mod attesting;
pub mod bucket;
pub mod clones;
pub mod command;
pub mod comparison;
pub mod config;
pub mod credit;
pub mod directory;
pub mod draining;
pub mod engine;
pub mod event;
pub mod greeting;
pub mod guests;
pub mod holdings;
pub mod link;
pub mod membership;
pub mod mending;
pub mod owing;
pub mod placed;
pub mod placement;
pub mod recalling;
pub mod reception;
pub mod repair;
pub mod replication;
pub mod retention;
pub mod shelf;
pub mod upkeep;

pub use command::{Alarm, Command};
pub use config::Config;
pub use engine::{DeviceSummary, Engine};
pub use event::{Event, LinkId, Measure, WakeReason};
pub use holdings::Holdings;
pub use mending::{Mend, Source};
pub use placed::{Fullness, HubStanding, Placed};
pub use recalling::History;
pub use repair::answering::Asker;
pub use repair::{Findings, Partner, RoundReport, Trigger, Wanted};
pub use replication::Debt;
pub use retention::{Arrival, Memory, Retained, WhenFull};
pub use upkeep::Synced;
