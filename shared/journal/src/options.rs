//! How a store is opened: who writes here, and how much memory, disk and compression it may use.
//!
//! Absent: the disk budget and what goes first when it is used up; the engines decide that.

use std::time::Duration;

use millrace_model::{DeviceId, Incarnation};

/// Who appends to this store. A hub has no author: it only receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Author {
    /// The device whose journals are written here, as its certificate names it.
    pub device: DeviceId,
    /// 64 random bits, used only when the store is created; an existing store keeps its own.
    pub incarnation_if_new: Incarnation,
}

/// How a store is opened. Begin with [`Options::agent`] or [`Options::hub`] and change what differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Who appends here; `None` at a hub.
    pub author: Option<Author>,
    /// zstd level of sealed segments, 1 to 19. Columns of readings stand sorted by kind in a block, so the fastest level
    /// packs them as small as the usual 3 does (measured: 0.125 against 0.130 of the raw bytes), for a quarter less time.
    pub compression_level: i32,
    /// Memory for SQLite's page cache, per connection.
    pub page_cache_bytes: u64,
    /// The write-ahead log is carried over into the database when it grows past this, or past half of the reserve:
    /// what waits in it must find room on a full disk.
    pub wal_limit_bytes: u64,
    /// A batch that brings this many records is sealed at once, even when it fills no whole segment: written as
    /// rows it would cost several times its compressed size, twice.
    pub burst_records: usize,
    /// The database never grows past this: a second wall behind the engine's budget. `None`: as far as the disk goes.
    pub size_limit_bytes: Option<u64>,
    /// Disk space held back beside the database, so that a full disk can still be relieved; larger than any one
    /// commit. 0: none.
    pub reserve_bytes: u64,
    /// Bytes of damaged bodies and rows that are kept aside for people at most; the oldest bytes go first.
    pub quarantine_bytes: u64,
    /// How long to wait for another process that reads the same store.
    pub busy_timeout: Duration,
}

impl Options {
    /// For an edge device with little memory: `author` appends here.
    #[must_use]
    pub const fn agent(author: Author) -> Self {
        Self {
            author: Some(author),
            page_cache_bytes: 2 << 20,
            wal_limit_bytes: 1 << 20,
            reserve_bytes: 2 << 20,
            quarantine_bytes: 16 << 20,
            ..Self::hub()
        }
    }

    /// For a hub: nothing is appended, everything is received.
    #[must_use]
    pub const fn hub() -> Self {
        Self {
            author: None,
            compression_level: 1,
            page_cache_bytes: 32 << 20,
            wal_limit_bytes: 4 << 20,
            // A quarter of a segment: from here on a smaller segment compresses nearly as well as a whole one.
            burst_records: 256,
            size_limit_bytes: None,
            // Twice the log: see `wal_limit_bytes`.
            reserve_bytes: 8 << 20,
            quarantine_bytes: 1 << 30,
            busy_timeout: Duration::from_secs(5),
        }
    }
}
