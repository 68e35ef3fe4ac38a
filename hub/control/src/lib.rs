//! Control: what the hubs decide once. A replicated key-value core with revisions, transactions, leases and watches, and on it
//! locks and elections with fences.
//!
//! Promise: what was acknowledged survives the loss of any minority of the nodes and of their disks; reads are linearizable
//! where they say so; without a majority everything is refused at once, with the reason, and local reads go on, with their
//! age. `DESIGN.md` beside this crate draws the bytes and gives the rules.
//! Absent: readings (they never wait for consensus), gossip, QUIC, what the keys mean.
//!
//! | room | what stands there |
//! |---|---|
//! | [`kv`] | the core: pure and deterministic |
//! | `codec` | bytes of numbers and strings, behind limits |
//! | `raft` | the consensus: openraft over our files and links |
//! | `control` | [`Control`], a node as the hub uses it |
//! | `dump` | everything as one value: for backups, and for a new cluster after a disaster |
//! | `locks` | locks and elections, on leases |

mod codec;
mod control;
mod dump;
pub mod kv;
mod locks;
mod raft;

pub use codec::CodecError;
pub use control::{
    Boxed, Control, ControlError, Level, MemberState, MembershipChange, Metrics, Options, Read, Role, Seat,
    Watcher,
};
pub use dump::{Dump, DumpError};
pub use locks::{Holder, Lock};
pub use raft::envelope::sender;
pub use raft::member::{Member, NodeId};
pub use raft::opening::{LOG as LOG_FILE, OpenError};
pub use raft::transport::{Call, MESSAGE_BYTES_MAX, Transport, TransportError};
