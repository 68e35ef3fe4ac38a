//! The nouns of Millrace: ids, times, records, runs, ranges, ledgers, and what a store can be asked.
//!
//! Promise: pure. The same input gives the same output on every machine, for ever; golden files say so.
//! Absent: no clock, no randomness, no disk, no network, no async.
//!
//! | room | what stands there |
//! |---|---|
//! | [`id`] | who: devices, hubs, incarnations, journals, sequence numbers, fences |
//! | [`time`] | when: [`Moment`] (monotonic) and [`Wall`] (what the clock claimed) |
//! | [`lane`], [`topic`] | how urgent, and about what |
//! | [`record`], [`notice`] | one reading or event, and the payloads that Millrace itself writes |
//! | [`canon`], [`block`], [`varint`] | their canonical bytes: one record, a run of records, and the numbers in both |
//! | [`hash`] | what is hashed, and how a run is bound to its place |
//! | [`digest`] | what a holder says of one journal in a few bytes |
//! | [`receipt`] | what two holders sign when they have the same records |
//! | [`partition`] | which hubs keep which devices' readings |
//! | [`toll`] | what it costs a device to turn to a hub |
//! | [`ranges`], [`coverage`] | sets of sequence numbers, and what several have in common |
//! | [`run`] | consecutive records on their way from one store to another |
//! | [`ledger`] | the count that proves that nothing was lost |
//! | [`store`] | what a store can be asked, what it answers, and the proof that it flushed |
//! | [`limits`] | every limit of the data model, in one place |

pub mod block;
pub mod canon;
pub mod coverage;
pub mod digest;
pub mod hash;
pub mod id;
pub mod lane;
pub mod ledger;
pub mod limits;
pub mod notice;
pub mod partition;
pub mod ranges;
pub mod receipt;
pub mod record;
pub mod run;
pub mod store;
pub mod time;
pub mod toll;
pub mod topic;
pub mod varint;

pub use digest::NodeHash;
pub use hash::{RecordCheck, SegmentHash};
pub use id::{BootId, DeviceId, Fence, HubId, Incarnation, JournalId, Ordinal, Seq};
pub use lane::{AckLevel, Lane};
pub use ledger::Ledger;
pub use partition::{NodeId, Partition};
pub use ranges::{RangeSet, SeqRange};
pub use record::{Flags, Kind, Record};
pub use run::{Encoding, Run, SegmentName};
pub use store::Durable;
pub use time::{Moment, Wall};
pub use toll::{Toll, Tolls, Way};
pub use topic::Topic;
