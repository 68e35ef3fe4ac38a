//! The form check of CBOR (RFC 8949): run over a body before serde_cbor sees it, because serde_cbor is archived and
//! was not written for hostile input.
//!
//! Promise: accepts exactly one well-formed value that fills the input, with definite lengths only, within limits of
//! depth and count, and whose strings all lie inside the input. Allocates nothing.
//! Absent: tags and floats other than 64-bit are refused; no frame has them.

use crate::limits::{DEPTH_MAX, ITEMS_MAX};

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A value or string goes past the end.
    #[error("the body ends inside a value")]
    Short,
    /// Bytes follow after the value.
    #[error("bytes follow after the value")]
    Trailing,
    /// Values are nested too deep.
    #[error("values are nested deeper than {DEPTH_MAX}")]
    Deep,
    /// There are too many values.
    #[error("more than {ITEMS_MAX} values")]
    Many,
    /// A form that no frame has: indefinite length, tag, short float, reserved code.
    #[error("byte {0:#04x} begins a form that no frame has")]
    Form(u8),
}

/// Checks the form of `body`.
///
/// # Errors
/// Says what is wrong with it.
pub fn check(body: &[u8]) -> Result<(), FormError> {
    let mut walk = Walk { rest: body, items: 0 };
    walk.value(0)?;
    if walk.rest.is_empty() { Ok(()) } else { Err(FormError::Trailing) }
}

struct Walk<'a> {
    rest: &'a [u8],
    items: usize,
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, FormError> {
        let (first, rest) = self.rest.split_first().ok_or(FormError::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    fn argument(&mut self, initial: u8) -> Result<u64, FormError> {
        let width = match initial & 0x1f {
            small @ 0..=23 => return Ok(u64::from(small)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(FormError::Form(initial)),
        };
        (0..width).try_fold(0, |value, _| Ok(value << 8 | u64::from(self.byte()?)))
    }

    fn skip(&mut self, length: u64) -> Result<(), FormError> {
        let length = usize::try_from(length).map_err(|_| FormError::Short)?;
        self.rest = self.rest.get(length..).ok_or(FormError::Short)?;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), FormError> {
        if depth >= DEPTH_MAX {
            return Err(FormError::Deep);
        }
        self.items += 1;
        if self.items > ITEMS_MAX {
            return Err(FormError::Many);
        }
        let initial = self.byte()?;
        match initial >> 5 {
            0 | 1 => self.argument(initial).map(drop),
            2 | 3 => {
                let length = self.argument(initial)?;
                self.skip(length)
            }
            4 => {
                let count = self.argument(initial)?;
                self.values(count, depth)
            }
            5 => {
                let pairs = self.argument(initial)?;
                self.values(pairs.saturating_mul(2), depth)
            }
            // false, true, null; a 64-bit float.
            7 if matches!(initial, 0xf4..=0xf6) => Ok(()),
            7 if initial == 0xfb => self.skip(8),
            _ => Err(FormError::Form(initial)),
        }
    }

    fn values(&mut self, count: u64, depth: usize) -> Result<(), FormError> {
        // Each value takes a byte at least, so a count that cannot fit is known at once.
        if count > self.rest.len() as u64 {
            return Err(FormError::Short);
        }
        (0..count).try_for_each(|_| self.value(depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_values_pass() {
        for body in [&[0x00][..], &[0x43, 1, 2, 3], &[0x82, 0x01, 0xf6], &[0xa1, 0x00, 0x61, b'x']] {
            assert_eq!(check(body), Ok(()), "{body:02x?}");
        }
    }

    #[test]
    fn hostile_forms_are_named() {
        assert_eq!(check(&[]), Err(FormError::Short));
        assert_eq!(check(&[0x00, 0x00]), Err(FormError::Trailing));
        assert_eq!(check(&[0x5f, 0xff]), Err(FormError::Form(0x5f)), "indefinite length");
        assert_eq!(check(&[0xc0, 0x00]), Err(FormError::Form(0xc0)), "tag");
        assert_eq!(check(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Err(FormError::Short));
        assert_eq!(
            check(&[0x9b, 0, 0, 0, 1, 0, 0, 0, 0]),
            Err(FormError::Short),
            "four thousand million values"
        );
        assert_eq!(check(&[0x81; 9]), Err(FormError::Deep));
        let mut many = vec![0x9a, 0, 1, 0, 1];
        many.extend(vec![0; 0x1_0001]);
        assert_eq!(check(&many), Err(FormError::Many));
    }
}
