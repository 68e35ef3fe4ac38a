//! Tests of what a hub decides.
//!
//! | room | what stands there |
//! |---|---|
//! | `store` | a store that is a map: what the journal does in SQLite, in memory and in one step |
//! | `lines` | commands as short lines |
//! | `script` | plays the events of a transcript and writes down what the engine asks for |
//! | `transcripts` | one named test for each file in `tests/transcripts` |
//! | `world` | honest and hostile devices around an engine, with events in random order |
//! | `properties` | what holds in every such world |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod cluster;
mod lines;
mod properties;
mod script;
mod store;
mod transcripts;
mod world;
