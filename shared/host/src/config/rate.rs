//! `Rate`: bytes per second as people write them, or no limit at all.
//!
//! Promise: `Display` gives a text that parses back to the same rate; a rate of zero is refused,
//! because what never moves is switched off elsewhere and by name.
//! Absent: no bucket and no time; spending a budget is the uplink's decision.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::{ByteSize, UnitError, unit_serde};

const EXAMPLE: &str = "\"256KiB/s\" or \"unlimited\"";

/// A speed on the link. Written `"256KiB/s"`, `"2MB/s"` or `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rate(Option<NonZeroU64>);

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self(None);

    /// This many bytes per second, or `None` for zero, which is not a rate.
    #[must_use]
    pub const fn bytes_per_second(count: u64) -> Option<Self> {
        match NonZeroU64::new(count) {
            Some(count) => Some(Self(Some(count))),
            None => None,
        }
    }

    /// Bytes per second, or `None` when there is no limit.
    #[must_use]
    pub fn limit(self) -> Option<u64> {
        self.0.map(NonZeroU64::get)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(count) => f.pad(&format!("{}/s", ByteSize::bytes(count.get()))),
            None => f.pad("unlimited"),
        }
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = |why| UnitError { text: text.to_owned(), what: "a rate", why, example: EXAMPLE };
        let trimmed = text.trim();
        if trimmed == "unlimited" {
            return Ok(Self::UNLIMITED);
        }
        let size = trimmed.strip_suffix("/s").ok_or_else(|| wrong("it does not end in /s"))?;
        let size: ByteSize = size.parse().map_err(|_| wrong("what stands before /s is not a size"))?;
        Self::bytes_per_second(size.as_u64()).ok_or_else(|| wrong("zero would never send anything"))
    }
}

unit_serde!(Rate, "a rate such as \"256KiB/s\" or \"unlimited\"", |_| None);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_shown_alike() {
        assert_eq!("256KiB/s".parse(), Ok(Rate::bytes_per_second(256 * 1024).unwrap()));
        assert_eq!("2MB/s".parse::<Rate>().unwrap().limit(), Some(2_000_000));
        assert_eq!("unlimited".parse::<Rate>().unwrap().limit(), None);
        for text in ["256KiB/s", "unlimited", "1B/s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn zero_and_missing_units_are_refused() {
        for (text, why) in [("0/s", "zero"), ("256KiB", "/s"), ("fast/s", "size"), ("", "/s")] {
            let message = text.parse::<Rate>().unwrap_err().to_string();
            assert!(message.contains(why), "{text}: {message}");
        }
    }
}
