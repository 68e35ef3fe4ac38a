//! A plant in a box: real hub and agent processes on loopback, real MQTT, roads that can be cut, and the proof.
//!
//! ```text
//!  sensors ▶ publisher ══MQTT══▶ agent process ══QUIC══▶ road ══▶ hub process ══HTTP══▶ inventory ┐
//!               └ tally: what was acknowledged ───────────────────────────────────────▶ proof ◀┘
//! ```
//!
//! | room | what stands there |
//! |---|---|
//! | [`plant`], [`address`], [`programs`] | a directory, addresses and the two programs |
//! | [`process`], [`patience`] | a child process and its log; waiting until something is so |
//! | [`hub`], [`agent`], [`status`] | the processes by their roles; a [`Road`] lies between them |
//! | [`cluster`], [`network`] | several hubs, on machines of their own whose roads can be cut |
//! | [`nemesis`], [`failover`] | what goes wrong with them; how long an agent is without one |
//! | [`kv`], [`observer`] | clients of what hubs decide together, and what they saw |
//! | [`http`] | one GET request |
//! | [`sensors`] | machines of a factory, seeded |
//! | [`publication`], [`publisher`], [`book`], [`tally`] | what is published, and what became of it |
//! | [`inventory`], [`proof`] | what the hub holds, and the comparison of both |
//! | [`error`] | what can go wrong |
//!
//! Promise: whatever this library starts it also ends, and the ids in the payloads make every claim of [`proof`] exact.
//! Absent: anything that the two programs do themselves. The library sees them as an operator does: by their command
//! lines, files, sockets and signals.

pub mod address;
pub mod agent;
pub mod book;
pub mod cluster;
pub mod error;
pub mod failover;
pub mod http;
pub mod hub;
pub mod inventory;
pub mod kv;
pub mod nemesis;
pub mod network;
pub mod observer;
pub mod patience;
pub mod plant;
pub mod process;
pub mod programs;
pub mod proof;
pub mod publication;
pub mod publisher;
pub mod sensors;
pub mod status;
pub mod tally;

pub use agent::{Agent, AgentOptions};
pub use cluster::{Cluster, ClusterOptions};
pub use error::PlantError;
pub use hub::{Hub, HubOptions};
pub use inventory::{Inventory, StoredRecord};
pub use millrace_sim::{Road, RoadOptions, Traffic};
pub use plant::Plant;
pub use process::Process;
pub use programs::Programs;
pub use proof::{DeviceProof, Proof};
pub use publication::{Body, Publication, Stamp};
pub use publisher::{Publisher, PublisherOptions};
pub use status::{AgentStatus, LinkStatus};
pub use tally::{Fate, Tally};
