//! Bytes of commands, outcomes and messages: numbers as LEB128, byte strings behind their length.
//!
//! Promise: every length is checked against its limit and against what is there before anything is allocated for it; one
//! value has one encoding. Absent: what the bytes mean (`kv/coding.rs`, `raft/coding.rs`).

use bytes::Bytes;

/// Why bytes were not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// They end too early.
    #[error("the bytes end inside {0}")]
    CutOff(&'static str),
    /// They go on after the end.
    #[error("{0} bytes follow after the end")]
    Trailing(usize),
    /// A length or count is larger than it may be.
    #[error("{what}: {found} is more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A kind that this program does not know; a newer one may.
    #[error("{what} {found} is unknown here: install the newer program")]
    Unknown {
        /// Which kind of kind.
        what: &'static str,
        /// Its number.
        found: u64,
    },
}

/// Writes.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    #[allow(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes without a length, as the last thing.
    pub(crate) fn rest(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn finish(self) -> Bytes {
        Bytes::from(self.bytes)
    }
}

/// Reads. Byte strings share the memory of what is read.
#[derive(Debug)]
pub(crate) struct Decoder {
    rest: Bytes,
}

impl Decoder {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, CodecError> {
        let byte = *self.rest.first().ok_or(CodecError::CutOff(what))?;
        bytes::Buf::advance(&mut self.rest, 1);
        Ok(byte)
    }

    pub(crate) fn number(&mut self, what: &'static str) -> Result<u64, CodecError> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift.min(63);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(CodecError::TooMany { what, found: u64::MAX, limit: u64::MAX })
    }

    /// A number of at most `limit`.
    pub(crate) fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, CodecError> {
        let found = self.number(what)?;
        match usize::try_from(found) {
            Ok(count) if count <= limit => Ok(count),
            _ => Err(CodecError::TooMany { what, found, limit: limit as u64 }),
        }
    }

    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, CodecError> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(CodecError::Unknown { what, found: found.into() }),
        }
    }

    pub(crate) fn bytes(&mut self, what: &'static str, limit: usize) -> Result<Bytes, CodecError> {
        let length = self.count(what, limit)?;
        if length > self.rest.len() {
            return Err(CodecError::CutOff(what));
        }
        Ok(self.rest.split_to(length))
    }

    pub(crate) fn text(&mut self, what: &'static str, limit: usize) -> Result<String, CodecError> {
        let bytes = self.bytes(what, limit)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As many as a count says, which is at most `limit`.
    pub(crate) fn list<T>(
        &mut self,
        what: &'static str,
        limit: usize,
        mut one: impl FnMut(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Vec<T>, CodecError> {
        let count = self.count(what, limit)?;
        (0..count).map(|_| one(self)).collect()
    }

    pub(crate) fn rest(self) -> Bytes {
        self.rest
    }

    pub(crate) fn end(self) -> Result<(), CodecError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CodecError::Trailing(self.rest.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_everything_shorter_is_refused() {
        let mut encoder = Encoder::default();
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        numbers.iter().for_each(|number| encoder.number(*number));
        encoder.bytes(b"abc");
        encoder.flag(true);
        let bytes = encoder.finish();
        let read = |bytes: Bytes| -> Result<(Vec<u64>, Bytes, bool), CodecError> {
            let mut decoder = Decoder::new(bytes);
            let numbers = (0..numbers.len()).map(|_| decoder.number("n")).collect::<Result<_, _>>()?;
            let found = (numbers, decoder.bytes("b", 3)?, decoder.flag("f")?);
            decoder.end()?;
            Ok(found)
        };
        assert_eq!(read(bytes.clone()).unwrap(), (numbers.to_vec(), Bytes::from("abc"), true));
        for length in 0..bytes.len() {
            assert!(read(bytes.slice(..length)).is_err(), "{length}");
        }
        assert_eq!(read([&bytes[..], b"x"].concat().into()), Err(CodecError::Trailing(1)));
    }

    #[test]
    fn lengths_beyond_their_limit_or_the_bytes_are_refused() {
        let mut encoder = Encoder::default();
        encoder.bytes(&[7; 100]);
        let bytes = encoder.finish();
        assert!(matches!(Decoder::new(bytes.clone()).bytes("b", 99), Err(CodecError::TooMany { .. })));
        assert_eq!(Decoder::new(bytes.slice(..50)).bytes("b", 100), Err(CodecError::CutOff("b")));
        assert!(Decoder::new(Bytes::from_static(&[0xff; 11])).number("n").is_err());
    }
}
