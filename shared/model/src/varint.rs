//! Integers in as few bytes as they need: LEB128, shortest form only; signed ones zigzag first.
//!
//! Promise: one number has one encoding, so equal values give equal hashes.

use crate::canon::DecodeError;

/// Appends `value`.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends `value` and two bits of a `tag` (0 to 3) as the LEB128 of 4 · `value` + `tag`, which may need 66 bits.
pub fn put_tagged(out: &mut Vec<u8>, value: u64, tag: u8) {
    let first = ((value & 0x1f) as u8) << 2 | (tag & 3);
    if value >> 5 == 0 {
        out.push(first);
    } else {
        out.push(first | 0x80);
        put_u64(out, value >> 5);
    }
}

pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Reads from the front of a byte string.
#[derive(Debug)]
pub struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    /// Reads `bytes` from their beginning.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next number.
    ///
    /// # Errors
    /// When the bytes end inside it, it is larger than 64 bits, or is not in its shortest form.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                // A last byte of zero would be a second way to write the same number.
                return if byte == 0 && shift > 0 { Err(DecodeError::Varint) } else { Ok(value) };
            }
        }
        Err(DecodeError::Varint)
    }

    /// The next number and its tag, as [`put_tagged`] writes them.
    ///
    /// # Errors
    /// As [`Cursor::u64`].
    pub fn tagged(&mut self) -> Result<(u64, u8), DecodeError> {
        let first = self.u8()?;
        let (low, tag) = (u64::from(first >> 2 & 0x1f), first & 3);
        if first & 0x80 == 0 {
            return Ok((low, tag));
        }
        let high = self.u64()?;
        if high == 0 || high >> 59 != 0 {
            return Err(DecodeError::Varint);
        }
        Ok((high << 5 | low, tag))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        let value = self.u64()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(crate) fn length(&mut self, what: &'static str, limit: usize) -> Result<usize, DecodeError> {
        let length = self.u64()?;
        usize::try_from(length).ok().filter(|length| *length <= limit).ok_or(DecodeError::Limit {
            what,
            limit,
            found: length,
        })
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (front, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    proptest! {
        #[test]
        fn every_integer_reads_back(unsigned in any::<u64>(), signed in any::<i64>()) {
            let mut bytes = Vec::new();
            put_u64(&mut bytes, unsigned);
            put_i64(&mut bytes, signed);
            let mut cursor = Cursor(&bytes);
            assert_eq!(cursor.u64(), Ok(unsigned));
            assert_eq!(cursor.i64(), Ok(signed));
            assert_eq!(cursor.end(), Ok(()));
        }

        #[test]
        fn a_tagged_number_reads_back_and_is_the_number_that_both_make(value in any::<u64>(), shift in 0_u32..64, tag in 0_u8..4) {
            let value = value >> shift;
            let (mut bytes, mut plain) = (Vec::new(), Vec::new());
            put_tagged(&mut bytes, value, tag);
            let mut cursor = Cursor(&bytes);
            assert_eq!(cursor.tagged(), Ok((value, tag)));
            assert_eq!(cursor.end(), Ok(()));
            if let Some(both) = value.checked_mul(4) {
                put_u64(&mut plain, both | u64::from(tag));
                assert_eq!(bytes, plain);
            }
        }
    }

    #[test]
    fn a_longer_way_to_write_a_number_is_refused() {
        assert_eq!(Cursor(&[0x80, 0x00]).u64(), Err(DecodeError::Varint));
        assert_eq!(Cursor(&[0xff; 11]).u64(), Err(DecodeError::Varint));
        assert_eq!(Cursor(&[0x80]).u64(), Err(DecodeError::Short));
        assert_eq!(Cursor(&[0x84, 0x00]).tagged(), Err(DecodeError::Varint));
        assert_eq!(Cursor(&[0x80]).tagged(), Err(DecodeError::Short));
        let mut bytes = vec![0x80];
        put_u64(&mut bytes, 1 << 59);
        assert_eq!(Cursor(&bytes).tagged(), Err(DecodeError::Varint));
    }
}
