//! How urgent a record is, and how durable it must be before its author may forget it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Priority class of records on a device. Each lane is a journal of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Alarms and events: first on the link, last to be evicted.
    Urgent,
    /// Ordinary readings.
    Normal,
    /// Whatever may wait: waveforms, logs, history.
    Bulk,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Bulk];

    /// The number that stands for it in canonical bytes and in stores.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Urgent => 0,
            Self::Normal => 1,
            Self::Bulk => 2,
        }
    }

    /// The lane with this number, if there is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Urgent),
            1 => Some(Self::Normal),
            2 => Some(Self::Bulk),
            _ => None,
        }
    }

    /// Its name in configuration, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Lane {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|lane| lane.name() == text)
            .ok_or_else(|| format!("`{text}` is not a lane: expected `urgent`, `normal` or `bulk`"))
    }
}

/// How durable a record is at the hubs when its author is told so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckLevel {
    /// Flushed on the disk of one hub.
    #[default]
    Hub,
    /// Flushed on every replica in the session's region.
    Region,
    /// Flushed on a majority of the replicas.
    Quorum,
}

impl fmt::Display for AckLevel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Hub => "hub",
            Self::Region => "region",
            Self::Quorum => "quorum",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_keep_their_numbers_and_names() {
        for lane in Lane::ALL {
            assert_eq!(Lane::from_code(lane.code()), Some(lane));
            assert_eq!(lane.name().parse(), Ok(lane));
        }
        assert_eq!(Lane::from_code(3), None);
        assert!("fast".parse::<Lane>().unwrap_err().contains("urgent"));
    }
}
