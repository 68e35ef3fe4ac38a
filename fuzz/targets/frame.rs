//! Any bytes as a frame: they are refused, or they are a frame that can be written and read again.
//!
//! Promise: what decodes also encodes, and the second reading equals the first.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_wire::{decode, encode};

fuzz_target!(|data: &[u8]| {
    let Ok(frame) = decode(&Bytes::copy_from_slice(data)) else { return };
    let written = encode(&frame).expect("a frame that was read can be written");
    let again = decode(&written).expect("a frame that was written can be read");
    assert_eq!(frame, again);
    assert_eq!(written, encode(&again).expect("the same frame"), "one frame has one packed form");
});
