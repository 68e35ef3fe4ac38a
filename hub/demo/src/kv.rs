//! A client of the keys that hubs decide together, over a hub's admin socket.
//!
//! Promise: each failure says whether it may have had an effect. A connection is kept from one request to the next, and made anew after
//! anything that went wrong with it.
//! Absent: retries; whoever asks decides.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an answer may take: longer than a proposal waits for its outcome, and short enough that a client of a halted hub
/// goes to another one.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(6);

/// The largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A client.
#[derive(Debug)]
pub struct Kv {
    socket: PathBuf,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// It certainly had no effect.
    #[error("refused: {0}")]
    Void(String),
    /// It may have had an effect, or may have one later.
    #[error("unknown: {0}")]
    Unknown(String),
}

impl Kv {
    /// A client of the hub with this admin socket. It connects when it is first asked.
    #[must_use]
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket, connection: None }
    }

    /// The value of `key`, linearizable.
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub async fn get(&mut self, key: &str) -> Result<Option<String>, KvError> {
        let page = self.ask(Method::GET, &format!("/v1/kv/{key}"), Bytes::new()).await?;
        found(&page)
    }

    /// The value of `key` as this hub knows it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get_local(&mut self, key: &str) -> Result<Option<String>, KvError> {
        let page = self.ask(Method::GET, &format!("/v1/kv/{key}?level=local"), Bytes::new()).await?;
        found(&page)
    }

    /// Sets `key`.
    ///
    /// # Errors
    /// Whether it may have happened.
    pub async fn put(&mut self, key: &str, value: &str) -> Result<(), KvError> {
        self.ask(Method::PUT, &format!("/v1/kv/{key}"), Bytes::from(value.to_owned())).await.map(|_| ())
    }

    /// Sets `key` if `expected` stands there; whether it did.
    ///
    /// # Errors
    /// Whether it may have happened.
    pub async fn swap(&mut self, key: &str, expected: Option<&str>, value: &str) -> Result<bool, KvError> {
        let compare = match expected {
            Some(expected) => json!({ "key": key, "target": "value", "value": expected }),
            None => json!({ "key": key, "target": "version", "value": 0 }),
        };
        let txn = json!({ "compares": [compare], "then": [{ "put": { "key": key, "value": value } }] });
        let page = self.ask(Method::POST, "/v1/txn", Bytes::from(txn.to_string())).await?;
        let held = page.get("held").and_then(Value::as_bool);
        held.ok_or_else(|| KvError::Unknown(format!("{page} does not say whether it held")))
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Value, KvError> {
        let Ok(answer) = timeout(ANSWER_LIMIT, self.exchange(method, path, body)).await else {
            self.connection = None;
            return Err(KvError::Unknown(format!("no answer within {ANSWER_LIMIT:?}")));
        };
        match answer {
            Ok((status, body)) => judge(status, &body),
            Err(error) => {
                self.connection = None;
                Err(error)
            }
        }
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), KvError> {
        let void = |error: String| KvError::Void(error);
        let unknown = |error: String| KvError::Unknown(error);
        let ready = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            let stream = UnixStream::connect(&self.socket).await.map_err(|error| void(error.to_string()))?;
            let shaken = http1::handshake(TokioIo::new(stream)).await;
            let (sender, connection) = shaken.map_err(|error| void(error.to_string()))?;
            tokio::spawn(async move {
                // Whoever waits for an answer is told.
                let _ = connection.await;
            });
            self.connection = Some(sender);
        }
        let request = Request::builder().method(method).uri(path).header("host", "hub");
        let request = request.header("content-type", "application/json").body(Full::new(body));
        let request = request.map_err(|error| void(error.to_string()))?;
        let Some(connection) = &mut self.connection else { return Err(void("no connection".to_owned())) };
        let answer = connection.send_request(request).await.map_err(|error| unknown(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| unknown(error.to_string()))?.to_bytes();
        Ok((status, body))
    }
}

/// What an answer means. Of refusals only those that name a reason of theirs are known to have had no effect.
fn judge(status: StatusCode, body: &Bytes) -> Result<Value, KvError> {
    let said = String::from_utf8_lossy(body);
    if status.is_success() {
        return serde_json::from_str(&said).map_err(|error| KvError::Unknown(format!("{said}: {error}")));
    }
    let refused =
        status.is_client_error() || (status == StatusCode::SERVICE_UNAVAILABLE && said.contains("no-quorum"));
    Err(if refused {
        KvError::Void(said.into_owned())
    } else {
        KvError::Unknown(format!("{status}: {said}"))
    })
}

/// The value on a page that has one key, or none.
fn found(page: &Value) -> Result<Option<String>, KvError> {
    let rows = page.get("kvs").and_then(Value::as_array);
    let rows = rows.ok_or_else(|| KvError::Unknown(format!("{page} has no rows")))?;
    let value = |row: &Value| row.get("value").and_then(Value::as_str).map(str::to_owned);
    Ok(rows.first().and_then(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    async fn answer(stream: &mut UnixStream, status: &str, body: &str) -> String {
        let mut heard = vec![0; 4_096];
        let length = stream.read(&mut heard).await.unwrap();
        let said = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(said.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&heard[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_refusal_had_no_effect_and_a_broken_connection_may_have_had_one() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let mut kv = Kv::new(socket.clone());
        assert!(matches!(kv.put("a", "1").await, Err(KvError::Void(_))), "nobody listens");
        let listener = UnixListener::bind(&socket).unwrap();
        let hub = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let put = answer(&mut stream, "200 OK", r#"{"revision":7}"#).await;
            assert!(put.starts_with("PUT /v1/kv/a HTTP/1.1\r\n") && put.ends_with("\r\n\r\n1"), "{put}");
            answer(&mut stream, "200 OK", r#"{"kvs":[{"key":"a","value":"1"}]}"#).await;
            let swap = answer(&mut stream, "200 OK", r#"{"held":false}"#).await;
            assert!(swap.contains(r#""target":"version""#), "{swap}");
            answer(&mut stream, "503 No", r#"{"error":"no-quorum"}"#).await;
            answer(&mut stream, "503 No", r#"{"error":"unavailable"}"#).await;
            let mut heard = [0; 16];
            stream.read_exact(&mut heard).await.unwrap();
        });
        kv.put("a", "1").await.unwrap();
        assert_eq!(kv.get("a").await.unwrap().as_deref(), Some("1"));
        assert!(!kv.swap("a", None, "2").await.unwrap());
        assert!(matches!(kv.put("a", "3").await, Err(KvError::Void(_))));
        assert!(matches!(kv.put("a", "4").await, Err(KvError::Unknown(_))));
        assert!(matches!(kv.put("a", "5").await, Err(KvError::Unknown(_))), "it broke off in the middle");
        hub.await.unwrap();
    }
}
