//! Agents and hubs in one process under one seed: a world around the real engines and the real journal, with faults, a
//! reference model beside it, and invariants that are checked all the time.
//!
//! ```text
//! sensors ─▶ agent engine ◀─▶ journal on a slow disk        hub engine ◀─▶ journal on a slow disk
//!    ▲ told        └───────────── seeded network ─────────────────┘
//!    └──────────── model: what was told, written, held, lost ─▶ invariants
//! ```
//!
//! Promise: one seed, one history, on every machine: no clock, no thread, no random number but the seed's inside a world.
//! A seed draws one hub, for half of all seeds, or two to five: those are worlds of their own ([`cluster`]).
//! In most of the latter stores of hubs and of devices age and are damaged.
//! Absent: MQTT, QUIC, processes (the tests of the daemons and the demo), and damage to the pages of a database (the journal's own tests).
//!
//! | room | what stands there |
//! |---|---|
//! | [`plan`], [`fault`] | what a seed means: who takes part, what goes wrong and when |
//! | [`world`] | time, and everybody in it |
//! | [`cluster`] | the world of several hubs: what goes wrong among them |
//! | `passing` | what comes next in a world, and whether its time moves |
//! | [`sensor`], [`publication`] | publishers that insist on an answer, and what they publish |
//! | [`model`] | the reference model: what was told, written, held and lost |
//! | [`invariants`] | the promises, one file each |
//! | [`sabotage`] | broken behaviour on purpose, to prove that the invariants see it |
//! | [`transcript`] | what happened, as text and as a hash |
//! | [`scenario`] | worlds with a name, one for each bug that was found |
//! | [`swarm`] | many seeds at once |

pub mod cluster;
pub mod fault;
pub mod invariants;
mod measuring;
pub mod model;
mod passing;
pub mod plan;
pub mod publication;
pub mod sabotage;
pub mod scenario;
pub mod sensor;
pub mod swarm;
pub mod transcript;
pub mod world;

pub use cluster::{Ageing, ClusterFault, ClusterPlan, ClusterWorld};
pub use invariants::Violation;
pub use plan::Plan;
pub use sabotage::{ClusterSabotage, Sabotage};
pub use world::{Report, World};
