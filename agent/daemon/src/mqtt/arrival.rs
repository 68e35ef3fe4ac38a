//! Arrival: one accepted publication on its way to the disk.
//!
//! Promise: carries its receipt with it, so that a publication that is lost on the way is never acknowledged.
//! Absent: the limits of a record (the engine refuses what is too long, by [`Receipt::rejected`]).

use bytes::Bytes;
use millrace_model::Lane;

use super::receipt::Receipt;

/// One accepted publication on its way to the disk.
#[derive(Debug)]
pub struct Arrival {
    /// The topic name as the publisher wrote it: not empty, no wildcards, no U+0000, up to 65,535 bytes.
    pub topic: String,
    /// The payload, any bytes.
    pub payload: Bytes,
    /// The quality of service under which it arrived: 0, 1 or 2.
    pub qos: u8,
    /// Whether the broker delivered it as a retained message, or (embedded broker) the publisher asked to retain it.
    pub retained: bool,
    /// Index of the configured subscription that covers the topic; 0 for the embedded broker.
    pub subscription: usize,
    /// The lane that its configuration names.
    pub lane: Lane,
    /// What must be answered when the publication is on the disk, or is known never to get there.
    pub receipt: Receipt,
}
