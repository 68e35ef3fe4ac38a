//! Config: a TOML file becomes a strict raw struct, and what is wrong in it is said with line and fix.
//!
//! Promise: an unknown key is an error, never ignored; every error names file, line, key, the
//! offending text and what to write instead.
//! Absent: no meaning. Bounds that depend on each other are checked where the raw struct becomes the
//! validated one, with [`Source::mistake`]. No environment overrides.
//!
//! | module | what it gives |
//! |---|---|
//! | `file` | [`read`], [`parse`], [`Loaded`] |
//! | `outline` | where each key stands in a file |
//! | `error` | [`ConfigError`], [`Mistake`] |
//! | `bytesize` | [`ByteSize`]: `"64MiB"` |
//! | `span` | [`Span`]: `"30s"` |
//! | `rate` | [`Rate`]: `"256KiB/s"` or `"unlimited"` |

mod bytesize;
mod error;
mod file;
mod outline;
mod rate;
mod span;

pub use bytesize::ByteSize;
pub use error::{ConfigError, Mistake};
pub use file::{FILE_BYTES_MAX, Loaded, Source, parse, read};
pub use rate::Rate;
pub use span::Span;

/// Why a text is not the unit that it should be. Its message ends with a correct example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {why}; write for example {example}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    why: &'static str,
    example: &'static str,
}

/// Serialises a unit as the text that its `Display` writes, and reads it back through `FromStr`,
/// where a bare non-negative integer stands for the base unit.
macro_rules! unit_serde {
    ($unit:ty, $expecting:literal, $from_integer:expr) => {
        impl serde::Serialize for $unit {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $unit {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                struct Reader;
                impl serde::de::Visitor<'_> for Reader {
                    type Value = $unit;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$unit, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<$unit, E> {
                        let value = u64::try_from(value)
                            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))?;
                        self.visit_u64(value)
                    }
                    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<$unit, E> {
                        let from_integer: fn(u64) -> Option<$unit> = $from_integer;
                        from_integer(value)
                            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))
                    }
                }
                input.deserialize_any(Reader)
            }
        }
    };
}
pub(crate) use unit_serde;
