//! The items that hubs put into gossip datagrams, one after another.
//!
//! ```text
//! item := length:u16 (big-endian, of what follows) body
//! body := CBOR, packed: fields by number, in the order in which they are declared
//! ```
//!
//! Promise: an item is checked for length, depth, count and form before serde_cbor sees it; reading takes exactly one item
//! from the front, and writing writes a whole item or nothing.
//! Absent: what the items mean; that is the hub engine's membership. Datagrams and who sent them: `millrace-link`.

use bytes::{Buf, BufMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::GOSSIP_ITEM_MAX;
use crate::reading;
use crate::strict::{self, FormError};

/// Version of everything in a datagram; its first byte. A datagram with another one is dropped.
pub const VERSION: u8 = 1;

/// Why bytes are not an item, or a value cannot become one. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GossipError {
    /// The bytes end inside an item.
    #[error("the datagram ends inside an item")]
    Short,
    /// Longer than an item may be.
    #[error("an item of {0} bytes is over the limit of {GOSSIP_ITEM_MAX}")]
    TooLong(usize),
    /// There is no room for it any more; it may go into the next datagram.
    #[error("an item of {item} bytes does not fit into the {room} that are left")]
    Full {
        /// What it needs, its length included.
        item: usize,
        /// What there is.
        room: usize,
    },
    /// The body is not well-formed CBOR within limits.
    #[error("an item is malformed: {0}")]
    Form(#[from] FormError),
    /// The body is CBOR, but not this item's.
    #[error("an item does not have the fields that it should: {0}")]
    Fields(String),
}

/// Appends `item` to a datagram.
///
/// # Errors
/// When it is too long or does not fit; then nothing was written.
pub fn encode<T: Serialize>(item: &T, mut into: impl BufMut) -> Result<(), GossipError> {
    let body =
        serde_cbor::ser::to_vec_packed(item).map_err(|error| GossipError::Fields(error.to_string()))?;
    let length = u16::try_from(body.len()).ok().filter(|_| body.len() <= GOSSIP_ITEM_MAX);
    let length = length.ok_or(GossipError::TooLong(body.len()))?;
    let (item, room) = (body.len() + 2, into.remaining_mut());
    if item > room {
        return Err(GossipError::Full { item, room });
    }
    into.put_u16(length);
    into.put_slice(&body);
    Ok(())
}

/// Takes one item from the front of a datagram.
///
/// # Errors
/// When what stands there is not exactly one well-formed item within its limits. The datagram is worthless then.
pub fn decode<T: DeserializeOwned>(mut from: impl Buf) -> Result<T, GossipError> {
    if from.remaining() < 2 {
        return Err(GossipError::Short);
    }
    let length = usize::from(from.get_u16());
    if length > GOSSIP_ITEM_MAX {
        return Err(GossipError::TooLong(length));
    }
    if from.remaining() < length {
        return Err(GossipError::Short);
    }
    let body = from.copy_to_bytes(length);
    strict::check(&body)?;
    reading::read(&body).map_err(|error| GossipError::Fields(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Item = (u64, String, Option<bool>);

    #[test]
    fn items_are_read_one_after_another() {
        let items: [Item; 2] = [(7, "press".to_owned(), None), (u64::MAX, String::new(), Some(true))];
        let mut bytes = Vec::new();
        items.iter().for_each(|item| encode(item, &mut bytes).unwrap());
        let mut rest = bytes.as_slice();
        for item in &items {
            assert_eq!(decode::<Item>(&mut rest).as_ref(), Ok(item));
        }
        assert_eq!(decode::<Item>(&mut rest), Err(GossipError::Short));
    }

    #[test]
    fn an_item_that_does_not_fit_leaves_the_datagram_as_it_was() {
        let mut bytes = Vec::new();
        let error = encode(&"0123456789", (&mut bytes).limit(12)).unwrap_err();
        assert_eq!((error, bytes.len()), (GossipError::Full { item: 13, room: 12 }, 0));
        assert_eq!(encode(&"0123456789", (&mut bytes).limit(13)), Ok(()));
    }

    #[test]
    fn items_over_the_limit_are_neither_written_nor_read() {
        let long = "x".repeat(GOSSIP_ITEM_MAX);
        assert!(matches!(encode(&long, Vec::new()), Err(GossipError::TooLong(_))));
        let claimed = u16::try_from(GOSSIP_ITEM_MAX + 1).unwrap().to_be_bytes();
        assert_eq!(decode::<u64>(claimed.as_slice()), Err(GossipError::TooLong(GOSSIP_ITEM_MAX + 1)));
    }

    #[test]
    fn hostile_items_are_named() {
        assert_eq!(decode::<u64>([0, 2, 0].as_slice()), Err(GossipError::Short));
        assert_eq!(decode::<u64>([0, 0].as_slice()), Err(GossipError::Form(FormError::Short)));
        assert_eq!(
            decode::<u64>([0, 2, 0x5f, 0xff].as_slice()),
            Err(GossipError::Form(FormError::Form(0x5f)))
        );
        assert!(matches!(decode::<u64>([0, 1, 0xf6].as_slice()), Err(GossipError::Fields(_))));
    }
}
