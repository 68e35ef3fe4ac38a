//! One GET request: enough of a client to ask the programs what they hold.
//!
//! Promise: an answer has at most [`ANSWER_BYTES_MAX`] bytes and comes within [`ANSWER_LIMIT`].
//! Absent: TLS, redirects, connection reuse. Everything asked here is on this machine.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::PlantError;

/// The largest answer: a page of 1,000 records with large payloads stays far below.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long an answer may take. A halted process does not answer at all.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The status code and body of `GET http://ADDRESS/PATH`.
///
/// # Errors
/// When nobody answers in time.
pub async fn get(address: &str, path: &str) -> Result<(u16, Bytes), PlantError> {
    let failed =
        |detail: String| PlantError::Http { address: address.to_owned(), path: path.to_owned(), detail };
    match tokio::time::timeout(ANSWER_LIMIT, exchange(address, path)).await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(failed(format!("no answer within {ANSWER_LIMIT:?}"))),
    }
}

async fn exchange(address: &str, path: &str) -> Result<(u16, Bytes), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::get(path)
        .header("host", address)
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    tokio::pin!(talk, connection);
    // The connection moves the bytes; its end without an answer shows as an error of the talk.
    tokio::select! {
        answer = &mut talk => answer,
        _ = &mut connection => talk.await,
    }
}

/// The JSON answer of `GET http://ADDRESS/PATH`.
///
/// # Errors
/// When nobody answers in time, or not with 200 and the agreed shape.
pub async fn json<T: DeserializeOwned>(address: &str, path: &str) -> Result<T, PlantError> {
    let failed =
        |detail: String| PlantError::Http { address: address.to_owned(), path: path.to_owned(), detail };
    let (status, body) = get(address, path).await?;
    if status != 200 {
        return Err(failed(format!("status {status}: {}", String::from_utf8_lossy(&body))));
    }
    serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
}

/// `text` as it may stand in a query (RFC 3986, section 2.3: everything but the unreserved characters is written
/// as its bytes).
#[must_use]
pub fn query_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn an_answer_is_read_whole() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1_024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /status?a=b HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[7").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let (status, body) = get(&address, "/status?a=b").await.unwrap();
        assert_eq!((status, body.as_ref()), (200, b"[7".as_slice()));
        server.await.unwrap();
        assert!(json::<u8>(&address, "/").await.is_err(), "nobody listens any more");
    }

    #[test]
    fn text_in_a_query_is_escaped() {
        assert_eq!(query_text("plant/#+ ü~"), "plant%2F%23%2B%20%C3%BC~");
    }
}
