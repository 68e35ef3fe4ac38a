//! One line of the table.

use serde::Serialize;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// Records or publications per second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// A ratio.
    Times,
    /// How often something happened.
    Count,
}

impl Unit {
    /// A number of this unit, for people.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
            Self::PerSecond => format!("{:.1} k/s", value / 1e3),
            Self::Seconds => format!("{value:.2} s"),
            Self::Millis if value < 10.0 => format!("{value:.2} ms"),
            Self::Millis => format!("{value:.0} ms"),
            Self::Bytes if value >= 1024.0 * 1024.0 => format!("{:.1} MiB", value / 1024.0 / 1024.0),
            Self::Bytes if value >= 10.0 * 1024.0 => format!("{:.1} KiB", value / 1024.0),
            Self::Bytes => format!("{value:.1} B"),
            Self::BytesPerSecond => format!("{:.2} kB/s", value / 1e3),
            Self::Times => format!("{value:.3} ×"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

/// What a measure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) enum Aim {
    /// Result ÷ baseline at least this.
    RatioAtLeast(f64),
    /// Result ÷ baseline at most this.
    RatioAtMost(f64),
    /// The result at most this, in its unit.
    AtMost(f64),
    /// Only to be told.
    Report,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// What came out.
    pub(crate) result: f64,
    /// Of result and baseline.
    pub(crate) unit: Unit,
    /// Against what.
    pub(crate) against: String,
    /// What came out there.
    pub(crate) baseline: Option<f64>,
    /// What it should be.
    pub(crate) aim: Aim,
    /// Single measurements, and whatever else helps to understand the result.
    pub(crate) details: serde_json::Value,
}

impl Row {
    /// A row without a baseline.
    pub(crate) fn alone(what: impl Into<String>, result: f64, unit: Unit, aim: Aim) -> Self {
        let details = serde_json::Value::Null;
        Self { what: what.into(), result, unit, against: String::new(), baseline: None, aim, details }
    }

    /// Sets the baseline.
    pub(crate) fn against(mut self, name: impl Into<String>, baseline: f64) -> Self {
        (self.against, self.baseline) = (name.into(), Some(baseline));
        self
    }

    /// Adds details.
    pub(crate) fn with(mut self, details: serde_json::Value) -> Self {
        self.details = details;
        self
    }

    /// Result ÷ baseline.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.baseline.filter(|baseline| *baseline > 0.0).map(|baseline| self.result / baseline)
    }

    /// Whether the aim is reached; `None` when there is none, or nothing to compare with.
    pub(crate) fn met(&self) -> Option<bool> {
        match self.aim {
            Aim::RatioAtLeast(aim) => self.ratio().map(|ratio| ratio >= aim),
            Aim::RatioAtMost(aim) => self.ratio().map(|ratio| ratio <= aim),
            Aim::AtMost(aim) => Some(self.result <= aim),
            Aim::Report => None,
        }
    }

    /// The aim, for people.
    pub(crate) fn aim_text(&self) -> String {
        match self.aim {
            Aim::RatioAtLeast(aim) => format!("≥ {aim} ×"),
            Aim::RatioAtMost(aim) => format!("≤ {aim} ×"),
            Aim::AtMost(aim) => format!("≤ {}", self.unit.show(aim)),
            Aim::Report => "–".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_is_judged_by_what_it_speaks_of() {
        let row = |aim| Row::alone("x", 8.0, Unit::Seconds, aim).against("y", 10.0);
        assert_eq!(row(Aim::RatioAtLeast(0.8)).met(), Some(true));
        assert_eq!(row(Aim::RatioAtMost(0.7)).met(), Some(false));
        assert_eq!(row(Aim::AtMost(7.0)).met(), Some(false));
        assert_eq!(row(Aim::Report).met(), None);
        assert_eq!(
            Row::alone("x", 1.0, Unit::Times, Aim::RatioAtLeast(1.0)).met(),
            None,
            "nothing to compare"
        );
    }

    #[test]
    fn numbers_are_shown_in_the_size_that_people_read() {
        assert_eq!(Unit::PerSecond.show(1_234_567.0), "1.23 M/s");
        assert_eq!(Unit::Millis.show(0.614), "0.61 ms");
        assert_eq!(
            (Unit::BytesPerSecond.show(1_512.0).as_str(), Unit::Count.show(0.0).as_str()),
            ("1.51 kB/s", "0")
        );
        assert_eq!(Unit::Bytes.show(35.25), "35.2 B");
        assert_eq!(Unit::Bytes.show(24.0 * 1024.0 * 1024.0), "24.0 MiB");
    }
}
