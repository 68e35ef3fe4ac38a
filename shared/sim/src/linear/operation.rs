//! What a client did to a register.

use std::fmt;

/// What was done. Values are numbers that nobody writes twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Read this.
    Read(Option<u64>),
    /// Wrote this.
    Write(u64),
    /// Wrote the second if the first stood there; whether it did.
    Swap(Option<u64>, u64, bool),
}

/// An operation; times are of one clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Who.
    pub client: u64,
    /// What.
    pub act: Act,
    /// When it was asked for.
    pub called: u64,
    /// When it was acknowledged; `None` when its outcome is unknown.
    pub returned: Option<u64>,
}

impl Operation {
    /// The value afterwards, if the operation can take effect at `value`.
    pub(crate) fn effect(&self, value: Option<u64>) -> Option<Option<u64>> {
        let known = self.returned.is_some();
        match self.act {
            Act::Read(found) => (!known || found == value).then_some(value),
            Act::Write(written) => Some(Some(written)),
            Act::Swap(expected, written, done) => {
                let fits = expected == value;
                (!known || fits == done).then_some(if fits { Some(written) } else { value })
            }
        }
    }

    /// Whether it leaves the register as it is, whenever it happens.
    pub(crate) const fn only_looks(&self) -> bool {
        match self.act {
            Act::Read(_) => true,
            Act::Swap(_, _, done) => !done && self.returned.is_some(),
            Act::Write(_) => false,
        }
    }

    /// What it may have left behind.
    pub(crate) const fn written(&self) -> Option<u64> {
        match self.act {
            Act::Write(written) | Act::Swap(_, written, _) => Some(written),
            Act::Read(_) => None,
        }
    }

    /// What must have stood there.
    pub(crate) const fn seen(&self) -> Option<u64> {
        match self.act {
            Act::Read(seen) | Act::Swap(seen, _, _) => seen,
            Act::Write(_) => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value =
            |value: Option<u64>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
        let end = self.returned.map_or_else(|| "…".to_owned(), |at| at.to_string());
        write!(f, "client {:<3} {:>12} to {end:>12}  ", self.client, self.called)?;
        match (self.act, self.returned) {
            (Act::Read(found), _) => write!(f, "read {}", value(found)),
            (Act::Write(written), Some(_)) => write!(f, "wrote {written}"),
            (Act::Write(written), None) => write!(f, "perhaps wrote {written}"),
            (Act::Swap(expected, written, true), Some(_)) => {
                write!(f, "found {} and wrote {written}", value(expected))
            }
            (Act::Swap(expected, _, false), Some(_)) => write!(f, "did not find {}", value(expected)),
            (Act::Swap(expected, written, _), None) => {
                write!(f, "perhaps found {} and wrote {written}", value(expected))
            }
        }
    }
}
