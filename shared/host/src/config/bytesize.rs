//! `ByteSize`: an amount of memory or disk as people write it.
//!
//! Promise: `Display` gives a text that parses back to the same number; binary (`MiB`) and decimal
//! (`MB`) units both mean what their names say.
//! Absent: no bounds; a limit's own bounds are checked where the limit is.

use std::fmt;
use std::str::FromStr;

use super::{UnitError, unit_serde};

const EXAMPLE: &str = "\"64MiB\", \"1.5GiB\" or 4096";

/// Units by name, largest first within each family so that `Display` finds the widest exact one.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes. Written `"64MiB"`, `"1.5GiB"`, `"10MB"`, or as a bare integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

impl ByteSize {
    /// This many bytes.
    #[must_use]
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// This many times 1,024 bytes, at most `u64::MAX`.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// This many times 1,048,576 bytes, at most `u64::MAX`.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// This many times 2^30 bytes, at most `u64::MAX`.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory, at most `usize::MAX`.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match exact {
            Some((name, factor)) => f.pad(&format!("{}{name}", self.0 / factor)),
            None => f.pad("0B"),
        }
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = |why| UnitError { text: text.to_owned(), what: "a size", why, example: EXAMPLE };
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let unit = unit.trim();
        let factor = match unit {
            "" => 1,
            "K" | "M" | "G" | "T" => {
                return Err(wrong("the unit is ambiguous, KiB is 1024 bytes and kB is 1000"));
            }
            _ => UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, factor)| *factor)
                .ok_or_else(|| wrong("the unit must be one of B, kB, KiB, MB, MiB, GB, GiB, TB, TiB"))?,
        };
        scaled(number, factor).map(Self).ok_or_else(|| {
            if number.is_empty() {
                wrong("it starts with no number")
            } else {
                wrong("the number does not fit")
            }
        })
    }
}

/// `number` (digits with at most one decimal point) times `factor`, exact, rounded down to a byte.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let numerator: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = numerator * u128::from(factor) / denominator;
    let total = whole.checked_mul(u128::from(factor))?.checked_add(parts)?;
    u64::try_from(total).ok()
}

unit_serde!(ByteSize, "a size such as \"64MiB\" or a number of bytes", |value| Some(ByteSize(value)));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_and_decimal_units_mean_what_they_say() {
        let cases: [(&str, u64); 8] = [
            ("64MiB", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("10 MB", 10_000_000),
            ("0.5kB", 500),
            ("4096", 4096),
            ("2TiB", 2 << 40),
            ("7b", 7),
            (" 1mib ", 1 << 20),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize::bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_number() {
        for bytes in [0, 1, 999, 1000, 1024, 1536, 64 << 20, 10_000_000, (1 << 30) + 1, u64::MAX] {
            let shown = ByteSize::bytes(bytes).to_string();
            assert_eq!(shown.parse(), Ok(ByteSize::bytes(bytes)), "{shown}");
        }
        assert_eq!(ByteSize::mib(64).to_string(), "64MiB");
        assert_eq!(ByteSize::bytes(10_000_000).to_string(), "10MB");
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "MiB", "64 moons", "1.2.3MiB", "99999999TiB", "-1", "5M", "."] {
            let message = text.parse::<ByteSize>().unwrap_err().to_string();
            assert!(message.contains("\"64MiB\""), "{message}");
        }
        assert!("5M".parse::<ByteSize>().unwrap_err().to_string().contains("KiB is 1024"));
    }

    #[test]
    fn constants_stop_at_the_largest_number() {
        assert_eq!(ByteSize::gib(u64::MAX).as_u64(), u64::MAX);
        assert_eq!(ByteSize::kib(2).as_usize(), 2048);
    }
}
