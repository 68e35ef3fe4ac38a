//! Answers that cannot be true: they end the session.

use std::fmt;

use crate::spans::SpansError;

/// Which of the two holders that are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// Whoever asks.
    Mine,
    /// The peer.
    Theirs,
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Mine => "the own store",
            Self::Theirs => "the peer",
        })
    }
}

/// An answer that does not fit its question, or itself.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{who} answered what cannot be: {fault}")]
pub struct Contradiction {
    /// Whose answer.
    pub who: Holder,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with an answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// It answers another kind of question.
    #[error("it answers another question")]
    Misplaced,
    /// The bytes of its ranges.
    #[error("its ranges are no ranges: {0}")]
    Spans(#[from] SpansError),
    /// It has records that it says were never there.
    #[error("it has record {last}, and its last one is {head}")]
    Head {
        /// A record that it claims to have.
        last: u64,
        /// The last one that it claims ever to have had.
        head: u64,
    },
    /// A tree has 16 levels at most.
    #[error("its tree has {0} levels")]
    Level(u8),
    /// It says that there is more again and again.
    #[error("its pages do not end")]
    Pages,
    /// So many were asked for, no more and no less.
    #[error("it tells {found} {what}, and {asked} were asked for")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many were asked for.
        asked: usize,
        /// How many came.
        found: usize,
    },
    /// More than an answer may have.
    #[error("it tells {found} {what}; {limit} is the limit")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// How many came.
        found: usize,
    },
    /// The bits of a node and its hashes.
    #[error("the places and the hashes of a node do not fit together")]
    Slots,
    /// A list is not in order, or names what was not asked for.
    #[error("its {0} are not in order, or were not asked for")]
    Order(&'static str),
    /// The name of a segment that cannot be.
    #[error("its name of segment {0} cannot be one")]
    Name(u64),
}

impl Fault {
    /// With whose it is.
    pub(crate) const fn of(self, who: Holder) -> Contradiction {
        Contradiction { who, fault: self }
    }
}

/// Reads both answers with one reader, and says whose fault it is when one cannot be read.
pub(crate) fn both<A, T>(
    mine: A,
    theirs: A,
    mut read: impl FnMut(A) -> Result<T, Fault>,
) -> Result<(T, T), Contradiction> {
    let mine = read(mine).map_err(|fault| fault.of(Holder::Mine))?;
    let theirs = read(theirs).map_err(|fault| fault.of(Holder::Theirs))?;
    Ok((mine, theirs))
}
