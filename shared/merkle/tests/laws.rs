//! Laws of comparing: what differs is found, exactly; what was let go does not matter; nothing that a peer says does harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, unreachable_pub)]

#[path = "laws/comparisons.rs"]
mod comparisons;
#[path = "laws/costs.rs"]
mod costs;
mod holder;
#[path = "laws/hostile.rs"]
mod hostile;
#[path = "laws/story.rs"]
mod story;
#[path = "laws/surveys.rs"]
mod surveys;
