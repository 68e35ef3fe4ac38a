//! The key-value core: keys with revisions, transactions, leases, watches. Pure and deterministic.
//!
//! Promise: the same commands in the same order lead to the same rows, byte for byte, and to the same outcomes. Nothing here
//! knows a clock: that a lease is over is a command like any other.
//! Absent: consensus, disk, time, waiting.
//!
//! | room | what stands there |
//! |---|---|
//! | `value`, `range` | a key with its revisions; which keys are meant |
//! | `command`, `outcome`, `coding` | what can be asked, what is answered, both as bytes |
//! | `limits` | every limit |
//! | `store`, `txn`, `lease` | the state, and how a command changes it |
//! | `history`, `watch`, `reading` | the window of past changes; following it; reading now and then |
//! | `row` | the rows that the state is made of on disk |

pub(crate) mod coding;
mod command;
mod history;
mod lease;
pub mod limits;
mod outcome;
mod range;
mod reading;
mod row;
mod store;
mod txn;
mod value;
mod watch;

pub use command::{Command, Compare, Op, RangeQuery, Relation, Target, Txn};
pub use history::{Change, Event};
pub use outcome::{OpAnswer, Outcome, RangeAnswer, Refusal};
pub use range::KeyRange;
pub use row::Write;
pub use store::{Lease, Store, Usage};
pub use value::KeyValue;
pub use watch::{Compacted, Watch, WatchBatch};
