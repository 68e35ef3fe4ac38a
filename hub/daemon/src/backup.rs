//! Backups, and what they are for: a new cluster out of an old one's remains.
//!
//! ```text
//!  a running hub ──▶ DIR/{journal.db, control.dump, ca/, about.json, manifest.json}     making
//!  DIR ──verified──▶ a data directory whose first start makes a new cluster              restoring
//!  the data directory of the last hub of a lost majority ──▶ the same, in place          forcing
//! ```
//!
//! A backup holds the cluster's CA with its key: whoever has it can enrol devices. Keep it like the key.
//!
//! Promise: a new cluster has a higher epoch, so that agents and hubs of before notice; agents send again what they still
//! keep and the restored store lacks. Nothing that stands in a data directory is overwritten.
//! Absent: the command line.

pub mod forcing;
pub mod making;
pub mod manifest;
pub mod restoring;

/// The cluster's decisions, below a backup's directory.
pub(crate) const DUMP: &str = "control.dump";
/// The readings.
pub(crate) const JOURNAL: &str = "journal.db";
/// The CA's directory; what stands in it is copied as it is.
pub(crate) const CA: &str = "ca";
