//! The admin socket's listener, with a limit of its own.
//!
//! Promise: whoever is one too many is told so, as an answer to its request, and holds nothing afterwards.
//! Absent: what is answered to the others.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use millrace_host::http::Problem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long accepting rests after the operating system refused a connection, so that it does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Callers that are being told at once that they are too many. Further ones are only hung up on.
const TOLD_AT_ONCE_MAX: usize = 64;
/// How long one of them may take to ask and to listen.
const TOLD_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of its request that are read before it is answered: a socket that is closed with bytes unread loses its answer.
const ASKED_BYTES: usize = 16 << 10;

/// A listener that keeps so many connections at once.
#[derive(Debug)]
pub(crate) struct Limited {
    listener: UnixListener,
    places: Arc<Semaphore>,
    telling: Arc<Semaphore>,
}

/// A connection in its place.
#[derive(Debug)]
pub(crate) struct Placed {
    stream: UnixStream,
    _place: OwnedSemaphorePermit,
}

impl Limited {
    /// At most `connections_max` connections at once over `listener`.
    pub(crate) fn new(listener: UnixListener, connections_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(connections_max));
        Self { listener, places, telling: Arc::new(Semaphore::new(TOLD_AT_ONCE_MAX)) }
    }

    fn turn_away(&self, stream: UnixStream) {
        let Ok(place) = Arc::clone(&self.telling).try_acquire_owned() else { return };
        tokio::spawn(async move {
            // Whoever does not listen is not told.
            let _ = timeout(TOLD_PATIENCE, refuse(stream)).await;
            drop(place);
        });
    }
}

async fn refuse(mut stream: UnixStream) -> io::Result<()> {
    let mut asked = vec![0; ASKED_BYTES];
    let _ = stream.read(&mut asked).await?;
    let message = "too many connections to the hub's admin socket";
    let problem = Problem::unavailable(message, "close some, or try again in a moment");
    stream.write_all(problem.farewell().as_bytes()).await?;
    stream.shutdown().await
}

impl Listener for Limited {
    type Io = Placed;
    type Addr = ();

    async fn accept(&mut self) -> (Placed, ()) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match Arc::clone(&self.places).try_acquire_owned() {
                    Ok(place) => return (Placed { stream, _place: place }, ()),
                    Err(_) => self.turn_away(stream),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the admin socket");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use millrace_host::Exit;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::{Client, Target};

    #[tokio::test]
    async fn one_connection_too_many_is_told_so_and_takes_no_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let listener = Limited::new(UnixListener::bind(&path).unwrap(), 2);
        let routes = Router::new().route("/v1/status", get(async || axum::Json(json!({ "ready": true }))));
        let served = tokio::spawn(axum::serve(listener, routes).into_future());
        let idle = [UnixStream::connect(&path).await.unwrap(), UnixStream::connect(&path).await.unwrap()];
        let client = Client::new(Target::Socket(path));
        for _ in 0..3 {
            let refused = client.get("/v1/status").await.unwrap_err();
            assert_eq!(refused.exit, Exit::Temporary, "{refused}");
            assert!(refused.message.contains("too many connections"), "{refused}");
        }
        drop(idle);
        loop {
            // Its places are free when the server has seen that they hung up.
            match client.get("/v1/status").await {
                Ok(answer) => break assert_eq!(answer["ready"], Value::Bool(true)),
                Err(failure) => assert_eq!(failure.exit, Exit::Temporary, "{failure}"),
            }
        }
        served.abort();
    }
}
