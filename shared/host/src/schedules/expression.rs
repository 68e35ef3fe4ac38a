//! `Expression`: a cron expression that was checked.
//!
//! Promise: what passes here is accepted by the scheduler and means the same there; an expression that
//! never comes true (30 February) is refused now, not discovered by waiting.
//! Absent: names and callbacks.

use chrono::{DateTime, FixedOffset, TimeZone, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds};

/// A cron expression in six fields: second, minute, hour, day of month, month, day of week. Five fields
/// (as in crontab) are read as second 0. When both day fields are restricted, both must match.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    cron: Cron,
}

/// Why a text is not a usable cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a schedule: {reason}; write for example \"0 2 * * *\" (every day at 02:00) or \
     \"*/10 * * * * *\" (every ten seconds)"
)]
pub struct ExpressionError {
    text: String,
    reason: String,
}

impl Expression {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`ExpressionError`] with the reason and two examples.
    pub fn new(text: &str) -> Result<Self, ExpressionError> {
        let wrong = |reason: String| ExpressionError { text: text.to_owned(), reason };
        let fields = text.split_whitespace().count();
        let six = match fields {
            5 => format!("0 {}", text.trim()),
            6 => text.trim().to_owned(),
            _ if text.trim_start().starts_with('@') => {
                return Err(wrong("nicknames are not supported".into()));
            }
            _ => return Err(wrong(format!("it has {fields} fields, it must have 5 or 6"))),
        };
        // The same settings as inside tokio-cron-scheduler.
        let cron = CronParser::builder()
            .seconds(Seconds::Required)
            .dom_and_dow(true)
            .build()
            .parse(&six)
            .map_err(|error| wrong(error.to_string().trim_end_matches('.').to_owned()))?;
        let expression = Self { text: six, cron };
        // Any start would do; four years from this one hold a leap day.
        let start = Utc.timestamp_opt(1_767_225_600, 0).single().map(|utc| utc.fixed_offset());
        if start.and_then(|start| expression.next_after(start)).is_none() {
            return Err(wrong("no date ever matches it".into()));
        }
        Ok(expression)
    }

    /// The expression in six fields.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first match after `time`.
    pub(crate) fn next_after(&self, time: DateTime<FixedOffset>) -> Option<DateTime<FixedOffset>> {
        self.cron.find_next_occurrence(&time, false).ok()
    }

    /// The last match at or before `time`.
    pub(crate) fn last_at(&self, time: DateTime<FixedOffset>) -> Option<DateTime<FixedOffset>> {
        self.cron.find_previous_occurrence(&time, true).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(text).unwrap()
    }

    #[test]
    fn five_and_six_fields_are_read() {
        let daily = Expression::new("0 2 * * *").unwrap();
        assert_eq!(daily.as_str(), "0 0 2 * * *");
        assert_eq!(daily.next_after(at("2026-03-01T02:00:00Z")), Some(at("2026-03-02T02:00:00Z")));
        assert_eq!(daily.last_at(at("2026-03-01T02:00:00Z")), Some(at("2026-03-01T02:00:00Z")));
        assert_eq!(daily.last_at(at("2026-03-01T01:59:59Z")), Some(at("2026-02-28T02:00:00Z")));
        let often = Expression::new("*/10 * * * * *").unwrap();
        assert_eq!(often.next_after(at("2026-03-01T02:00:05Z")), Some(at("2026-03-01T02:00:10Z")));
    }

    #[test]
    fn hours_are_those_of_the_zone() {
        let daily = Expression::new("0 2 * * *").unwrap();
        assert_eq!(daily.next_after(at("2026-03-01T00:00:00+05:30")), Some(at("2026-03-01T02:00:00+05:30")));
    }

    #[test]
    fn wrong_expressions_are_refused_with_an_example() {
        for text in
            ["", "every day", "* * *", "61 * * * *", "0 0 31 2 *", "@daily", "0 2 * * * * *", "0 25 * * *"]
        {
            let message = Expression::new(text).unwrap_err().to_string();
            assert!(message.contains(&format!("`{text}`")) && message.contains("\"0 2 * * *\""), "{message}");
        }
    }
}
