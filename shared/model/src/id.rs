//! Who: devices, hubs, incarnations, journals, and the numbers that order things inside them.
//!
//! Promise: an id is opaque and ordered; its text form is lower-case hexadecimal of fixed width and parses back.
//! Absent: how ids are drawn (randomness lives in the daemons) and what a certificate says about them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Lane;

/// A text that should have been an id and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: expected {digits} hexadecimal digits, for example `{example}`")]
pub struct IdError {
    /// What was expected, in words.
    pub what: &'static str,
    /// How many digits it has.
    pub digits: usize,
    /// One that is well formed.
    pub example: &'static str,
    /// What stood there, cut to 64 characters.
    pub text: String,
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                unhex(text).map(Self).ok_or_else(|| IdError {
                    what: $what,
                    digits: 32,
                    example: "0123456789abcdef0123456789abcdef",
                    text: text.chars().take(64).collect(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() { to.collect_str(self) } else { to.serialize_bytes(&self.0) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
                } else {
                    let bytes = <FixedBytes<16>>::deserialize(from)?;
                    Ok(Self(bytes.0))
                }
            }
        }
    };
}

/// A byte string of exactly `N` bytes in a binary encoding.
pub(crate) struct FixedBytes<const N: usize>(pub(crate) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for FixedBytes<N> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor<const N: usize>;
        impl<const N: usize> serde::de::Visitor<'_> for Visitor<N> {
            type Value = FixedBytes<N>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a byte string of {N} bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                bytes.try_into().map(FixedBytes).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        from.deserialize_bytes(Visitor)
    }
}

id128!(
    /// One edge device, for ever. The certificate carries it; a payload never does.
    DeviceId,
    "device id"
);
id128!(
    /// One hub process and its store.
    HubId,
    "hub id"
);
id128!(
    /// One start of the operating system, as Linux names it.
    BootId,
    "boot id"
);

/// 64 random bits made together with a data directory. A new directory, a wiped disk, a detected rollback or
/// a clone gets a new one, so that sequence numbers are never used twice for different records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The incarnation with these 64 random bits.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

/// As text where people read it: JSON numbers of 64 bits do not survive every reader.
impl Serialize for Incarnation {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { to.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(from).map(Self)
        }
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Incarnation {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        unhex(text).map(|bytes| Self(u64::from_be_bytes(bytes))).ok_or_else(|| IdError {
            what: "incarnation",
            digits: 16,
            example: "0123456789abcdef",
            text: text.chars().take(64).collect(),
        })
    }
}

/// The append-only log of one writer. One author, for ever: replicas of it can never conflict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct JournalId {
    /// The author.
    pub device: DeviceId,
    /// The life of the author's data directory.
    pub incarnation: Incarnation,
    /// The priority class.
    pub lane: Lane,
}

impl JournalId {
    /// Canonical bytes, as they are hashed: device, incarnation (big-endian), lane.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 25] {
        let mut bytes = [0; 25];
        let (device, rest) = bytes.split_at_mut(16);
        device.copy_from_slice(self.device.as_bytes());
        let (incarnation, lane) = rest.split_at_mut(8);
        incarnation.copy_from_slice(&self.incarnation.bits().to_be_bytes());
        lane.copy_from_slice(&[self.lane.code()]);
        bytes
    }
}

impl fmt::Display for JournalId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.device, self.incarnation, self.lane)
    }
}

/// Place of a record in its journal. Dense, the first record has 1; 0 means "before the first".
pub type Seq = u64;

/// Place of a sealed segment in its journal, the first has 0.
pub type Ordinal = u64;

/// A number that only grows; a message that carries an older one is refused.
pub type Fence = u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        let device = DeviceId::from_bytes(*b"0123456789abcdef");
        assert_eq!(device.to_string().parse(), Ok(device));
        let incarnation = Incarnation::new(0xfeed_0000_0000_0001);
        assert_eq!(incarnation.to_string(), "feed000000000001");
        assert_eq!(incarnation.to_string().parse(), Ok(incarnation));
    }

    #[test]
    fn a_text_that_is_no_id_is_refused_with_an_example() {
        let error = "press-7".parse::<DeviceId>().unwrap_err();
        assert!(error.to_string().contains("32 hexadecimal digits"), "{error}");
    }

    #[test]
    fn journal_bytes_are_device_incarnation_lane() {
        let journal = JournalId {
            device: DeviceId::from_bytes([7; 16]),
            incarnation: Incarnation::new(1),
            lane: Lane::Bulk,
        };
        let bytes = journal.to_bytes();
        assert_eq!(&bytes[..16], &[7; 16]);
        assert_eq!(&bytes[16..24], &[0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(bytes[24], Lane::Bulk.code());
    }
}
