//! Any bytes as a frame, of agents and of hubs, calls included: they are refused, or they are a frame that can be written and read again.
//!
//! Promise: what decodes also encodes, and the second reading equals the first.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_wire::calling::{Reply, Request};
use millrace_wire::{PeerFrame, decode, encode};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(frame) = PeerFrame::decode(&bytes) {
        let written = frame.encode().expect("a frame that was read can be written");
        assert_eq!(PeerFrame::decode(&written).as_ref(), Ok(&frame), "a frame that was written can be read");
    }
    if let Ok(request) = Request::decode(&bytes) {
        assert_eq!(request.encode().as_ref(), Ok(&bytes), "one request has one form");
    }
    if let Ok(reply) = Reply::decode(&bytes) {
        assert_eq!(reply.encode().as_ref(), Ok(&bytes), "one reply has one form");
    }
    let Ok(frame) = decode(&bytes) else { return };
    let written = encode(&frame).expect("a frame that was read can be written");
    let again = decode(&written).expect("a frame that was written can be read");
    assert_eq!(frame, again);
    assert_eq!(written, encode(&again).expect("the same frame"), "one frame has one packed form");
});
