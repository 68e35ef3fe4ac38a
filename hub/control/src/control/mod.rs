//! Control as the hub uses it: propose, read, watch, change the members.
//!
//! | room | what stands there |
//! |---|---|
//! | `handle` | [`Control`]: a node of the cluster |
//! | `options`, `error` | numbers, with presets for near and far hubs; what can go wrong |
//! | `proposer` | many proposals in one entry; forwarding to the leader |
//! | `reading`, `watching` | reads with a level; watches that wait |
//! | `standing` | who leads, and whether a majority follows |
//! | `lease_clock`, `pulse` | when leases are over; what happens without being asked |
//! | `membership` | learners, voters, leaving |
//! | `inbox`, `refusals` | what other nodes ask; which refusals are told |

pub(crate) mod error;
pub(crate) mod handle;
mod inbox;
mod lease_clock;
mod membership;
pub(crate) mod options;
mod proposer;
mod pulse;
mod reading;
mod refusals;
mod standing;
mod watching;

pub use error::ControlError;
pub use handle::{Boxed, Control, Seat};
pub use membership::{MemberState, MembershipChange};
pub use options::Options;
pub use reading::{Level, Read};
pub use standing::{Metrics, Role};
pub use watching::Watcher;
