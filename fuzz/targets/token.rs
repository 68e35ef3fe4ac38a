//! Join tokens that somebody typed or forged.
//!
//! Promise: a token that is accepted writes itself back to a text that reads as the same token. Half of the work goes past
//! the check sum, which would otherwise stop every input at the door.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_link::JoinToken;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
    let mut sealed = data.to_vec();
    sealed.extend_from_slice(&blake3::hash(data).as_bytes()[..4]);
    read(&format!("millrace1.{}", base32(&sealed)));
});

fn read(text: &str) {
    let Ok(token) = text.parse::<JoinToken>() else { return };
    token.check().expect("a token that was read is within its limits");
    let again: JoinToken = token.to_string().parse().expect("a token that was written can be read");
    assert_eq!(token.expires.unix_seconds(), again.expires.unix_seconds());
    // The text has whole seconds; at the end of time microseconds saturate.
    assert_eq!(JoinToken { expires: again.expires, ..token }, again);
}

fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect::<Vec<_>>();
    let letter = |five: &[u8]| {
        let value = (0..5).fold(0, |value, at| value << 1 | five.get(at).copied().unwrap_or(0));
        char::from(ALPHABET[usize::from(value)])
    };
    bits.chunks(5).map(letter).collect()
}
