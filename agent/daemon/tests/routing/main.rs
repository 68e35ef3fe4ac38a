//! An agent among several hubs: it leaves one that is silent, unwilling or gone, and keeps what it learnt.
//!
//! | room | what stands there |
//! |---|---|
//! | [`hub`] | hubs that say what a test makes them say, behind roads that can be cut |
//! | [`moving`] | sessions that move, and some that do not |
//! | [`knowing`] | what is known of hubs, kept and shown |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod agent;
mod hub;
mod knowing;
mod moving;
