//! Taking: which form each type asks for.
//!
//! Promise: a method looks for its form, hands it to the visitor, and does nothing else: the compiler copies it for every type.
//!
//! ```text
//! struct        map, fields by number            list, tuple   list
//! variant       number, or with content          ids, hashes   bytes
//!               a map of one, from it to them    text          text
//! option        null, or the content             number        unsigned, or negative
//! ```

use std::vec::IntoIter;

use serde::de::value::Error as ReadError;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::Tree;

impl<'de> Tree<'de> {
    fn unsigned(self, expected: &dyn Expected) -> Result<u64, ReadError> {
        if let Self::Unsigned(number) = self { Ok(number) } else { Err(self.unexpected(expected)) }
    }

    fn flag(self, expected: &dyn Expected) -> Result<bool, ReadError> {
        if let Self::Flag(flag) = self { Ok(flag) } else { Err(self.unexpected(expected)) }
    }

    fn text(self, expected: &dyn Expected) -> Result<&'de str, ReadError> {
        if let Self::Text(text) = self { Ok(text) } else { Err(self.unexpected(expected)) }
    }

    fn bytes(self, expected: &dyn Expected) -> Result<&'de [u8], ReadError> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(self.unexpected(expected)) }
    }

    fn items(self, expected: &dyn Expected) -> Result<Items<'de>, ReadError> {
        if let Self::List(list) = self { Ok(Items(list.into_iter())) } else { Err(self.unexpected(expected)) }
    }

    fn pairs(self, expected: &dyn Expected) -> Result<Pairs<'de>, ReadError> {
        match self {
            Self::Map(map) => Ok(Pairs { rest: map.into_iter(), value: None }),
            other => Err(other.unexpected(expected)),
        }
    }

    fn variant(self, expected: &dyn Expected) -> Result<Variant<'de>, ReadError> {
        match self {
            Self::Unsigned(_) => Ok(Variant { which: self, content: None }),
            Self::Map(map) => match <[_; 1]>::try_from(map) {
                Ok([(which, content)]) => Ok(Variant { which, content: Some(content) }),
                Err(_) => Err(ReadError::custom("a variant is a number, or a map of one")),
            },
            other => Err(other.unexpected(expected)),
        }
    }
}

/// Methods that look for one form and hand it to the visitor.
macro_rules! forms {
    ($($method:ident => $take:ident, $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let value = self.$take(&visitor)?;
            visitor.$visit(value)
        }
    )*};
}

/// Methods that look for an integer of either sign.
macro_rules! signed {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            match self {
                Self::Negative(number) => visitor.visit_i64(number),
                other => visitor.visit_u64(other.unsigned(&"an integer")?),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Tree<'de> {
    type Error = ReadError;

    forms! {
        deserialize_u8 => unsigned, visit_u64;
        deserialize_u16 => unsigned, visit_u64;
        deserialize_u32 => unsigned, visit_u64;
        deserialize_u64 => unsigned, visit_u64;
        deserialize_bool => flag, visit_bool;
        deserialize_str => text, visit_borrowed_str;
        deserialize_string => text, visit_borrowed_str;
        deserialize_bytes => bytes, visit_borrowed_bytes;
        deserialize_byte_buf => bytes, visit_borrowed_bytes;
    }
    signed! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let mut items = self.items(&visitor)?;
        let value = visitor.visit_seq(&mut items)?;
        if items.0.len() == 0 { Ok(value) } else { Err(surplus()) }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let mut pairs = self.pairs(&visitor)?;
        let value = visitor.visit_map(&mut pairs)?;
        if pairs.rest.len() == 0 { Ok(value) } else { Err(surplus()) }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let variant = self.variant(&visitor)?;
        visitor.visit_enum(variant)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self {
            Self::Text(name) => visitor.visit_borrowed_str(name),
            other => visitor.visit_u64(other.unsigned(&"a field or a variant")?),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if matches!(self, Self::Null) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if matches!(self, Self::Null) { visitor.visit_unit() } else { Err(self.unexpected(&visitor)) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    /// Refuses: no field of a frame leaves open what it holds.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        Err(self.unexpected(&visitor))
    }

    serde::forward_to_deserialize_any! { i128 u128 f32 f64 char }

    fn is_human_readable(&self) -> bool {
        false
    }
}

#[cold]
fn surplus() -> ReadError {
    ReadError::custom("more values than there should be")
}

/// The items of a list.
struct Items<'de>(IntoIter<Tree<'de>>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The pairs of a map.
struct Pairs<'de> {
    rest: IntoIter<(Tree<'de>, Tree<'de>)>,
    value: Option<Tree<'de>>,
}

impl<'de> MapAccess<'de> for Pairs<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self.value.take().unwrap_or(Tree::Null))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A variant of an enum, and its content.
struct Variant<'de> {
    which: Tree<'de>,
    content: Option<Tree<'de>>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = ReadError;
    type Variant = Content<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'de>), ReadError> {
        Ok((seed.deserialize(self.which)?, Content(self.content)))
    }
}

/// What stands behind a variant.
struct Content<'de>(Option<Tree<'de>>);

impl<'de> Content<'de> {
    fn given(self) -> Result<Tree<'de>, ReadError> {
        self.0.ok_or_else(|| ReadError::custom("a variant without its content"))
    }
}

impl<'de> VariantAccess<'de> for Content<'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.0 {
            None => Ok(()),
            Some(_) => Err(ReadError::custom("a variant with content that it has not")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self.given()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.given()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.given()?.deserialize_map(visitor)
    }
}
