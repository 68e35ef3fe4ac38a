//! What is played on the library: the stage, the story, and the two ways to watch it.

mod device;
mod failover;
pub(crate) mod live;
mod picture;
pub(crate) mod plain;
mod screen;
mod site;
mod stage;
mod story;
mod table;
mod timeline;

pub(crate) use stage::{Stage, Verdict};
pub(crate) use table::table;
