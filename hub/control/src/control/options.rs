//! Numbers of a node, with presets for hubs that stand near to or far from each other.
//!
//! Promise: `lan` and `wan` keep the inequality round trip ≪ heartbeat ≪ lease of Raft.

use std::time::Duration;

/// How a node behaves. Begin with [`Options::lan`] or [`Options::wan`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// How often a leader is heard, and how long it waits for an answer: longer than a round trip and a slow flush together.
    pub heartbeat: Duration,
    /// How long a follower trusts in a leader that it does not hear. Until then nobody is elected; a leader that heard of no
    /// majority for so long refuses proposals and reads. Several heartbeats, so that one lost message changes nothing.
    pub lease: Duration,
    /// Followers miss the leader together; each waits up to this longer, by chance, so that one is first.
    pub spread: Duration,
    /// Commands in one entry. More wait for the next.
    pub batch_commands: usize,
    /// Bytes of commands after which an entry takes no more. A single command may be larger.
    pub batch_bytes: usize,
    /// Entries that are under way at once: one is flushed while the one before travels. More only lets batches shrink.
    pub pipeline: usize,
    /// Commands that may wait. More are refused as overload, at once.
    pub queue: usize,
    /// How long a proposal may take before its caller is told that the outcome is unknown.
    pub patience: Duration,
    /// A snapshot is made, and the log purged, after so many entries.
    pub snapshot_entries: u64,
    /// As above, after so many bytes of entries: what the log may take of the disk, and what a restart reads.
    pub snapshot_log_bytes: u64,
    /// Entries that stay behind a snapshot, for followers that lag a little.
    pub keep_entries: u64,
}

impl Options {
    /// Hubs within some milliseconds of each other. A leader that dies is replaced after 1 to 1.5 seconds.
    #[must_use]
    pub const fn lan() -> Self {
        Self {
            heartbeat: Duration::from_millis(200),
            lease: Duration::from_millis(1_000),
            spread: Duration::from_millis(500),
            batch_commands: 1_024,
            batch_bytes: 512 << 10,
            pipeline: 4,
            queue: 8_192,
            patience: Duration::from_secs(5),
            snapshot_entries: 20_000,
            snapshot_log_bytes: 128 << 20,
            keep_entries: 2_000,
        }
    }

    /// Hubs on several continents: round trips of 300 ms, and links that stall for a second. A leader that dies is replaced
    /// after 4 to 6 seconds.
    #[must_use]
    pub const fn wan() -> Self {
        Self {
            heartbeat: Duration::from_millis(1_000),
            lease: Duration::from_millis(4_000),
            spread: Duration::from_millis(2_000),
            pipeline: 8,
            patience: Duration::from_secs(20),
            ..Self::lan()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::lan()
    }
}
