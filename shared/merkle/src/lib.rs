//! The digest of journals: what two holders compare to find out what differs, without sending what does not.
//!
//! ```text
//!  root of all that two hubs share
//!    └ 256 partitions ─ buckets ─ journals          sums: the order in which things came does not matter
//!        └ one journal: 16-ary tree ─ segments      hashes, by ordinal
//!                       and the sum of its tail rows
//! ```
//!
//! A digest speaks of everything that its holder has *or had and let go*: trimming at the floor changes nothing in it, so holders that
//! keep their records for different times still have equal roots. What damage takes leaves it.
//!
//! Promise: pure. Absent: disks (`millrace-journal` keeps the nodes), roads (`millrace-wire`), and what is done about a difference (the
//! engines).
//!
//! | room | what stands there |
//! |---|---|
//! | [`node`] | an inner node: its sixteen children |
//! | [`tree`] | the tree of one journal: how a change moves up to the root |
//! | [`partitions`] | a set of partitions |
//! | [`sums`] | sums over the journals of each partition |
//! | [`question`] | what holders ask each other, and the limits of the answers |
//! | [`spans`] | what is present, as bytes |
//! | [`responder`] | what a holder answers |
//! | [`comparison`] | the session about one journal |
//! | [`survey`] | the session about all journals of some partitions |
//! | [`contradiction`] | answers that cannot be true |

pub mod comparison;
pub mod contradiction;
mod hash;
pub mod node;
mod pairs;
pub mod partitions;
pub mod question;
pub mod responder;
pub mod spans;
pub mod sums;
pub mod survey;
pub mod tree;

pub use comparison::{Comparison, Difference};
pub use contradiction::Contradiction;
pub use node::{ARITY, LEVELS_MAX, Node, Place};
pub use partitions::PartitionSet;
pub use question::{About, Answer, Outline, Question, Slots, Told};
pub use sums::Sums;
pub use survey::Survey;
pub use tree::{Changes, Nodes, Update};
