//! Bodies: a canonical block as it is stored and sent, plain or in one zstd frame.
//!
//! Promise: the size that a frame's header states is checked before anything is allocated for it, and never
//! exceeded. Absent: what a block says ([`millrace_model::block`]).

use bytes::Bytes;
use millrace_model::Encoding;
use millrace_model::limits::SEGMENT_BYTES_MAX;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

/// Compresses bodies, keeping its working memory from one to the next.
pub(crate) struct Encoder {
    level: i32,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Encoder {
    pub(crate) const fn new(level: i32) -> Self {
        Self { level, zstd: None }
    }

    /// `block` as it is stored: compressed when that is smaller.
    pub(crate) fn encode(&mut self, block: Vec<u8>) -> (Encoding, Bytes) {
        match self.compress(&block) {
            Some(body) if body.len() < block.len() => (Encoding::Zstd, Bytes::from(body)),
            _ => (Encoding::Plain, Bytes::from(block)),
        }
    }

    fn compress(&mut self, block: &[u8]) -> Option<Vec<u8>> {
        if self.zstd.is_none() {
            self.zstd = zstd::bulk::Compressor::new(self.level).ok();
        }
        // What does not compress (no memory, a level that the library refuses) is stored as it is.
        let mut body = self.zstd.as_mut()?.compress(block).ok()?;
        body.shrink_to_fit();
        Some(body)
    }
}

/// Why a body does not hold a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body has {0} bytes, over the limit of {SEGMENT_BYTES_MAX}")]
    Large(u64),
    #[error("the body is not one zstd frame that states its size")]
    Frame,
    #[error("the body does not decompress: {0}")]
    Zstd(String),
}

/// The block in `body`.
pub(crate) fn expand(encoding: Encoding, body: &Bytes) -> Result<Bytes, BodyError> {
    if body.len() > SEGMENT_BYTES_MAX {
        return Err(BodyError::Large(body.len() as u64));
    }
    if encoding == Encoding::Plain {
        return Ok(body.clone());
    }
    let Ok(Some(size)) = get_frame_content_size(body) else { return Err(BodyError::Frame) };
    let Some(limit) = usize::try_from(size).ok().filter(|size| *size <= SEGMENT_BYTES_MAX) else {
        return Err(BodyError::Large(size));
    };
    if find_frame_compressed_size(body) != Ok(body.len()) {
        return Err(BodyError::Frame);
    }
    let block = zstd::bulk::decompress(body, limit).map_err(|error| BodyError::Zstd(error.to_string()))?;
    if block.len() == limit { Ok(Bytes::from(block)) } else { Err(BodyError::Frame) }
}

/// The number that stands for an encoding in the database.
pub(crate) const fn code(encoding: Encoding) -> i64 {
    match encoding {
        Encoding::Plain => 0,
        Encoding::Zstd => 1,
    }
}

/// The encoding with this number.
pub(crate) const fn from_code(code: i64) -> Option<Encoding> {
    match code {
        0 => Some(Encoding::Plain),
        1 => Some(Encoding::Zstd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_and_is_stored_in_the_smaller_form() {
        let mut encoder = Encoder::new(3);
        let (encoding, body) = encoder.encode(vec![7; 5_000]);
        assert_eq!(encoding, Encoding::Zstd);
        assert_eq!(expand(encoding, &body), Ok(Bytes::from(vec![7; 5_000])));
        let (encoding, body) = encoder.encode(vec![1, 2, 3]);
        assert_eq!((encoding, &body[..]), (Encoding::Plain, &[1, 2, 3][..]));
    }

    #[test]
    fn a_frame_that_states_no_size_or_too_much_is_refused_before_it_is_expanded() {
        let bomb = Bytes::from(zstd::bulk::compress(&vec![0; SEGMENT_BYTES_MAX + 1], 1).unwrap());
        assert_eq!(expand(Encoding::Zstd, &bomb), Err(BodyError::Large(SEGMENT_BYTES_MAX as u64 + 1)));
        let mut silent = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        silent.include_contentsize(false).unwrap();
        std::io::Write::write_all(&mut silent, &[0; 100]).unwrap();
        let silent = Bytes::from(silent.finish().unwrap());
        assert_eq!(expand(Encoding::Zstd, &silent), Err(BodyError::Frame));
        let twice = zstd::bulk::compress(&[0; 100], 1).unwrap().repeat(2);
        assert_eq!(expand(Encoding::Zstd, &Bytes::from(twice)), Err(BodyError::Frame));
        assert_eq!(expand(Encoding::Zstd, &Bytes::from_static(b"nonsense")), Err(BodyError::Frame));
    }
}
