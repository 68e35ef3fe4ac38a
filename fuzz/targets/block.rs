//! Any bytes as the canonical block of a run of records.
//!
//! Promise: canonical means that what is accepted is written back byte for byte, and each record by itself too.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_model::{block, canon};

fuzz_target!(|data: &[u8]| {
    let Ok(records) = block::decode(&Bytes::copy_from_slice(data)) else { return };
    assert_eq!(block::encode(&records), data, "two forms of one block");
    for record in &records {
        let alone = canon::decode(&Bytes::from(canon::encode(record))).expect("a record of a block");
        assert_eq!(&alone, record);
    }
});
