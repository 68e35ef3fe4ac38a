//! Tests of the hubs' membership: several of them over a seeded network.
//!
//! | room | what stands there |
//! |---|---|
//! | `cluster` | hubs, datagrams on bad roads, one clock |
//! | `finding` | hubs find each other, leave, come back |
//! | `failing` | hubs die, sleep, are cut off; and no living one is taken for dead |
//! | `saying` | profiles and round trips |
//! | `cost` | what it costs when nothing happens |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod cluster;
mod cost;
mod failing;
mod finding;
mod saying;
