//! Every limit of the key-value core, and what happens there.
//!
//! Absent: limits of messages and batches (`raft/envelope.rs`, `control/options.rs`).

/// Longest key. Keys stand in memory and in every index; names of devices and paths are far shorter.
pub const KEY_BYTES_MAX: usize = 4 << 10;

/// Longest value: with its key and the framing it must fit into one entry of the log (1.5 MiB). Larger: refused.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Bytes of one command as it stands in the log. Larger: refused before it is proposed.
pub const COMMAND_BYTES_MAX: usize = 1_400 << 10;

/// Compares and operations of one transaction, each side (etcd: 128). More: refused.
pub const OPS_MAX: usize = 128;

/// Rows that one range returns. Where there are more, the answer says so, and goes on behind its last key.
pub const RANGE_ROWS_MAX: usize = 10_000;

/// Bytes of keys and values that one range returns, each key with [`KEY_OVERHEAD_BYTES`]; as above.
pub const RANGE_BYTES_MAX: usize = 4 << 20;

/// Keys that one range counts: nothing is applied meanwhile. Where there are more, it says this number.
pub const COUNT_MAX: u64 = RANGE_ROWS_MAX as u64;

/// Bytes of keys and values that all reads of one transaction return together, each key with [`KEY_OVERHEAD_BYTES`]: whoever
/// leads makes the answers of a whole batch at once. One key is returned in any case; the answer says that more follow.
pub const TXN_READ_BYTES_MAX: usize = 256 << 10;

/// What a key costs beside its bytes: its revisions and its place in memory.
pub const KEY_OVERHEAD_BYTES: u64 = 128;

/// What all keys and values may take unless an operator sets another budget. Everything stands in memory on every hub; a
/// registry of 100,000 devices takes about 60 MiB. Full: puts are refused, deletes are taken.
pub const BUDGET_BYTES: u64 = 128 << 20;

/// The largest budget that an operator may set.
pub const BUDGET_BYTES_MAX: u64 = 384 << 20;

/// Past changes that are kept for watches and for reads at older revisions. Older ones are compacted.
pub const HISTORY_EVENTS_MAX: usize = 20_000;

/// Bytes of past changes that are kept; as above.
pub const HISTORY_BYTES_MAX: u64 = 32 << 20;

/// Leases at one time. More: refused.
pub const LEASES_MAX: usize = 100_000;

/// Shortest time to live: a few election timeouts, or every change of the leader would end it. Shorter: raised to this.
pub const TTL_MS_MIN: u64 = 1_000;

/// Longest time to live: a year. Longer: lowered to this.
pub const TTL_MS_MAX: u64 = 366 * 24 * 3_600_000;
