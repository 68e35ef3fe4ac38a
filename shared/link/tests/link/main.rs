//! The link over real QUIC on loopback: who is let in, what a stream carries, what hostile peers achieve.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod certificates;
mod door;
mod enrolment;
mod hostile;
mod hubs;
mod restarts;
mod sessions;
mod streams;
mod vault;
mod world;
