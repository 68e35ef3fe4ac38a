//! A hub process as its command line speaks to it: HTTP/1.1 over the admin socket, one connection for each client.

use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::load::Putter;

/// The largest answer to a put: a few numbers, or the reason of a refusal.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A client of one hub.
pub(crate) struct SocketClient {
    sender: SendRequest<Full<Bytes>>,
}

impl SocketClient {
    /// Connects to the admin socket at `path`.
    pub(crate) async fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).await.with_context(|| path.display().to_string())?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
        });
        Ok(Self { sender })
    }
}

impl Putter for SocketClient {
    async fn put(&mut self, key: String, value: Bytes) -> anyhow::Result<()> {
        self.sender.ready().await?;
        let request = Request::put(format!("/v1/kv/{key}")).header("host", "hub").body(Full::new(value))?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
        ensure!(status.is_success(), "the hub: {status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    /// Reads a request to the end of its value.
    async fn request(stream: &mut UnixStream) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(b"the value") {
            let mut piece = [0; 256];
            let length = stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "{}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&piece[..length]);
        }
        String::from_utf8(heard).unwrap()
    }

    #[tokio::test]
    async fn puts_of_one_client_share_a_connection_and_a_refusal_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let hub = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in
                ["200 OK\r\ncontent-length: 2\r\n\r\n{}", "503 No\r\ncontent-length: 9\r\n\r\nno quorum"]
            {
                let heard = request(&mut stream).await;
                assert!(heard.starts_with("PUT /v1/kv/bench/1/2 HTTP/1.1\r\n"), "{heard}");
                assert!(heard.contains("content-length: 9\r\n"), "{heard}");
                stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.unwrap();
            }
        });
        let mut client = SocketClient::connect(&path).await.unwrap();
        client.put("bench/1/2".into(), "the value".into()).await.unwrap();
        let refused = client.put("bench/1/2".into(), "the value".into()).await.unwrap_err().to_string();
        assert!(refused.contains("503") && refused.contains("no quorum"), "{refused}");
        hub.await.unwrap();
    }
}
