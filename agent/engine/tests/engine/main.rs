//! Tests of what an agent decides.
//!
//! | room | what stands there |
//! |---|---|
//! | `store` | a store that is a map: what the journal does in SQLite, in memory and in one step |
//! | `lines` | commands as short lines |
//! | `script` | plays the events of a transcript and writes down what the engine asks for |
//! | `transcripts` | one named test for each file in `tests/transcripts` |
//! | `hub` | an honest hub, for the properties |
//! | `world` | store, road and hub around an engine, with events in random order |
//! | `properties` | what holds in every such world |
//! | `retention` | who has to go when the disk is full, as a table |
//! | `limits` | what happens at limits that a transcript would be long for |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod hub;
mod limits;
mod lines;
mod properties;
mod retention;
mod script;
mod store;
mod transcripts;
mod world;
