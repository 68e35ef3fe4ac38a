//! Figures: numbers in a form that people compare at a glance.
//!
//! Promise: at most three significant digits and a unit; the same number always reads the same.
//! Absent: exact values; `--json` gives those.

use std::time::Duration;

/// A number of bytes: `0 B`, `999 B`, `1.50 KiB`, `64.0 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    scaled(count, 1_024, &UNITS, " ")
}

/// Bytes per second: `1.50 KiB/s`.
#[must_use]
pub fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

/// A count of things: `999`, `1.50k`, `12.3M`.
#[must_use]
pub fn count(things: u64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    scaled(things, 1_000, &UNITS, "")
}

/// A length of time: `0s`, `250µs`, `1.50ms`, `42.0s`, `3m 20s`, `5h 12m`, `12d 3h`.
#[must_use]
pub fn duration(span: Duration) -> String {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let seconds = span.as_secs();
    match seconds {
        _ if micros == 0 => "0s".to_owned(),
        0 if micros < 1_000 => format!("{micros}µs"),
        0 => format!("{}ms", three_digits(micros, 1_000)),
        1..60 => format!("{}s", three_digits(micros, 1_000_000)),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// How long something is still good: `7d 23h left`, `EXPIRED 3d 2h ago`.
#[must_use]
pub fn remaining(seconds: i64) -> String {
    let span = duration(Duration::from_secs(seconds.unsigned_abs()));
    if seconds > 0 { format!("{span} left") } else { format!("EXPIRED {span} ago") }
}

fn scaled(value: u64, step: u64, units: &[&str], gap: &str) -> String {
    let mut divisor = 1_u64;
    let mut left = units.iter();
    let mut unit = left.next().copied().unwrap_or_default();
    while let (true, Some(larger)) = (value / divisor >= step, left.as_slice().first()) {
        divisor = divisor.saturating_mul(step);
        unit = larger;
        left.next();
    }
    if divisor == 1 {
        format!("{value}{gap}{unit}")
    } else {
        format!("{}{gap}{unit}", three_digits(value, divisor))
    }
}

/// `value / divisor` cut (never rounded up, so that 99.99 % does not read 100) to three digits.
fn three_digits(value: u64, divisor: u64) -> String {
    let (value, divisor) = (u128::from(value), u128::from(divisor.max(1)));
    let whole = value / divisor;
    let hundredths = value % divisor * 100 / divisor;
    match whole {
        0..10 => format!("{whole}.{hundredths:02}"),
        10..100 => format!("{whole}.{}", hundredths / 10),
        _ => whole.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_rates_keep_three_digits() {
        let cases: [(u64, &str); 7] = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.50 KiB"),
            (64 << 20, "64.0 MiB"),
            (999 << 30, "999 GiB"),
            ((1 << 20) - 1, "1023 KiB"),
            (u64::MAX, "15.9 EiB"),
        ];
        for (value, text) in cases {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(rate(256 * 1024), "256 KiB/s");
    }

    #[test]
    fn counts_use_decimal_steps() {
        let cases = [(999, "999"), (1_500, "1.50k"), (12_345_678, "12.3M"), (u64::MAX, "18.4E")];
        for (value, text) in cases {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn what_is_over_says_so() {
        assert_eq!(
            (remaining(690_000), remaining(-7_200)),
            ("7d 23h left".into(), "EXPIRED 2h 0m ago".into())
        );
    }

    #[test]
    fn durations_choose_the_two_units_that_matter() {
        let cases = [
            (0, "0s"),
            (250, "250µs"),
            (1_500, "1.50ms"),
            (42_000_000, "42.0s"),
            (200_000_000, "3m 20s"),
            (18_720_000_000, "5h 12m"),
            (1_047_600_000_000, "12d 3h"),
        ];
        for (micros, text) in cases {
            assert_eq!(duration(Duration::from_micros(micros)), text);
        }
    }
}
