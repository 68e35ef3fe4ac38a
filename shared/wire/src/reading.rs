//! Reads bodies: serde_cbor makes a tree of what the form check has let through, and frames are made of the tree.
//!
//! serde_cbor can read anything, and the compiler makes a copy of all of that for each type that it is to read: of each field of each
//! frame, that was 0.8 MB of the agent's program. So it reads one type only, [`Tree`], and taking a field from a tree is a call or two.
//! That costs a frame 0.1 to 0.2 µs (`docs/benchmarks.md`).
//!
//! Promise: a tree borrows texts and byte strings from the body; its nodes are as many as the form check allows. A field is taken from
//! the one form that it is written in: structs from maps, ids from byte strings. What a frame does not know is passed over.
//! Absent: types that no frame has: floats, characters, 128 bits.
//!
//! | room | what stands there |
//! |---|---|
//! | here | the tree, and how serde_cbor fills it |
//! | [`taking`] | which form each type asks for |

mod taking;

#[cfg(test)]
mod tests;

use std::fmt::Formatter;

use serde::de::value::Error as ReadError;
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};

/// The value that fills `body`, whose form was checked.
///
/// # Errors
/// When it is not written as a `T` is written.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ReadError> {
    let tree: Tree<'_> = serde_cbor::from_slice(body).map_err(ReadError::custom)?;
    T::deserialize(tree)
}

/// A value of CBOR.
#[derive(Debug)]
enum Tree<'de> {
    Unsigned(u64),
    Negative(i64),
    Bytes(&'de [u8]),
    Text(&'de str),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Flag(bool),
    Float(f64),
    Null,
}

impl Tree<'_> {
    /// Says what stands there instead of what was expected.
    #[cold]
    fn unexpected(&self, expected: &dyn Expected) -> ReadError {
        let found = match self {
            Self::Unsigned(number) => Unexpected::Unsigned(*number),
            Self::Negative(number) => Unexpected::Signed(*number),
            // Of what a peer wrote, nothing long is repeated in a log.
            Self::Bytes(_) => Unexpected::Other("byte array"),
            Self::Text(_) => Unexpected::Other("string"),
            Self::List(_) => Unexpected::Seq,
            Self::Map(_) => Unexpected::Map,
            Self::Flag(flag) => Unexpected::Bool(*flag),
            Self::Float(number) => Unexpected::Float(*number),
            Self::Null => Unexpected::Unit,
        };
        ReadError::invalid_type(found, expected)
    }
}

impl<'de> Deserialize<'de> for Tree<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Planter)
    }
}

struct Planter;

impl<'de> Visitor<'de> for Planter {
    type Value = Tree<'de>;

    fn expecting(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str("a value that a frame may have")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Tree::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(number).map_or(Tree::Negative(number), Tree::Unsigned))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Tree::Unsigned(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Tree::Float(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Tree::Text(text))
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Tree::Bytes(bytes))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Tree::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut map = Vec::new();
        while let Some(pair) = pairs.next_entry()? {
            map.push(pair);
        }
        Ok(Tree::Map(map))
    }
}
