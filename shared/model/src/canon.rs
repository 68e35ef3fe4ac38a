//! The canonical bytes of one record: what is checked, and what a tail row holds.
//!
//! ```text
//! record := version(=1) kind flags wall:zigzag mono:varint [source−wall:zigzag] topic payload
//! topic, payload := length:varint bytes            version, kind, flags := one byte each
//! ```
//!
//! Promise: one record has one encoding; decoding refuses every other, reads nothing past the end, and
//! allocates no more than the input is long.

use bytes::Bytes;

use crate::limits::{PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::topic::TopicError;
use crate::varint::{Cursor, put_i64, put_u64};
use crate::{Flags, Kind, Record, Topic, Wall};

const VERSION: u8 = 1;

/// Why bytes are not the canonical form of anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early.
    #[error("the bytes end in the middle of a field")]
    Short,
    /// They go on after the end.
    #[error("{0} bytes follow after the end")]
    Trailing(usize),
    /// A number is too large, or written in more bytes than it needs.
    #[error("an integer is not in its shortest form")]
    Varint,
    /// They were written by a newer program, or are damaged.
    #[error("format version {0} is not known: this program reads version {VERSION}")]
    Version(u8),
    /// A length is over its limit.
    #[error("{what} of {found} is over the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What the bytes say.
        found: u64,
    },
    /// The topic is not UTF-8, or no topic.
    #[error("the topic is malformed")]
    Topic,
    /// A column refers to something that is not there, or the columns disagree.
    #[error("the columns of the run do not fit together")]
    Columns,
}

impl From<TopicError> for DecodeError {
    fn from(_: TopicError) -> Self {
        Self::Topic
    }
}

/// Appends the canonical bytes of `record` to `out`.
pub fn encode_into(record: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(&[VERSION, record.kind.0, flags(record).0]);
    put_i64(out, record.wall.0);
    put_u64(out, record.mono);
    if let Some(source) = record.source {
        put_i64(out, source.0.wrapping_sub(record.wall.0));
    }
    put_u64(out, record.topic.as_str().len() as u64);
    out.extend_from_slice(record.topic.as_str().as_bytes());
    put_u64(out, record.payload.len() as u64);
    out.extend_from_slice(&record.payload);
}

/// The canonical bytes of `record`.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.weight());
    encode_into(record, &mut out);
    out
}

/// The record with these canonical bytes; its payload shares them.
///
/// # Errors
/// When the bytes are not exactly what [`encode`] would write.
pub fn decode(bytes: &Bytes) -> Result<Record, DecodeError> {
    let mut cursor = Cursor(bytes);
    let version = cursor.u8()?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let kind = Kind(cursor.u8()?);
    let flags = Flags(cursor.u8()?);
    let wall = Wall(cursor.i64()?);
    let mono = cursor.u64()?;
    let source =
        if flags.has(Flags::SOURCE_TIME) { Some(Wall(cursor.i64()?.wrapping_add(wall.0))) } else { None };
    let length = cursor.length("topic", TOPIC_BYTES_MAX)?;
    let topic = decode_topic(cursor.take(length)?)?;
    let length = cursor.length("payload", PAYLOAD_BYTES_MAX)?;
    let payload = bytes.slice_ref(cursor.take(length)?);
    cursor.end()?;
    Ok(Record { kind, flags, topic, payload, wall, mono, source })
}

pub(crate) fn decode_topic(bytes: &[u8]) -> Result<Topic, DecodeError> {
    Ok(Topic::new(std::str::from_utf8(bytes).map_err(|_| DecodeError::Topic)?)?)
}

/// The flags as they are written: whether there is a source time is told by the record, not by the caller.
pub(crate) fn flags(record: &Record) -> Flags {
    let bit = Flags::SOURCE_TIME.0;
    Flags(if record.source.is_some() { record.flags.0 | bit } else { record.flags.0 & !bit })
}
