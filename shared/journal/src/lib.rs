//! Journals in SQLite: the only crate that names rusqlite. Used by agent and hub alike.
//!
//! Promise: what a commit attests was flushed; what is read was verified; nothing is deleted because it looks damaged.
//! `DESIGN.md` beside this crate draws the bytes and says what each failure does.
//! Absent: async, time, policy. The engines decide, this crate carries out.
//!
//! | room | what stands there |
//! |---|---|
//! | `store`, `commit`, `transaction`, `work` | the store, one commit, and a commit in the making |
//! | `append`, `receive`, `declared`, `seal`, `trim`, `gaps`, `reauthor`, `memory` | what each change does |
//! | `row`, `segment`, `tail`, `codec` | journals, sealed segments, tail rows, bodies |
//! | `digest`, `told` | the tree over a journal's segments, and what a peer is told of it |
//! | `load`, `newest`, `survey`, `query`, `sweep`, `cursor`, `verify`, `scrub`, `reader` | reading |
//! | `quarantine`, `opening`, `wal` | damage: moved aside, found at start, found in the write-ahead log |
//! | `schema`, `migrations`, `connection`, `disk`, `meter` | the file and the files beside it |
//! | `relief` | what a full disk leads to |
//! | `backup` | a copy of a store that is in use |
//! | `sabotage` | damage on purpose, behind a feature that no shipped program has |
//! | [`decisions`] | the log and the state of a consensus, beside the journals |
//! | `writer` | the thread that a daemon commits through |

mod append;
mod backup;
mod codec;
mod commit;
mod connection;
mod cursor;
pub mod decisions;
mod declared;
mod digest;
mod disk;
mod error;
mod gaps;
mod load;
mod memory;
mod meter;
mod migrations;
mod newest;
mod opening;
mod options;
mod quarantine;
mod query;
mod reader;
mod reauthor;
mod receive;
mod relief;
mod row;
#[cfg(feature = "sabotage")]
pub mod sabotage;
mod schema;
mod scrub;
mod seal;
mod segment;
mod store;
mod survey;
mod sweep;
mod tail;
mod told;
mod transaction;
mod trim;
mod verify;
mod wal;
mod work;
mod writer;

pub use backup::{BackupError, Copied, hash_file};
pub use cursor::Cursor;
pub use error::{CommitError, OpenError, ReadError};
pub use memory::REMEMBERED_BYTES_MAX;
pub use migrations::SCHEMA_VERSION;
pub use newest::{Kept, Portion};
pub use opening::OpenReport;
pub use options::{Author, Options};
pub use query::{Damage, Order, Page, QUERY_BYTES_MAX, QUERY_DAMAGES_MAX, QUERY_ROWS_MAX, Query, Row};
pub use reader::Reader;
pub use scrub::{
    SCRUB_BYTES_MAX, SCRUB_DAMAGES_MAX, SCRUB_REST_MAX, ScrubCursor, ScrubPace, ScrubProgress, Scrubbed,
};
pub use store::{CHECKS_MAX, Store};
pub use verify::{Finding, Progress, Report};
pub use work::DEVICE_JOURNALS_MAX;
pub use writer::{Busy, Reply, Writer, WriterHandle};
