//! Asking the running agent over its local HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    /// For something to be shown.
    Get,
    /// For something to be done.
    Post,
}

/// One request to loopback. HTTP/1.0, so that the answer ends with the connection.
///
/// # Errors
/// When there is no answer, or it is no JSON.
pub(super) fn ask(address: SocketAddr, verb: Verb, path: &str) -> std::io::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = match verb {
        Verb::Get => format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n"),
        Verb::Post => format!("POST {path} HTTP/1.0\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n"),
    };
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let malformed = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| malformed("its answer is no HTTP"))?;
    if !head.lines().next().is_some_and(|line| line.contains(" 200 ")) {
        return Err(malformed(body.trim()));
    }
    Ok(serde_json::from_str(body)?)
}
