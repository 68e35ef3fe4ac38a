//! Repair: what is deleted, damaged or swapped on a hub's disk comes back by itself, or the hub says what to do. It is never
//! served, and never lost.
//!
//! | room | what goes wrong |
//! |---|---|
//! | [`deleted`] | rows are gone |
//! | [`flipped`] | bodies of segments are not what they were |
//! | [`devices`] | rows are gone, or are not what they were, on a device's disk |
//! | [`older`] | rows of a device's older life are gone |
//! | [`files`] | whole files are |
//! | [`commands`] | nothing, or little: what `repair` and `repairs` say |
//! | [`told`] | the hub that mended something is gone itself |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod commands;
mod deleted;
mod devices;
mod files;
mod flipped;
mod older;
mod scene;
mod told;
