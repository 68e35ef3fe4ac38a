//! A snapshot as openraft moves it: a file, read and written in chunks.
//!
//! Promise: never the whole snapshot in memory. What is sent was verified just before; what was received is verified before
//! the consensus hears of it: a damaged one is refused, which costs a transfer, and not met when it is installed, which would
//! cost the node.
//! Absent: what is in it (`millrace_journal::decisions`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use millrace_journal::decisions::{inspect_snapshot, inspect_snapshot_file};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::raft::shelf::{Meta, Shelf, Verified};

/// A file on its way.
pub(crate) struct SnapshotFile {
    file: File,
    way: Way,
}

enum Way {
    Out(Arc<Shelf>),
    In { path: PathBuf, verifying: Option<JoinHandle<io::Result<Verified>>>, verified: Option<Box<Verified>> },
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFile").finish_non_exhaustive()
    }
}

impl SnapshotFile {
    /// One that lies on the shelf.
    pub(crate) fn outgoing(file: std::fs::File, shelf: Arc<Shelf>) -> Self {
        Self { file: File::from_std(file), way: Way::Out(shelf) }
    }

    /// An empty one, to receive into.
    pub(crate) async fn incoming(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).await?;
        Ok(Self { file, way: Way::In { path: path.to_owned(), verifying: None, verified: None } })
    }

    /// Verifies one that is to be sent. If it is not what `meta` speaks of, the shelf gives it up, so that another is built.
    pub(crate) async fn verify(&self, meta: &Meta) -> io::Result<()> {
        let Way::Out(shelf) = &self.way else { return Err(io::Error::other("it is being received")) };
        let file = self.file.try_clone().await?.into_std().await;
        let found = spawn_blocking(move || verified(inspect_snapshot_file(file))).await;
        let found = found.map_err(io::Error::other)?;
        let found = found.and_then(|found| {
            let is_it = found.meta.snapshot_id == meta.snapshot_id;
            if is_it { Ok(()) } else { Err(io::Error::other("it is another one")) }
        });
        found.inspect_err(|error| {
            tracing::error!(%error, "the snapshot of the control state is damaged here and not sent: another is built");
            shelf.discard(&meta.snapshot_id);
        })
    }

    /// One that was received, flushed and verified: where it lies, and what it is.
    pub(crate) async fn received(mut self) -> io::Result<(PathBuf, Verified)> {
        // Done before, unless it was received by other means than openraft's.
        self.shutdown().await?;
        match self.way {
            Way::In { path, verified: Some(verified), .. } => Ok((path, *verified)),
            _ => Err(io::Error::other("it was not received")),
        }
    }
}

fn verified(
    found: Result<millrace_journal::decisions::SnapshotSummary, millrace_journal::decisions::SnapshotError>,
) -> io::Result<Verified> {
    Verified::of(found.map_err(io::Error::other)?).map_err(io::Error::other)
}

fn flush_and_verify(path: &Path) -> io::Result<Verified> {
    std::fs::File::open(path)?.sync_all()?;
    verified(inspect_snapshot(path))
}

impl AsyncRead for SnapshotFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, buf)
    }
}

impl AsyncWrite for SnapshotFile {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.file).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(cx)
    }

    /// Flushes and verifies what was received: openraft asks for it after the last piece.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.file).poll_flush(cx))?;
        let Way::In { path, verifying, verified } = &mut self.way else { return Poll::Ready(Ok(())) };
        if verified.is_some() {
            return Poll::Ready(Ok(()));
        }
        let task = verifying.get_or_insert_with(|| {
            let path = path.clone();
            spawn_blocking(move || flush_and_verify(&path))
        });
        let done = ready!(Pin::new(task).poll(cx));
        *verifying = None;
        *verified = Some(Box::new(done.map_err(io::Error::other)??));
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for SnapshotFile {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(cx)
    }
}
