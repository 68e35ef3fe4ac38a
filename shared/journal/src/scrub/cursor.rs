//! Where a scrub stopped, as opaque text.
//!
//! Promise: it names a place in the order of rows; what is stored or dropped meanwhile shifts nothing.

use std::fmt;
use std::str::FromStr;

use millrace_model::Seq;
use serde::{Deserialize, Serialize};

use crate::cursor::parsed;
use crate::error::ReadError;

/// What of a journal comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// The segments that begin here or later.
    Segments(Seq),
    /// The tail rows from here on.
    Tail(Seq),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Segments(1)
    }
}

/// Where a scrub goes on. [`ScrubCursor::default`] is where a pass begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ScrubCursor {
    /// The row of the journal.
    pub(crate) journal: i64,
    pub(crate) stage: Stage,
}

impl ScrubCursor {
    /// Where the journal in this row, or the next one, begins.
    pub(crate) fn journal(journal: i64) -> Self {
        Self { journal, stage: Stage::default() }
    }
}

impl fmt::Display for ScrubCursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, seq) = match self.stage {
            Stage::Segments(seq) => ('s', seq),
            Stage::Tail(seq) => ('t', seq),
        };
        write!(out, "1.{:x}.{stage}.{seq:x}", self.journal)
    }
}

impl FromStr for ScrubCursor {
    type Err = ReadError;

    fn from_str(text: &str) -> Result<Self, ReadError> {
        parsed(text, |parts| {
            let journal = i64::from_str_radix(parts.next()?, 16).ok()?;
            let (stage, seq) = (parts.next()?, Seq::from_str_radix(parts.next()?, 16).ok()?);
            let stage = match stage {
                "s" => Stage::Segments(seq),
                "t" => Stage::Tail(seq),
                _ => return None,
            };
            Some(Self { journal, stage })
        })
    }
}

impl From<ScrubCursor> for String {
    fn from(cursor: ScrubCursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for ScrubCursor {
    type Error = ReadError;

    fn try_from(text: String) -> Result<Self, ReadError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_prints_and_nothing_else_is_one() {
        for stage in [Stage::Segments(1), Stage::Tail(0xfeed), Stage::Segments(Seq::MAX)] {
            for journal in [0, 12, i64::MAX] {
                let cursor = ScrubCursor { journal, stage };
                assert_eq!(cursor.to_string().parse(), Ok(cursor));
            }
        }
        for text in ["", "1", "2.0.s.1", "1.0.x.1", "1.0.s.1.1", "1.0.s.-1"] {
            assert!(matches!(text.parse::<ScrubCursor>(), Err(ReadError::Cursor(_))), "{text}");
        }
    }
}
