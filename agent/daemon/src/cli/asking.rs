//! Asking the running agent over its local HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// How long an exchange with the hub may take: longer than the agent waits for it, twice.
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(28);

/// Asks for a page.
///
/// # Errors
/// When there is no answer, or it is no JSON.
pub(super) fn ask(address: SocketAddr, path: &str) -> std::io::Result<Value> {
    let (status, body) = request(address, &format!("GET {path}"), PATIENCE)?;
    if status == 200 { Ok(serde_json::from_str(&body)?) } else { Err(malformed(body.trim())) }
}

/// Asks for something to be done: the status, and what is answered.
///
/// # Errors
/// When there is no answer, or it is no JSON.
pub(super) fn post(address: SocketAddr, path: &str) -> std::io::Result<(u16, Value)> {
    let (status, body) = request(address, &format!("POST {path}"), EXCHANGE_PATIENCE)?;
    Ok((status, serde_json::from_str(&body).map_err(|_| malformed(body.trim()))?))
}

/// One request to loopback. HTTP/1.0, so that the answer ends with the connection.
fn request(address: SocketAddr, line: &str, patience: Duration) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(patience))?;
    stream
        .write_all(format!("{line} HTTP/1.0\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| malformed("its answer is no HTTP"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| malformed("its answer is no HTTP"))?, body.to_owned()))
}

fn malformed(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}
