//! The command line's way to a running hub: HTTP/1.1 over its admin socket, or over TCP.
//!
//! Promise: an answer longer than [`ANSWER_BYTES_MAX`] is refused, not swallowed; a hub that is not there is told apart
//! from one that refuses.
//! Absent: TLS and redirects; the API is on this machine.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use millrace_host::Exit;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use millrace_host::Failure;

/// A page of 10,000 records with large payloads, as JSON.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The cluster's decisions at the largest budget.
const BYTES_MAX: usize = 512 << 20;
/// One event of a stream.
const EVENT_BYTES_MAX: usize = 4 << 20;
/// Of a refusal that is no problem of the API, but text.
const REFUSAL_CHARS_MAX: usize = 500;
/// How long connecting and the beginning of an answer may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// Where a hub is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Its data directory is on this machine.
    Socket(PathBuf),
    /// `host:port` of its HTTP API.
    Tcp(String),
}

/// A caller of one hub.
#[derive(Debug, Clone)]
pub struct Client(Target);

impl Target {
    /// The hub at this address, such as `http://127.0.0.1:7481`.
    ///
    /// # Errors
    /// When it is not such an address.
    pub fn url(text: &str) -> Result<Self, Failure> {
        let host = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let fits = host.filter(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']));
        let host = fits.ok_or_else(|| {
            let message = format!("`{text}` is not an address that this program can call");
            Failure::new(Exit::Usage, message).hint("write for example http://127.0.0.1:7481")
        })?;
        let port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self::Tcp(if port { host.to_owned() } else { format!("{host}:80") }))
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        match self {
            Self::Socket(path) => absent(path, error),
            Self::Tcp(host) => Failure::new(Exit::Unavailable, format!("no hub answers at {host}: {error}"))
                .hint(
                    "is the hub running, and is the address right? See `quic` and `http` in its runtime.json",
                ),
        }
    }
}

fn absent(socket: &Path, error: &std::io::Error) -> Failure {
    let directory = socket.parent().unwrap_or(socket).display();
    let failure = Failure::new(Exit::Unavailable, format!("no hub runs on {directory}: {error}"));
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        return Failure { exit: Exit::Permission, ..failure }
            .hint("call it as the hub's own user, or use --url");
    }
    failure.hint(format!(
        "start it with `millrace-hub run --data {directory}`, or name another with --data or --url"
    ))
}

impl Client {
    /// A caller of the hub there.
    #[must_use]
    pub const fn new(target: Target) -> Self {
        Self(target)
    }

    /// Whether a hub listens there now.
    pub async fn is_there(&self) -> bool {
        self.connect().await.is_ok()
    }

    /// Asks for `path`, which begins with a slash and may have a query.
    ///
    /// # Errors
    /// When the hub is not there or refuses.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        whole(self.send(Method::GET, path, Body::empty()).await?).await
    }

    /// Asks for `path`, whose answer is bytes.
    ///
    /// # Errors
    /// When the hub is not there or refuses.
    pub async fn bytes(&self, path: &str) -> Result<Bytes, Failure> {
        bytes_of(self.send(Method::GET, path, Body::empty()).await?, BYTES_MAX).await
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// When the hub is not there or refuses.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        whole(self.send(Method::POST, path, Body::from(body.to_string())).await?).await
    }

    /// Puts these bytes there.
    ///
    /// # Errors
    /// When the hub is not there or refuses.
    pub async fn put(&self, path: &str, body: Bytes) -> Result<Value, Failure> {
        whole(self.send(Method::PUT, path, Body::from(body)).await?).await
    }

    /// Puts this document there.
    ///
    /// # Errors
    /// When the hub is not there or refuses.
    pub async fn put_json(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.put(path, Bytes::from(body.to_string())).await
    }

    /// Deletes what is there.
    ///
    /// # Errors
    /// When the hub is not there or refuses.
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        whole(self.send(Method::DELETE, path, Body::empty()).await?).await
    }

    /// Follows the events of `path`.
    ///
    /// # Errors
    /// When the hub is not there or refuses.
    pub async fn events(&self, path: &str) -> Result<Events, Failure> {
        let response = self.send(Method::GET, path, Body::empty()).await?;
        Ok(Events { body: response.into_body(), arrived: BytesMut::new() })
    }

    async fn connect(&self) -> Result<SendRequest<Body>, Failure> {
        let connecting = async {
            match &self.0 {
                Target::Socket(path) => {
                    let stream = UnixStream::connect(path).await.map_err(|e| self.0.unreachable(&e))?;
                    shaken(TokioIo::new(stream)).await
                }
                Target::Tcp(host) => {
                    let stream = TcpStream::connect(host).await.map_err(|e| self.0.unreachable(&e))?;
                    shaken(TokioIo::new(stream)).await
                }
            }
        };
        timeout(PATIENCE, connecting).await.map_err(|_| silent())?
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> Result<Response<Incoming>, Failure> {
        let mut sender = self.connect().await?;
        let host = match &self.0 {
            Target::Socket(_) => "localhost",
            Target::Tcp(host) => host,
        };
        let request = Request::builder().method(method).uri(path).header("host", host);
        let request = request.header("content-type", "application/json").body(body);
        let request = request.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let answered = timeout(PATIENCE, sender.send_request(request)).await.map_err(|_| silent())?;
        let response = answered.map_err(|error| lost(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }
}

async fn shaken<S>(stream: TokioIo<S>) -> Result<SendRequest<Body>, Failure>
where
    TokioIo<S>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(stream).await.map_err(|error| lost(&error))?;
    // Ends with the sender; its errors come out of the request.
    tokio::spawn(connection);
    Ok(sender)
}

fn silent() -> Failure {
    Failure::new(Exit::Unavailable, "the hub does not answer")
        .hint("look at its log and at `systemctl status`")
}

fn lost(error: &hyper::Error) -> Failure {
    Failure::new(Exit::Unavailable, format!("the connection to the hub was lost: {error}")).hint("try again")
}

async fn bytes_of(response: Response<Incoming>, limit: usize) -> Result<Bytes, Failure> {
    let body = Body::new(response.into_body());
    to_bytes(body, limit).await.map_err(|error| {
        Failure::new(Exit::Unavailable, format!("the hub's answer was cut off: {error}"))
            .hint("ask for less at once")
    })
}

async fn whole(response: Response<Incoming>) -> Result<Value, Failure> {
    let bytes = bytes_of(response, ANSWER_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("what answered is not a Millrace hub: {error}");
        Failure::new(Exit::Unavailable, message).hint("check the address")
    })
}

async fn refusal(response: Response<Incoming>) -> Failure {
    let status = response.status();
    let exit = match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT | StatusCode::INSUFFICIENT_STORAGE => {
            Exit::Temporary
        }
        StatusCode::BAD_GATEWAY => Exit::Unavailable,
        status if status.is_client_error() => Exit::Usage,
        _ => Exit::Internal,
    };
    let body = bytes_of(response, ANSWER_BYTES_MAX).await.unwrap_or_default();
    let (message, hint) =
        said(&body).unwrap_or_else(|| (format!("the hub answered {status}"), String::new()));
    Failure::new(exit, spoken(&message)).hint(spoken(&hint))
}

/// What is wrong and what to do about it, as a refusal says it: a problem of the API, or the plain text of what stands between.
fn said(body: &[u8]) -> Option<(String, String)> {
    if let Ok(body) = serde_json::from_slice::<Value>(body) {
        let text =
            |key: &str| body.pointer(&format!("/error/{key}")).and_then(Value::as_str).map(str::to_owned);
        return text("message").map(|message| (message, text("hint").unwrap_or_default()));
    }
    let text: String = String::from_utf8_lossy(body).trim().chars().take(REFUSAL_CHARS_MAX).collect();
    (!text.is_empty()).then_some((text, String::new()))
}

/// What the API says about its parameters, in the words of the command line.
pub(crate) fn spoken(text: &str) -> String {
    let mut out = text.replace("/v1/devices", "`millrace-hub devices`").replace("/%23 (`#`)", "/#");
    for key in ["device", "lane", "topic", "kind", "from", "to", "order", "limit", "cursor"] {
        out = out
            .replace(&format!(" {key}="), &format!(" --{key} "))
            .replace(&format!("`{key}`"), &format!("`--{key}`"));
    }
    out
}

/// A stream of server-sent events.
pub struct Events {
    body: Incoming,
    arrived: BytesMut,
}

impl Events {
    /// The next event: its name (empty for records) and data. `None` when the hub ended the stream.
    ///
    /// # Errors
    /// When the connection was lost, or an event is longer than it may be.
    pub async fn next(&mut self) -> Result<Option<(String, String)>, Failure> {
        loop {
            if let Some(end) = self.arrived.windows(2).position(|pair| pair == b"\n\n") {
                let event = self.arrived.split_to(end + 2);
                match parsed(&String::from_utf8_lossy(&event)) {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            if self.arrived.len() > EVENT_BYTES_MAX {
                return Err(Failure::new(Exit::Data, "the hub sent an event without an end"));
            }
            let body = &mut self.body;
            match std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.arrived.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(lost(&error)),
            }
        }
    }
}

/// Comments are no events.
fn parsed(event: &str) -> Option<(String, String)> {
    let field = |name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
    };
    field("data:").map(|data| (field("event:").unwrap_or_default(), data))
}

/// `text` as it may stand in a query (RFC 3986, section 2).
#[must_use]
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly() {
        assert_eq!(Target::url("http://127.0.0.1:7481/"), Ok(Target::Tcp("127.0.0.1:7481".into())));
        assert_eq!(Target::url("http://hub"), Ok(Target::Tcp("hub:80".into())));
        for wrong in ["https://hub", "hub:1", "http://", "http://hub/v1", "http://a@b"] {
            assert_eq!(Target::url(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encoded("plant/+/#"), "plant%2F%2B%2F%23");
        assert_eq!(encoded("ü-a_b.c~1"), "%C3%BC-a_b.c~1");
    }

    #[test]
    fn a_refusal_is_told_whatever_its_form() {
        let told = |text: &str| said(text.as_bytes());
        let pair = |message: &str, hint: &str| Some((message.to_owned(), hint.to_owned()));
        assert_eq!(told(r#"{"error": {"message": "a", "hint": "b"}}"#), pair("a", "b"));
        assert_eq!(
            told(" unknown variant `del`, expected `put`\n"),
            pair("unknown variant `del`, expected `put`", "")
        );
        assert_eq!(told(&"x".repeat(10_000)).map(|(text, _)| text.len()), Some(REFUSAL_CHARS_MAX));
        assert_eq!((told(""), told("{}")), (None, None));
    }

    #[test]
    fn comments_are_no_events() {
        assert_eq!(parsed(": alive\n\n"), None);
        assert_eq!(parsed("data: {}\n\n"), Some((String::new(), "{}".into())));
        assert_eq!(parsed("event: missed\ndata: 1\n\n"), Some(("missed".into(), "1".into())));
    }

    #[tokio::test]
    async fn a_hub_that_is_not_there_is_answered_with_how_to_start_it() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(Target::Socket(dir.path().join("admin.sock")));
        let failure = client.get("/v1/status").await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.hint.contains("millrace-hub run --data"), "{failure}");
        assert!(!client.is_there().await);
    }
}
