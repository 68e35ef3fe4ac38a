//! `Zone`: in which time zone cron expressions are read.
//!
//! Promise: the local zone is asked anew each time, so summer time begins and ends without a restart.
//! Absent: zones by name; the machine's own zone has one.

use chrono::{DateTime, FixedOffset, Local, Offset, TimeZone, Utc};
use millrace_model::Wall;
use serde::{Deserialize, Serialize};

/// How hours in schedules are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zone {
    /// Coordinated universal time: the same at every site.
    #[default]
    Utc,
    /// The machine's time zone (`/etc/localtime`), summer time included.
    Local,
}

impl Zone {
    /// `wall` in this zone, or `None` for a time outside the calendar (some 262,000 years).
    pub(crate) fn at(self, wall: Wall) -> Option<DateTime<FixedOffset>> {
        let utc = Utc.timestamp_micros(wall.0).single()?;
        Some(utc.with_timezone(&self.offset(utc)))
    }

    /// How far this zone is from UTC at `utc`.
    pub(crate) fn offset(self, utc: DateTime<Utc>) -> FixedOffset {
        match self {
            Self::Utc => Utc.fix(),
            Self::Local => Local.offset_from_utc_datetime(&utc.naive_utc()).fix(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn universal_time_has_no_offset() {
        let time = Zone::Utc.at(Wall(1_767_225_600_000_000)).unwrap();
        assert_eq!(time.to_rfc3339(), "2026-01-01T00:00:00+00:00");
        assert_eq!(Zone::Utc.at(Wall(i64::MAX)), None);
    }

    #[test]
    fn the_local_zone_shows_the_same_instant() {
        let wall = Wall(1_767_225_600_000_000);
        assert_eq!(Zone::Local.at(wall).unwrap(), Zone::Utc.at(wall).unwrap());
    }
}
