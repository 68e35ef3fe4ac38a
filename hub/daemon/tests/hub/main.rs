//! A whole hub over real QUIC, HTTP and disk, against a hand-written agent that may also misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod agent;
mod answers;
mod api;
mod door;
mod draining;
mod enrolment;
mod locking;
mod process;
mod retention;
mod sessions;
mod world;
