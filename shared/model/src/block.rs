//! The canonical bytes of a run of records, column by column, so that what is alike stands together and
//! compresses well.
//!
//! ```text
//! block    := version(=1) count:varint kinds flags topics index walls monos sources lengths payloads
//! kinds    := count bytes                     flags := count bytes
//! topics   := n:varint (length:varint bytes)ⁿ, in order of first appearance
//! index    := one varint per record, into topics
//! walls    := zigzag of the difference to the record before (the first: to 0)
//! monos    := zigzag of (difference of mono − difference of wall) to the record before (the first: mono itself)
//! sources  := zigzag of (source − wall), only for records whose flag says so
//! lengths  := one varint per record           payloads := all payloads, one after the other
//! ```
//!
//! Promise: one run has one encoding, on every machine; decoding refuses every other and allocates no more
//! than a small multiple of the input.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::canon::{DecodeError, decode_topic, flags};
use crate::limits::{PAYLOAD_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_RECORDS_MAX, TOPIC_BYTES_MAX};
use crate::varint::{Cursor, put_i64, put_u64};
use crate::{Flags, Kind, Record, Topic, Wall};

const VERSION: u8 = 1;

/// The canonical block of `records`.
#[must_use]
pub fn encode(records: &[Record]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.iter().map(|r| r.payload.len() + 16).sum::<usize>() + 64);
    out.push(VERSION);
    put_u64(&mut out, records.len() as u64);
    out.extend(records.iter().map(|record| record.kind.0));
    out.extend(records.iter().map(|record| flags(record).0));
    encode_topics(records, &mut out);
    encode_times(records, &mut out);
    for record in records {
        put_u64(&mut out, record.payload.len() as u64);
    }
    for record in records {
        out.extend_from_slice(&record.payload);
    }
    out
}

fn encode_topics(records: &[Record], out: &mut Vec<u8>) {
    let mut known: BTreeMap<&Topic, u64> = BTreeMap::new();
    let mut names: Vec<&Topic> = Vec::new();
    let mut index = Vec::with_capacity(records.len());
    for record in records {
        let place = *known.entry(&record.topic).or_insert_with(|| {
            names.push(&record.topic);
            names.len() as u64 - 1
        });
        index.push(place);
    }
    put_u64(out, names.len() as u64);
    for name in names {
        put_u64(out, name.as_str().len() as u64);
        out.extend_from_slice(name.as_str().as_bytes());
    }
    for place in index {
        put_u64(out, place);
    }
}

fn encode_times(records: &[Record], out: &mut Vec<u8>) {
    let mut wall = 0_i64;
    for record in records {
        put_i64(out, record.wall.0.wrapping_sub(wall));
        wall = record.wall.0;
    }
    let (mut wall, mut mono) = (None, 0_i64);
    for record in records {
        let passed = wall.map_or(0, |wall| record.wall.0.wrapping_sub(wall));
        let now = record.mono.cast_signed();
        put_i64(out, now.wrapping_sub(mono).wrapping_sub(passed));
        (wall, mono) = (Some(record.wall.0), now);
    }
    for record in records {
        if let Some(source) = record.source {
            put_i64(out, source.0.wrapping_sub(record.wall.0));
        }
    }
}

/// The records of a canonical block; their payloads share its bytes.
///
/// # Errors
/// When the bytes are not exactly what [`encode`] would write, or are over the limits of a segment.
pub fn decode(bytes: &Bytes) -> Result<Vec<Record>, DecodeError> {
    if bytes.len() > SEGMENT_BYTES_MAX {
        let found = bytes.len() as u64;
        return Err(DecodeError::Limit { what: "block", limit: SEGMENT_BYTES_MAX, found });
    }
    let mut cursor = Cursor(bytes);
    let version = cursor.u8()?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let count = cursor.length("record count", SEGMENT_RECORDS_MAX)?;
    let kinds = cursor.take(count)?;
    let flags = cursor.take(count)?;
    let topics = decode_topics(&mut cursor, count)?;
    let times = decode_times(&mut cursor, flags)?;
    let lengths = decode_lengths(&mut cursor, count)?;
    let mut records = Vec::with_capacity(count);
    let columns = kinds.iter().zip(flags).zip(topics).zip(times).zip(lengths);
    for ((((kind, flags), topic), (wall, mono, source)), length) in columns {
        let payload = bytes.slice_ref(cursor.take(length)?);
        records.push(Record { kind: Kind(*kind), flags: Flags(*flags), topic, payload, wall, mono, source });
    }
    cursor.end()?;
    Ok(records)
}

fn decode_topics(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<Topic>, DecodeError> {
    let distinct = cursor.length("topic count", count)?;
    let mut names = Vec::with_capacity(distinct);
    let mut seen: BTreeMap<Topic, ()> = BTreeMap::new();
    for _ in 0..distinct {
        let length = cursor.length("topic", TOPIC_BYTES_MAX)?;
        let name = decode_topic(cursor.take(length)?)?;
        if seen.insert(name.clone(), ()).is_some() {
            return Err(DecodeError::Columns);
        }
        names.push(name);
    }
    let mut topics = Vec::with_capacity(count);
    let mut used = 0;
    for _ in 0..count {
        let place = cursor.length("topic index", count)?;
        // First appearances come in order, and no name stands there unused: one run, one encoding.
        if place > used {
            return Err(DecodeError::Columns);
        }
        if place == used {
            used += 1;
        }
        topics.push(names.get(place).ok_or(DecodeError::Columns)?.clone());
    }
    if used == distinct { Ok(topics) } else { Err(DecodeError::Columns) }
}

type Times = (Wall, u64, Option<Wall>);

fn decode_times(cursor: &mut Cursor<'_>, flags: &[u8]) -> Result<Vec<Times>, DecodeError> {
    let mut times: Vec<Times> = Vec::with_capacity(flags.len());
    let mut wall = 0_i64;
    for _ in flags {
        wall = wall.wrapping_add(cursor.i64()?);
        times.push((Wall(wall), 0, None));
    }
    let (mut before, mut mono) = (None, 0_i64);
    for (wall, slot, _) in &mut times {
        let passed = before.map_or(0, |before| wall.0.wrapping_sub(before));
        mono = mono.wrapping_add(cursor.i64()?).wrapping_add(passed);
        *slot = mono.cast_unsigned();
        before = Some(wall.0);
    }
    for ((wall, _, source), flags) in times.iter_mut().zip(flags) {
        if Flags(*flags).has(Flags::SOURCE_TIME) {
            *source = Some(Wall(cursor.i64()?.wrapping_add(wall.0)));
        }
    }
    Ok(times)
}

fn decode_lengths(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<usize>, DecodeError> {
    (0..count).map(|_| cursor.length("payload", PAYLOAD_BYTES_MAX)).collect()
}
