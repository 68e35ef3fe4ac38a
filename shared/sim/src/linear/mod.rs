//! Histories of registers, and whether they can be explained by operations that each took effect at one moment.
//!
//! Promise: what was never acknowledged may have happened or not; what was acknowledged happened between its call and its
//! return. A history that cannot be explained is shown as its smallest part that cannot be.
//! Absent: clients and clocks; whoever records says when.
//!
//! | room | what stands there |
//! |---|---|
//! | [`operation`] | what a client did to a register |
//! | [`history`] | what all clients did to all registers, while they do it |
//! | [`checker`] | the search for an order that explains it |
//! | [`shrink`] | the smallest part that no order explains |

pub mod checker;
pub mod history;
pub mod operation;
pub mod shrink;

pub use checker::is_linearizable;
pub use history::{Call, History, Verdict};
pub use operation::{Act, Operation};
pub use shrink::Counterexample;
