//! The worlds to test in: virtual clock, seeded network, a disk that is slow and loses power, roads that can be cut.
//!
//! Promise: what stands outside [`road`] is pure: one seed, one history, on every machine. [`road`] is real: it carries
//! datagrams between real sockets, and only its losses are drawn from a seed. [`transcript`] reads and writes the files of
//! tests, nothing else.
//! Absent: what runs in these worlds (`millrace-hub-fleet`, the demo, process tests).
//!
//! | room | what stands there |
//! |---|---|
//! | [`timeline`] | the virtual clock and the queue of what will happen |
//! | [`weather`] | what a direction of the network does to what travels on it |
//! | [`network`] | connections with ordered channels between named nodes, as QUIC gives them |
//! | [`connection`] | one connection as both ends see it |
//! | [`linear`] | histories of registers, and whether they can be explained |
//! | [`disk`] | a disk that takes its time, fills up, and loses power |
//! | [`transcript`] | tests that are texts to read |
//! | [`road`] | a UDP proxy on the loopback that can be cut, slowed and rebound |

pub mod connection;
pub mod disk;
pub mod linear;
pub mod network;
pub mod road;
pub mod timeline;
pub mod transcript;
pub mod weather;

pub use disk::{Disk, Flush};
pub use network::{ChannelId, ConnectionId, Network, Node, Notice, Transport};
pub use road::{Road, RoadOptions, Traffic};
pub use timeline::Timeline;
pub use weather::Weather;
