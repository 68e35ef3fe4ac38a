//! The chain: a hash over an entry and everything before it.
//!
//! Promise: two logs with the same chain at an index hold the same entries up to there. An entry that is missing,
//! exchanged, moved or changed breaks it. Absent: secrecy; nothing here defends against who can write the file.

use std::fmt;

/// Hash of a log up to one entry, or of a snapshot up to one chunk.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain([u8; 32]);

impl Chain {
    /// Before the first entry of all.
    pub const GENESIS: Self = Self([0; 32]);

    /// The chain after an entry.
    #[must_use]
    pub fn after(self, index: u64, term: u64, payload: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&index.to_be_bytes());
        hasher.update(&term.to_be_bytes());
        hasher.update(payload);
        Self(*hasher.finalize().as_bytes())
    }

    /// Where a log goes on behind a snapshot that brought entries which it never held itself.
    #[must_use]
    pub fn restarted(index: u64, term: u64) -> Self {
        Self::GENESIS.after(index, term, b"behind a snapshot")
    }

    /// The chain after some more bytes.
    #[must_use]
    pub(crate) fn and(self, bytes: &[u8]) -> Self {
        self.after(bytes.len() as u64, 0, bytes)
    }

    /// As bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From bytes; `None` unless there are 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({self})")
    }
}

/// A check over the parts of a row, each with its length, so that bytes cannot wander from one to the next.
pub(crate) fn check(parts: &[&[u8]]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut first = [0; 8];
    first.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_entry_and_all_before_it_are_bound() {
        let first = Chain::GENESIS.after(1, 1, b"a");
        let second = first.after(2, 1, b"b");
        assert_ne!(second, Chain::GENESIS.after(2, 1, b"b"));
        assert_ne!(second, first.after(3, 1, b"b"));
        assert_ne!(second, first.after(2, 2, b"b"));
        assert_ne!(second, first.after(2, 1, b"c"));
        assert_eq!(Chain::from_slice(second.as_bytes()), Some(second));
        assert_eq!(Chain::from_slice(b"short"), None);
    }

    #[test]
    fn bytes_do_not_wander_between_the_parts_of_a_row() {
        assert_ne!(check(&[b"ab", b"c"]), check(&[b"a", b"bc"]));
    }
}
