//! Clock: the only place that asks the operating system what time it is.
//!
//! Promise: `moment` never goes back within a process; every other time is data that may jump, and
//! [`ClockQuality`] says how far to trust it.
//! Absent: timers and sleeping (tokio has them), calendars (see [`crate::schedules`]).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millrace_model::{Moment, Wall};
use rustix::time::{ClockId, clock_gettime};

/// systemd-timesyncd touches this file when it has set the clock from a server.
const SYNCHRONISED_MARK: &str = "/run/systemd/timesync/synchronized";

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Reads time. Cheap to clone; all clones of one clock agree.
#[derive(Debug, Clone)]
pub struct Clock(Hands);

#[derive(Debug, Clone)]
enum Hands {
    System { origin: Instant },
    Manual(Arc<ManualHands>),
}

#[derive(Debug, Default)]
struct ManualHands {
    moment_us: AtomicU64,
    wall_us: AtomicU64,
}

impl Clock {
    /// The machine's clock. Its [`Moment`]s count from this call.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place where time enters")]
    pub fn system() -> Self {
        Self(Hands::System { origin: Instant::now() })
    }

    /// A clock for tests, moved by its [`ManualClock`] alone. It starts at moment 0 and at `wall`;
    /// a wall time before 1970 counts as 1970.
    #[must_use]
    pub fn manual(wall: Wall) -> (Self, ManualClock) {
        let hands = Arc::new(ManualHands::default());
        hands.wall_us.store(u64::try_from(wall.0).unwrap_or(0), Ordering::Relaxed);
        (Self(Hands::Manual(Arc::clone(&hands))), ManualClock(hands))
    }

    /// Microseconds since this clock was made; never goes back. It stands still while the machine is
    /// suspended, so that a timeout does not fire merely because the lid was closed.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place where time enters")]
    pub fn moment(&self) -> Moment {
        match &self.0 {
            Hands::System { origin } => Moment(micros(Instant::now().saturating_duration_since(*origin))),
            Hands::Manual(hands) => Moment(hands.moment_us.load(Ordering::Relaxed)),
        }
    }

    /// What the machine believes the time of day is. May jump in both directions.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place where time enters")]
    pub fn wall(&self) -> Wall {
        match &self.0 {
            Hands::System { .. } => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(after) => Wall(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)),
                Err(before) => {
                    Wall(i64::try_from(before.duration().as_micros()).map_or(i64::MIN, std::ops::Neg::neg))
                }
            },
            Hands::Manual(hands) => {
                Wall(i64::try_from(hands.wall_us.load(Ordering::Relaxed)).unwrap_or(i64::MAX))
            }
        }
    }

    /// Microseconds since the machine booted, suspended time included. Records carry it beside the wall
    /// time, so that a wrong wall clock can be repaired afterwards.
    #[must_use]
    pub fn mono_since_boot(&self) -> u64 {
        match &self.0 {
            Hands::System { .. } => kernel_us(ClockId::Boottime),
            Hands::Manual(hands) => hands.moment_us.load(Ordering::Relaxed),
        }
    }
}

/// The hand that moves a manual clock.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<ManualHands>);

impl ManualClock {
    /// Lets time pass, on the monotonic and the wall clock alike.
    pub fn advance(&self, span: Duration) {
        self.0.moment_us.fetch_add(micros(span), Ordering::Relaxed);
        self.0.wall_us.fetch_add(micros(span), Ordering::Relaxed);
    }

    /// Sets the wall clock alone, as an operator or a time server does.
    pub fn set_wall(&self, wall: Wall) {
        self.0.wall_us.store(u64::try_from(wall.0).unwrap_or(0), Ordering::Relaxed);
    }
}

/// How far the wall clock can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClockQuality {
    /// Nothing on this machine says that the clock was ever set from a reference.
    Unknown,
    /// A time service has set the clock since boot.
    Synchronised,
}

impl ClockQuality {
    /// The word used in logs, metrics and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Synchronised => "synchronised",
        }
    }
}

impl std::fmt::Display for ClockQuality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What this machine says about its wall clock. Other time services than systemd-timesyncd leave no
/// mark that can be read without privileges, so they count as unknown.
#[must_use]
pub fn clock_quality() -> ClockQuality {
    quality_from(Path::new(SYNCHRONISED_MARK))
}

fn quality_from(mark: &Path) -> ClockQuality {
    if mark.exists() { ClockQuality::Synchronised } else { ClockQuality::Unknown }
}

/// The id that the kernel drew at this boot, as a UUID in lower case, or `None` where `/proc` does not
/// show one.
#[must_use]
pub fn boot_id() -> Option<String> {
    checked_uuid(fs::read_to_string(BOOT_ID).ok()?.trim())
}

fn checked_uuid(text: &str) -> Option<String> {
    let fits = |(index, c): (usize, char)| match index {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    };
    (text.len() == 36 && text.chars().enumerate().all(fits)).then(|| text.to_ascii_lowercase())
}

/// The kernel's monotonic clock in microseconds, as systemd wants it with a reload.
pub(crate) fn kernel_monotonic_us() -> u64 {
    kernel_us(ClockId::Monotonic)
}

fn kernel_us(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1_000)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_never_go_back() {
        let clock = Clock::system();
        let first = clock.moment();
        assert!(clock.clone().moment() >= first);
        assert!(first.0 < 60_000_000, "moments count from the clock's making");
    }

    #[test]
    fn wall_and_boot_time_are_plausible() {
        let clock = Clock::system();
        // 2020-01-01; machines without a battery start in 1970, but they do not build Rust.
        assert!(clock.wall().0 > 1_577_836_800_000_000);
        let first = clock.mono_since_boot();
        assert!(first > 0 && clock.mono_since_boot() >= first);
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual(Wall(5_000_000));
        assert_eq!((clock.moment(), clock.wall()), (Moment(0), Wall(5_000_000)));
        hand.advance(Duration::from_millis(2));
        assert_eq!((clock.moment(), clock.wall()), (Moment(2_000), Wall(5_002_000)));
        hand.set_wall(Wall(1));
        assert_eq!((clock.moment(), clock.wall(), clock.mono_since_boot()), (Moment(2_000), Wall(1), 2_000));
    }

    #[test]
    fn boot_ids_are_read_strictly() {
        let id = "0a000000-0000-4000-8000-0000000000ff";
        assert_eq!(checked_uuid(&id.to_uppercase()).as_deref(), Some(id));
        for text in
            ["not-an-id", "", "+a000000-0000-4000-8000-0000000000ff", "0a00000000000400008000000000000000ff"]
        {
            assert_eq!(checked_uuid(text), None, "{text}");
        }
        assert_eq!(boot_id(), boot_id());
    }

    #[test]
    fn the_mark_of_the_time_service_decides_the_quality() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("synchronized");
        assert_eq!(quality_from(&mark).to_string(), "unknown");
        fs::write(&mark, "").unwrap();
        assert_eq!(quality_from(&mark), ClockQuality::Synchronised);
    }
}
