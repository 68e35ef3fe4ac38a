//! Times as people write and read them: RFC 3339, or relative to now (`-15m`).
//!
//! Promise: what [`rfc3339`] writes, [`parse`] reads back to the microsecond.

use crate::config::Span;
use chrono::{DateTime, SecondsFormat, Utc};
use millrace_model::Wall;

/// `2026-11-23T08:15:00.123456Z`. A time beyond the calendar is shown as the nearest one inside.
#[must_use]
pub fn rfc3339(wall: Wall) -> String {
    let beyond = if wall.0 < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::from_timestamp_micros(wall.0).unwrap_or(beyond).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The time that `text` means: RFC 3339, a date (midnight UTC), microseconds since 1970, `now`, or a span before now
/// (`-15m`, `-24h`).
///
/// # Errors
/// What is wrong with it, with examples.
pub fn parse(text: &str, now: Wall) -> Result<Wall, String> {
    let text = text.trim();
    let wrong =
        || format!("`{text}` is not a time: write for example 2026-11-23T08:00:00Z, 2026-11-23, -15m or now");
    if text == "now" {
        return Ok(now);
    }
    if let Ok(micros) = text.parse::<i64>() {
        // A bare negative number would be a time before 1970; whoever writes one forgot the unit.
        return if micros >= 0 { Ok(Wall(micros)) } else { Err(wrong()) };
    }
    if let Some(span) = text.strip_prefix('-') {
        let span: Span = span.parse().map_err(|_| wrong())?;
        return Ok(Wall(now.0.saturating_sub(i64::try_from(span.micros()).unwrap_or(i64::MAX))));
    }
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.replace(' ', "+") };
    DateTime::parse_from_rfc3339(&whole).map(|time| Wall(time.timestamp_micros())).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_what_they_print() {
        for wall in [Wall(0), Wall(1_800_000_000_123_456), Wall(-1)] {
            assert_eq!(parse(&rfc3339(wall), Wall(0)), Ok(wall));
        }
    }

    #[test]
    fn people_write_times_in_several_ways() {
        let now = Wall(1_800_000_000_000_000);
        assert_eq!(parse("now", now), Ok(now));
        assert_eq!(parse("-15m", now), Ok(Wall(now.0 - 900_000_000)));
        assert_eq!(parse("1700000000000000", now), Ok(Wall(1_700_000_000_000_000)));
        assert_eq!(parse("2023-11-14", now), parse("2023-11-14T00:00:00Z", now));
        assert_eq!(parse("2023-11-14T23:13:20+01:00", now), Ok(Wall(1_700_000_000_000_000)));
        assert_eq!(
            parse("2023-11-14T23:13:20 01:00", now),
            Ok(Wall(1_700_000_000_000_000)),
            "a `+` in a query"
        );
        for wrong in ["", "yesterday", "-15", "-15 moons", "2023-13-01"] {
            assert!(parse(wrong, now).unwrap_err().contains("-15m"), "{wrong}");
        }
    }
}
