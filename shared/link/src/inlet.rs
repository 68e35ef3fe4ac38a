//! The receiving half of a stream: exactly one frame at a time.
//!
//! Promise: a frame's length is checked before memory is taken for it, and memory grows with what arrives. A clean
//! end and an end inside a frame are different answers.
//! Absent: the codec. A frame is bytes whose first four are the length (big-endian) of what follows.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use crate::limits::FRAME_FIRST_ALLOCATION_BYTES;
use crate::outlet::code_of;
use crate::{CloseCode, CloseReason};

const LENGTH_BYTES: usize = 4;
/// Acks, credit and single readings are shorter.
const SMALL_FRAME_BYTES: usize = 256;

/// Receives frames of the peer. Dropped early, it tells the peer to stop.
#[derive(Debug)]
pub struct Inlet {
    stream: RecvStream,
    arrived: BytesMut,
    ended: bool,
    farewell: Arc<OnceLock<CloseReason>>,
}

/// Why no frame came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The peer announced a frame above the limit.
    #[error("the peer announced a frame of {announced} bytes, at most {limit} are taken")]
    TooLong {
        /// Size of the announced frame, its length field included.
        announced: usize,
        /// What the caller allows.
        limit: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame, after {arrived} of {announced} bytes")]
    CutShort {
        /// Bytes of the frame that arrived.
        arrived: usize,
        /// Bytes that it should have had; 4 when not even its length arrived.
        announced: usize,
    },
    /// The peer cut the stream.
    #[error("the peer cut the stream: {0:?}")]
    Cut(CloseCode),
    /// The connection is over.
    #[error(transparent)]
    Closed(CloseReason),
}

impl Inlet {
    pub(crate) fn new(stream: RecvStream, farewell: Arc<OnceLock<CloseReason>>) -> Self {
        Self { stream, arrived: BytesMut::new(), ended: false, farewell }
    }

    /// The next frame with its length field, at most `frame_bytes_max` long in all; `None` when the peer ended the
    /// stream between frames. Dropping the future loses nothing: what arrived stays for the next call.
    ///
    /// # Errors
    /// When the frame is too long (its length is then read, and nothing more), the stream ended inside it, or
    /// the connection is over. After an error the stream is of no use.
    pub async fn next(&mut self, frame_bytes_max: usize) -> Result<Option<Bytes>, ReceiveError> {
        let Some(length) = self.length().await? else {
            return Ok(None);
        };
        let announced = LENGTH_BYTES.saturating_add(length);
        if announced > frame_bytes_max {
            return Err(ReceiveError::TooLong { announced, limit: frame_bytes_max });
        }
        if !self.fill(announced).await? {
            return Err(ReceiveError::CutShort { arrived: self.arrived.len(), announced });
        }
        if self.arrived.len() > announced {
            // What was peeked at reached into the next frame.
            return Ok(Some(self.arrived.split_to(announced).freeze()));
        }
        Ok(Some(std::mem::take(&mut self.arrived).freeze()))
    }

    /// The first bytes of the next frame, which stay for [`Self::next`]: enough to see what it is before its memory is taken.
    /// `None` when the peer ended the stream between frames. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the stream ended inside them, or the connection is over. `N` is at least the length field's 4.
    pub async fn peek<const N: usize>(&mut self) -> Result<Option<[u8; N]>, ReceiveError> {
        if !self.fill(N).await? {
            return match self.arrived.len() {
                0 => Ok(None),
                arrived => Err(ReceiveError::CutShort { arrived, announced: N }),
            };
        }
        Ok(self.arrived.first_chunk().copied())
    }

    /// Tells the peer that nothing more of this stream is wanted.
    pub fn stop(&mut self, code: CloseCode) {
        // Fails only when the stream is over already.
        let _ = self.stream.stop(code.varint());
    }

    async fn length(&mut self) -> Result<Option<usize>, ReceiveError> {
        if !self.fill(LENGTH_BYTES).await? {
            return match self.arrived.len() {
                0 => Ok(None),
                arrived => Err(ReceiveError::CutShort { arrived, announced: LENGTH_BYTES }),
            };
        }
        let length = self.arrived.first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes));
        Ok(Some(usize::try_from(length).unwrap_or(usize::MAX)))
    }

    /// Reads until `total` bytes have arrived; false when the stream ended before. Never reads beyond them, so that
    /// a frame's memory belongs to it alone.
    async fn fill(&mut self, total: usize) -> Result<bool, ReceiveError> {
        while let Some(missing) = total.checked_sub(self.arrived.len()).filter(|missing| *missing > 0) {
            if self.ended {
                return Ok(false);
            }
            let piece = self.stream.read_chunk(missing, true).await;
            let Some(piece) = piece.map_err(|error| self.refused(error))? else {
                self.ended = true;
                return Ok(false);
            };
            if self.arrived.capacity() - self.arrived.len() < piece.bytes.len() {
                // Doubling, so that a frame is copied at most once more than it must be; small frames find
                // room for all of them beside their length.
                let step = FRAME_FIRST_ALLOCATION_BYTES.max(self.arrived.len());
                self.arrived.reserve(missing.min(step).max(SMALL_FRAME_BYTES));
            }
            self.arrived.extend_from_slice(&piece.bytes);
        }
        Ok(true)
    }

    fn refused(&self, error: ReadError) -> ReceiveError {
        match error {
            ReadError::Reset(code) => ReceiveError::Cut(code_of(code)),
            ReadError::ConnectionLost(error) => {
                ReceiveError::Closed(CloseReason::of(&error, self.farewell.get()))
            }
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                ReceiveError::Cut(CloseCode::Unknown(0))
            }
        }
    }
}
