//! Receipts that somebody else made.
//!
//! Promise: what is read as a receipt is within its limits and writes itself back to a file that reads as the same one; checking it
//! against a CA ends with an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_link::Receipt;

/// The CA of the seed, so that a receipt which was not changed holds.
const CA: &str = include_str!("../seeds/receipt_ca.pem");

fuzz_target!(|data: &[u8]| {
    let Ok(receipt) = Receipt::from_json(data) else { return };
    let text = receipt.to_json().expect("what was read is within its limits");
    assert_eq!(Receipt::from_json(text.as_bytes()).expect("what was written can be read"), receipt);
    // Most do not hold, and that is an answer.
    let _ = receipt.check(CA);
});
