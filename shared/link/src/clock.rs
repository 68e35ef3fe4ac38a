//! The clock by which certificates are judged, passed in so that tests and simulations can move it.
//!
//! Absent: reading the machine's clock, which `millrace-host` does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millrace_model::Wall;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// What the wall clock says now.
pub type Clock = Arc<dyn Fn() -> Wall + Send + Sync>;

/// A [`Clock`] in the form in which rustls asks for it.
pub(crate) struct CertificateClock(pub(crate) Clock);

impl fmt::Debug for CertificateClock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("CertificateClock")
    }
}

impl TimeProvider for CertificateClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time((self.0)()))
    }
}

/// Times before 1970, which only a broken clock shows, count as 1970.
pub(crate) fn unix_time(wall: Wall) -> UnixTime {
    let seconds = u64::try_from(wall.unix_seconds()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// The wall time of `seconds` since 1970.
pub(crate) fn wall_of_seconds(seconds: i64) -> Wall {
    Wall(seconds.saturating_mul(1_000_000))
}
