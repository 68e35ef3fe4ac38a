//! Crockford's base 32: text that survives being read aloud, typed by hand and folded by mail programs.
//!
//! Promise: upper and lower case, `O` for `0`, `I` and `L` for `1`, spaces, line ends and hyphens do not matter
//! when reading; what is written is lower case.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// `bytes` as text, five bits to a character, the last one padded with zero bits.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut push = |value: u32| {
        let letter = ALPHABET.get((value & 31) as usize).copied().unwrap_or(b'0');
        text.push(char::from(letter));
    };
    for byte in bytes {
        bits = (bits << 8 | u32::from(*byte)) & 0xfff;
        held += 8;
        while held >= 5 {
            held -= 5;
            push(bits >> held);
        }
    }
    if held > 0 {
        push(bits << (5 - held));
    }
    text
}

/// The bytes of `text`, or the first character that has no meaning.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, char> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for letter in text.chars().filter(|letter| !letter.is_whitespace() && *letter != '-') {
        bits = (bits << 5 | value(letter).ok_or(letter)?) & 0xfff;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap_or(0));
        }
    }
    Ok(bytes)
}

fn value(letter: char) -> Option<u32> {
    let letter = match letter.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    };
    let place = ALPHABET.iter().position(|known| char::from(*known) == letter)?;
    u32::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_however_it_was_typed() {
        for length in 0..40_u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            let text = encode(&bytes);
            assert_eq!(decode(&text).unwrap(), bytes);
            assert_eq!(decode(&text.to_uppercase().replace('0', "O").replace('1', "l")).unwrap(), bytes);
        }
        assert_eq!(encode(b"\xff\x00\x10"), "zw010");
        assert_eq!(decode("zw\n 0-10").unwrap(), b"\xff\x00\x10");
        assert_eq!(decode("zwu"), Err('u'));
    }
}
