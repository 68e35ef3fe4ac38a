//! The numbers that an engine is run with. The daemon reads them from its configuration file.

use std::time::Duration;

use millrace_model::{AckLevel, DeviceId, Lane};

/// The largest part of the budget that is kept free, as a divisor. An eighth holds the log (a thirty-second) and what one
/// commit writes twice, into the log and into the database.
const RESERVE_SHARE: u64 = 8;

/// The largest part of the budget that one commit may bring, as a divisor: it stands in the log and in the database at once,
/// before anything can go for it.
const COMMIT_SHARE: u64 = 32;

/// What a commit may bring whatever the budget is. The smallest budget that a daemon allows has room for it.
const COMMIT_BYTES_MIN: usize = 64 << 10;

/// What a lane does when the disk budget is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// The oldest records go, and are declared as a gap.
    DropOldest,
    /// New records are refused, and declared as a gap.
    DropNewest,
    /// From [`Config::thin_at`] on, one new record in this many is stored, the others are declared as a gap;
    /// when the budget is full all the same, the oldest go. At least 2.
    Thin(u32),
    /// Publications are not acknowledged until there is room: the broker keeps them.
    Block,
}

/// The numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Whose records these are.
    pub device: DeviceId,
    /// Name and version of the program, for the hub's `devices` table.
    pub software: String,
    /// How durable a record must be at the hubs before it may be trimmed here.
    pub level: AckLevel,
    /// Bytes that the store may take on disk, write-ahead log included.
    pub disk_budget_bytes: u64,
    /// Part of the budget that is kept free for gap records and for making room, in bytes; at most an eighth of the budget,
    /// or a small one would hold more air than records.
    pub disk_reserve_bytes: u64,
    /// Fill at which lanes with [`Policy::Thin`] begin to thin, in hundredths of the budget.
    pub thin_at: u64,
    /// What each lane does when the budget is full.
    pub policies: [Policy; Lane::ALL.len()],
    /// How long acknowledged records stay here, counted from the ack.
    pub grace: Duration,
    /// Records that may wait for a flush. When full, MQTT is not read.
    pub intake_records_max: usize,
    /// Bytes that may wait for a flush. When full, MQTT is not read.
    pub intake_bytes_max: usize,
    /// Longest time that acks stay only in memory. They are learnt again from the hub after a crash, so this only
    /// saves flash.
    pub ack_write_delay: Duration,
    /// How long losses are collected before a gap record declares them.
    pub gap_delay: Duration,
    /// How long live records wait for company, so that a frame carries more than one.
    pub linger: Duration,
    /// First wait after a lost connection; doubles up to `backoff_max`, with jitter.
    pub backoff_min: Duration,
    /// Longest wait between two attempts.
    pub backoff_max: Duration,
    /// How long a hub may take to answer a Hello.
    pub greeting_timeout: Duration,
    /// How long a hub may acknowledge nothing although something was sent; then another session is tried.
    pub answer_timeout: Duration,
    /// How often to look for what may be trimmed.
    pub trim_interval: Duration,
    /// Bytes of history that a new disk gets back from the hubs, as they travel; 0: none. At most half of the budget counts.
    pub history_bytes: u64,
}

impl Config {
    /// What an agent does unless told otherwise.
    #[must_use]
    pub fn new(device: DeviceId, software: &str) -> Self {
        Self {
            device,
            software: software.to_owned(),
            level: AckLevel::Hub,
            disk_budget_bytes: 1 << 30,
            disk_reserve_bytes: 4 << 20,
            thin_at: 80,
            policies: [Policy::Block, Policy::DropOldest, Policy::DropOldest],
            grace: Duration::from_secs(3_600),
            intake_records_max: 8_192,
            intake_bytes_max: 4 << 20,
            ack_write_delay: Duration::from_secs(1),
            gap_delay: Duration::from_secs(1),
            linger: Duration::from_millis(20),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            greeting_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(60),
            trim_interval: Duration::from_secs(30),
            history_bytes: 256 << 20,
        }
    }

    /// What `lane` does when the budget is full.
    #[must_use]
    pub fn policy(&self, lane: Lane) -> Policy {
        let [urgent, normal, bulk] = self.policies;
        match lane {
            Lane::Urgent => urgent,
            Lane::Normal => normal,
            Lane::Bulk => bulk,
        }
    }

    /// Bytes at which room must be made: the budget without its reserve.
    #[must_use]
    pub const fn high_water_bytes(&self) -> u64 {
        let most = self.disk_budget_bytes / RESERVE_SHARE;
        let reserve = if self.disk_reserve_bytes < most { self.disk_reserve_bytes } else { most };
        self.disk_budget_bytes - reserve
    }

    /// Bytes of history that may come back: what is written now always has the other half of the budget.
    #[must_use]
    pub const fn history_max(&self) -> u64 {
        let most = self.disk_budget_bytes / 2;
        if self.history_bytes < most { self.history_bytes } else { most }
    }

    /// Bytes of records that one commit may bring.
    #[must_use]
    pub fn commit_bytes_max(&self) -> usize {
        let share = usize::try_from(self.disk_budget_bytes / COMMIT_SHARE).unwrap_or(usize::MAX);
        share.clamp(COMMIT_BYTES_MIN, self.intake_bytes_max.max(COMMIT_BYTES_MIN))
    }
}
