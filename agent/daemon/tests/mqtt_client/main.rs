//! The subscriber against Debian's mosquitto, and against a broker that says what the test tells it to.
//!
//! | room | what stands there |
//! |---|---|
//! | `bench` | a subscriber under test |
//! | `delivery` | what arrives, and what comes again |
//! | `subscriptions` | lanes, retained messages, too much at once |
//! | `security` | passwords and TLS |
//! | `scripted` | byte by byte, against a broker of our own |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "../mqtt_support/mod.rs"]
mod mqtt_support;

mod bench;
mod delivery;
mod scripted;
mod security;
mod subscriptions;
