//! The sending half of a stream: whole frames, in order.
//!
//! Promise: frames leave whole or the stream is cut visibly. A `send` that is dropped half-way leaves its rest in the
//! outlet, and the next call sends it first.
//! Absent: the codec. A frame is bytes whose first four are the length of what follows.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quinn::{SendStream, StoppedError, WriteError};

use crate::{CloseCode, CloseReason};

/// Sends frames to the peer. Dropped between frames it ends the stream cleanly; dropped inside a frame, it cuts it.
#[derive(Debug)]
pub struct Outlet {
    stream: SendStream,
    pending: Bytes,
    farewell: Arc<OnceLock<CloseReason>>,
}

/// Why a frame was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer does not want more of this stream.
    #[error("the peer stopped reading the stream: {0:?}")]
    Stopped(CloseCode),
    /// The stream was finished or cut before.
    #[error("the stream was finished before")]
    Finished,
    /// The connection is over.
    #[error(transparent)]
    Closed(CloseReason),
}

impl Outlet {
    pub(crate) fn new(stream: SendStream, farewell: Arc<OnceLock<CloseReason>>) -> Self {
        Self { stream, pending: Bytes::new(), farewell }
    }

    /// Hands one frame (or several in one piece) to the road. Returns when all of it is in the send window, which
    /// is not yet at the peer. Waits while the window or the peer is full.
    ///
    /// Dropping the future does not take the frame back: what is left of it goes with the next call.
    ///
    /// # Errors
    /// When the peer stopped reading, the stream was finished, or the connection ended.
    pub async fn send(&mut self, frame: Bytes) -> Result<(), SendError> {
        self.flush().await?;
        self.pending = frame;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), SendError> {
        while !self.pending.is_empty() {
            let written = self.stream.write_chunks(std::slice::from_mut(&mut self.pending)).await;
            written.map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    /// Sends this stream's frames before those of streams with a lower priority, from now on.
    pub fn set_priority(&self, priority: i32) {
        // Fails only on a finished stream, which has nothing to send.
        let _ = self.stream.set_priority(priority);
    }

    /// Sends what is left and ends the stream cleanly.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn finish(&mut self) -> Result<(), SendError> {
        self.flush().await?;
        self.stream.finish().map_err(|_| SendError::Finished)
    }

    /// Ends the stream cleanly and waits until the peer's machine has all of it (not: its program).
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn delivered(&mut self) -> Result<(), SendError> {
        match self.finish().await {
            Ok(()) | Err(SendError::Finished) => {}
            Err(error) => return Err(error),
        }
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(SendError::Stopped(code_of(code))),
            Err(StoppedError::ConnectionLost(error)) => {
                Err(SendError::Closed(CloseReason::of(&error, self.farewell.get())))
            }
            Err(StoppedError::ZeroRttRejected) => Err(SendError::Finished),
        }
    }

    /// Waits until the peer wants nothing of this stream any more: it said so, or the connection is over. Worth asking while an
    /// answer is being made, before the stream is finished.
    pub fn unwanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.stream.stopped();
        async move { drop(stopped.await) }
    }

    /// Cuts the stream: what has not arrived is dropped, and the peer sees the code.
    pub fn cut(&mut self, code: CloseCode) {
        self.pending = Bytes::new();
        // Fails only when the stream is finished already.
        let _ = self.stream.reset(code.varint());
    }

    fn refused(&self, error: WriteError) -> SendError {
        match error {
            WriteError::Stopped(code) => SendError::Stopped(code_of(code)),
            WriteError::ConnectionLost(error) => {
                SendError::Closed(CloseReason::of(&error, self.farewell.get()))
            }
            WriteError::ClosedStream | WriteError::ZeroRttRejected => SendError::Finished,
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.cut(CloseCode::Internal);
        }
    }
}

pub(crate) fn code_of(code: quinn::VarInt) -> CloseCode {
    CloseCode::from_number(u32::try_from(code.into_inner()).unwrap_or(u32::MAX))
}
