//! Consensus: openraft over our log, our state and our links.
//!
//! Promise: a node votes only with a log that is whole; every message carries epoch, node id and incarnation, and a receiver
//! refuses wrong ones; nobody campaigns without a majority that misses the leader too ([`prevote`]).
//! Absent: what clients see (`control`), QUIC (the daemon brings a [`transport::Transport`]).
//!
//! | room | what stands there |
//! |---|---|
//! | `consensus`, `member` | what openraft is told of our kinds of things; who takes part |
//! | `log`, `tail`, `flushes`, `position` | the log as openraft wants it; its end in memory; what of it is flushed; where the state stands in it |
//! | `machine`, `scribe` | the state in memory, and on disk |
//! | `snapshot`, `shelf` | the state as a file on its way, and where the newest lies |
//! | `coding`, `envelope` | messages as bytes; who sends what to whom |
//! | `transport`, `network`, `contact` | the road to the others; when each was heard |
//! | `prevote` | who may campaign, and when |
//! | `opening` | a node from its directory |

pub(crate) mod coding;
pub(crate) mod consensus;
pub(crate) mod contact;
pub(crate) mod envelope;
pub(crate) mod flushes;
pub(crate) mod log;
pub(crate) mod machine;
pub(crate) mod member;
pub(crate) mod network;
pub(crate) mod opening;
pub(crate) mod position;
pub(crate) mod prevote;
pub(crate) mod scribe;
pub(crate) mod shelf;
pub(crate) mod snapshot;
pub(crate) mod tail;
pub(crate) mod transport;
