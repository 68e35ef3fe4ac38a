//! The wire: buffered bytes on both sides of a socket, cut into packets.
//!
//! Promise: the waiting methods are safe to cancel, so they can stand in a `select!`; buffers grow with what has
//! arrived, not with what was announced.
//! Absent: which packets make sense when.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::codec::{self, CodecError, Outgoing};
use super::packet::{Packet, Version};

/// Bytes asked of the socket at once while little arrives. An idle connection holds one such buffer.
const READ_BYTES_IDLE: usize = 4 << 10;

/// Bytes asked of the socket at once while a burst or a large packet arrives.
const READ_BYTES_BUSY: usize = 64 << 10;

/// Bytes that may wait for a slow reader before nothing more is taken from it.
const OUTPUT_BYTES_HIGH: usize = 128 << 10;

/// Empty output buffers larger than this are given back.
const OUTPUT_BYTES_KEPT: usize = 16 << 10;

/// What comes in.
#[derive(Debug)]
pub(crate) struct Inlet<R> {
    reader: R,
    buffer: BytesMut,
    pub(crate) version: Version,
    pub(crate) frame_bytes_max: usize,
    busy: bool,
}

impl<R: AsyncRead + Unpin + Send> Inlet<R> {
    pub(crate) fn new(reader: R, version: Version, frame_bytes_max: usize) -> Self {
        Self { reader, buffer: BytesMut::new(), version, frame_bytes_max, busy: false }
    }

    /// The next whole packet of what has been read already.
    pub(crate) fn next_packet(&mut self) -> Result<Option<Packet>, CodecError> {
        match self.next_frame()? {
            Some(frame) => codec::decode(self.version, frame).map(Some),
            None => Ok(None),
        }
    }

    /// The next whole frame of what has been read already, undecoded.
    pub(crate) fn next_frame(&mut self) -> Result<Option<BytesMut>, CodecError> {
        let length = codec::frame_bytes(&self.buffer, self.frame_bytes_max)?;
        Ok(length.map(|length| self.buffer.split_to(length)))
    }

    /// The first byte of the next packet, as soon as it is there.
    pub(crate) fn first_byte(&self) -> Option<u8> {
        self.buffer.first().copied()
    }

    /// Reads what is there, at least one byte. Zero means that the other side has closed.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        let chunk = if self.busy { READ_BYTES_BUSY } else { READ_BYTES_IDLE };
        if !self.busy && self.buffer.is_empty() && self.buffer.capacity() > 2 * READ_BYTES_IDLE {
            self.buffer = BytesMut::new();
        }
        if self.buffer.capacity() - self.buffer.len() < chunk / 2 {
            self.buffer.reserve(chunk);
        }
        let read = self.reader.read_buf(&mut self.buffer).await?;
        self.busy = read >= READ_BYTES_IDLE / 2;
        Ok(read)
    }

    /// Reads and forgets until the other side closes.
    pub(crate) async fn drain(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }
}

/// What goes out.
#[derive(Debug)]
pub(crate) struct Outlet<W> {
    writer: W,
    buffer: BytesMut,
    pub(crate) version: Version,
    unflushed: bool,
}

impl<W: AsyncWrite + Unpin + Send> Outlet<W> {
    pub(crate) fn new(writer: W, version: Version) -> Self {
        Self { writer, buffer: BytesMut::new(), version, unflushed: false }
    }

    /// Puts a packet into the buffer.
    pub(crate) fn push(&mut self, packet: &Outgoing) -> Result<(), CodecError> {
        codec::encode(self.version, packet, &mut self.buffer)
    }

    /// Whether the other side reads too slowly for more to be put in.
    pub(crate) fn is_clogged(&self) -> bool {
        self.buffer.len() >= OUTPUT_BYTES_HIGH
    }

    /// Whether [`Outlet::drain`] has something to do.
    pub(crate) fn is_pending(&self) -> bool {
        self.unflushed || !self.buffer.is_empty()
    }

    /// Hands some of the buffer to the socket.
    pub(crate) async fn drain(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            self.writer.flush().await?;
            self.unflushed = false;
            return Ok(());
        }
        let written = self.writer.write_buf(&mut self.buffer).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        if self.buffer.is_empty() && self.buffer.capacity() > OUTPUT_BYTES_KEPT {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    /// Hands everything to the socket.
    pub(crate) async fn drain_all(&mut self) -> io::Result<()> {
        while self.is_pending() {
            self.drain().await?;
        }
        Ok(())
    }

    /// Everything, then the end of the stream.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.drain_all().await?;
        self.writer.shutdown().await
    }
}
