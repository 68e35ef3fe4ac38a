//! Whatever the form check lets through goes to serde_cbor, which was not written for hostile input.
//!
//! Promise: no panic, no stack without end, no allocation beyond what the bytes justify (the run limits memory), whatever
//! type is asked for.
#![no_main]

use bytes::{BufMut, Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use millrace_wire::limits::VERSION;
use millrace_wire::{decode, strict};

/// Frame kinds of version 1.
const KINDS: std::ops::RangeInclusive<u8> = 1..=25;

fuzz_target!(|body: &[u8]| {
    if strict::check(body).is_err() {
        return;
    }
    let _any = serde_cbor::from_slice::<serde_cbor::Value>(body);
    for kind in KINDS {
        let _frame = decode(&framed(kind, body));
    }
});

fn framed(kind: u8, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(6 + body.len());
    frame.put_u32(u32::try_from(body.len() + 2).expect("the fuzzer's inputs are small"));
    frame.put_u8(VERSION);
    frame.put_u8(kind);
    frame.put_slice(body);
    frame.freeze()
}
