//! `Span`: a length of time as people write it.
//!
//! Promise: `Display` gives a text that parses back to the same span.
//! Absent: no points in time and no time zones; no negative lengths.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{UnitError, unit_serde};

const EXAMPLE: &str = "\"30s\", \"5m\", \"24h\" or \"7days\"";

/// A length of time. Written `"30s"`, `"1m 30s"`, `"24h"`; a bare integer other than 0 has no unit and
/// is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(Duration);

impl Span {
    /// This many milliseconds.
    #[must_use]
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// This many seconds.
    #[must_use]
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// This many minutes.
    #[must_use]
    pub const fn minutes(count: u64) -> Self {
        Self(Duration::from_secs(count.saturating_mul(60)))
    }

    /// This many hours.
    #[must_use]
    pub const fn hours(count: u64) -> Self {
        Self(Duration::from_secs(count.saturating_mul(3_600)))
    }

    /// This many days of 24 hours.
    #[must_use]
    pub const fn days(count: u64) -> Self {
        Self(Duration::from_secs(count.saturating_mul(86_400)))
    }

    /// The same length as the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Whole microseconds, at most `u64::MAX` (584,000 years).
    #[must_use]
    pub fn micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humantime::format_duration(self.0).to_string())
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = |why| UnitError { text: text.to_owned(), what: "a span of time", why, example: EXAMPLE };
        let trimmed = text.trim();
        if !trimmed.is_empty() && trimmed != "0" && trimmed.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong("it has no unit"));
        }
        humantime::parse_duration(trimmed)
            .map(Self)
            .map_err(|_| wrong("it is not a number with a unit (ms, s, m, h, days)"))
    }
}

unit_serde!(Span, "a span of time with its unit, such as \"30s\"", |value| (value == 0)
    .then_some(Span::seconds(0)));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_units() {
        let cases = [
            ("250ms", Span::millis(250)),
            ("30s", Span::seconds(30)),
            ("1m 30s", Span::seconds(90)),
            ("24h", Span::hours(24)),
            ("7days", Span::days(7)),
            ("0", Span::seconds(0)),
        ];
        for (text, span) in cases {
            assert_eq!(text.parse(), Ok(span), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_span() {
        for span in [Span::millis(1), Span::seconds(90), Span::minutes(5), Span::hours(25), Span::days(400)] {
            assert_eq!(span.to_string().parse(), Ok(span), "{span}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        let message = "30".parse::<Span>().unwrap_err().to_string();
        assert_eq!(
            message,
            "`30` is not a span of time: it has no unit; write for example \"30s\", \"5m\", \"24h\" or \"7days\""
        );
        for text in ["", "s", "-1s", "five minutes"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
