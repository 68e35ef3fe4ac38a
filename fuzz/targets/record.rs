//! Any bytes as the canonical form of one record.
//!
//! Promise: canonical means that what is accepted is written back byte for byte.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_model::canon;
use millrace_model::notice::Gap;

fuzz_target!(|data: &[u8]| {
    let Ok(record) = canon::decode(&Bytes::copy_from_slice(data)) else { return };
    assert_eq!(canon::encode(&record), data, "two forms of one record");
    // What Millrace itself reads out of payloads must not fall over either.
    let _gap = Gap::from_record(&record);
});
