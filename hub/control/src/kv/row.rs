//! The rows that the state is made of on disk.
//!
//! ```text
//! "l" lease:u64              → ttl_ms
//! "m"                        → revision compacted next_lease budget_bytes
//! "r" revision:u64 place:u32 → deleted:0|1 key value create_revision version lease
//! ```
//! Numbers in keys are big-endian, those in values LEB128. A change stays as long as it is in the window, or its key still
//! stands as it left it.

use std::sync::Arc;

use bytes::Bytes;

use super::history::Event;
use super::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use super::store::Slot;
use super::value::KeyValue;
use crate::codec::{CodecError, Decoder, Encoder};

/// One row set, or removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Which.
    pub key: Bytes,
    /// To what; `None` removes it.
    pub value: Option<Bytes>,
}

/// What is not a key and not a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Meta {
    pub(crate) revision: u64,
    pub(crate) compacted: u64,
    pub(crate) next_lease: u64,
    pub(crate) budget_bytes: u64,
}

pub(crate) enum Row {
    Change(Event),
    Lease { lease: u64, ttl_ms: u64 },
    Meta(Meta),
}

fn change_key(revision: u64, place: u32) -> Bytes {
    [b"r".as_slice(), &revision.to_be_bytes(), &place.to_be_bytes()].concat().into()
}

fn lease_key(lease: u64) -> Bytes {
    [b"l".as_slice(), &lease.to_be_bytes()].concat().into()
}

pub(crate) fn change_row(event: &Event) -> Write {
    let Slot { value, place } = &event.slot;
    let mut row = Encoder::with_capacity(value.key.len() + value.value.len() + 32);
    row.flag(event.is_delete());
    row.bytes(&value.key);
    row.bytes(&value.value);
    row.number(value.create_revision);
    row.number(value.version);
    row.number(value.lease);
    Write { key: change_key(value.mod_revision, *place), value: Some(row.finish()) }
}

pub(crate) fn remove_change(revision: u64, place: u32) -> Write {
    Write { key: change_key(revision, place), value: None }
}

pub(crate) fn lease_row(lease: u64, ttl_ms: u64) -> Write {
    let mut row = Encoder::default();
    row.number(ttl_ms);
    Write { key: lease_key(lease), value: Some(row.finish()) }
}

pub(crate) fn remove_lease(lease: u64) -> Write {
    Write { key: lease_key(lease), value: None }
}

pub(crate) fn meta_row(meta: &Meta) -> Write {
    let mut row = Encoder::default();
    [meta.revision, meta.compacted, meta.next_lease, meta.budget_bytes].iter().for_each(|n| row.number(*n));
    Write { key: Bytes::from_static(b"m"), value: Some(row.finish()) }
}

pub(crate) fn read(key: &[u8], value: Bytes) -> Result<Row, CodecError> {
    let mut row = Decoder::new(value);
    let found = match key.split_first() {
        Some((b'm', [])) => Row::Meta(Meta {
            revision: row.number("revision")?,
            compacted: row.number("compacted")?,
            next_lease: row.number("next lease")?,
            budget_bytes: row.number("budget")?,
        }),
        Some((b'l', rest)) => {
            let lease =
                rest.try_into().map(u64::from_be_bytes).map_err(|_| CodecError::CutOff("a lease's row"))?;
            Row::Lease { lease, ttl_ms: row.number("ttl")? }
        }
        Some((b'r', rest)) => Row::Change(read_change(rest, &mut row)?),
        other => {
            let found = other.map_or(0, |(kind, _)| u64::from(*kind));
            return Err(CodecError::Unknown { what: "row", found });
        }
    };
    row.end()?;
    Ok(found)
}

fn read_change(key: &[u8], row: &mut Decoder) -> Result<Event, CodecError> {
    let cut = CodecError::CutOff("a change's row");
    let (revision, place) = key.split_first_chunk::<8>().ok_or(cut.clone())?;
    let place = u32::from_be_bytes(place.try_into().map_err(|_| cut)?);
    let deleted = row.flag("deleted")?;
    // Copied, so that the rows that were read together are not held together.
    let copied = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
    let value = KeyValue {
        key: copied(row.bytes("key", KEY_BYTES_MAX)?),
        value: copied(row.bytes("value", VALUE_BYTES_MAX)?),
        mod_revision: u64::from_be_bytes(*revision),
        create_revision: row.number("create revision")?,
        version: row.number("version")?,
        lease: row.number("lease")?,
    };
    if deleted != (value.version == 0) {
        return Err(CodecError::Unknown { what: "version of a change", found: value.version });
    }
    Ok(Event { slot: Slot { value: Arc::new(value), place }, previous: None })
}
