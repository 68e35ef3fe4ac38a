//! The row of the journal's own benchmark, taken from what it printed.

use serde_json::Value;

use crate::row::{Aim, Row, Unit};

/// Rows from the last line that is the journal's JSON; none when there is no such line.
pub(crate) fn rows(printed: &str) -> Vec<Row> {
    let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
    let found = printed
        .lines()
        .rev()
        .filter_map(parse)
        .find(|value| value.get("bench").is_some_and(|name| name == "journal_append"));
    let Some(figures) = found else { return Vec::new() };
    let number = |key: &str| figures.get(key)?.as_f64();
    let mut rows = Vec::new();
    if let (Some(ours), Some(plain)) = (number("records_per_s"), number("baseline_records_per_s")) {
        rows.push(
            Row::alone("journal append, 1,000 per flush", ours, Unit::PerSecond, Aim::RatioAtLeast(1.5))
                .against("plain INSERT, WAL + FULL", plain)
                .with(figures.clone()),
        );
    }
    if let Some(ratio) = number("written_ratio") {
        rows.push(
            Row::alone(
                "journal append, bytes written to the device",
                ratio,
                Unit::Times,
                Aim::RatioAtMost(0.25),
            )
            .against("plain INSERT, WAL + FULL", 1.0),
        );
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_becomes_two_rows() {
        let printed = "a table\n{\"bench\":\"journal_append\",\"records_per_s\":900.0,\"baseline_records_per_s\":300.0,\"written_ratio\":0.2}\n";
        let rows = rows(printed);
        assert_eq!(rows.iter().map(Row::met).collect::<Vec<_>>(), [Some(true), Some(true)]);
        assert!(super::rows("nothing\n").is_empty());
    }
}
