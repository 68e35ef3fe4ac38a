//! Any bytes as items of a gossip datagram: they are refused, or they are items that can be written and read again.
//!
//! Promise: what decodes also encodes, the second reading equals the first, and each reading takes something.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_wire::gossip::{decode, encode};

/// The kinds of fields that items have: numbers, texts, lists, what may be missing.
type Item = (u64, Option<u16>, Vec<String>, bool, Option<(u64, u8)>);

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    loop {
        let before = rest.len();
        let Ok(item) = decode::<Item>(&mut rest) else { return };
        assert!(rest.len() < before, "an item is at least its length");
        let mut written = Vec::new();
        encode(&item, &mut written).expect("an item that was read can be written: the packed form is the shortest");
        assert_eq!(decode::<Item>(written.as_slice()).as_ref(), Ok(&item));
    }
});
