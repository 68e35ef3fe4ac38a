//! Just enough gRPC to put into etcd: HTTP/2 as it is, two fields of protobuf by hand.
//!
//! etcd's own clients speak the same, and pay more for each put; its JSON gateway is a second server in front of the first.
//! Absent: everything else of gRPC.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use hyper::Request;
use tokio::net::TcpStream;

use super::load::Putter;

/// `etcdserverpb.PutRequest`: its first two fields.
const KEY: u8 = 1;
const VALUE: u8 = 2;
/// The wire type of strings and bytes.
const LENGTH_DELIMITED: u8 = 2;

/// A client on a connection that it may share with others.
#[derive(Clone)]
pub(crate) struct GrpcClient {
    sender: SendRequest<Bytes>,
    url: String,
}

impl GrpcClient {
    /// Connects to one node.
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
        });
        Ok(Self { sender, url: format!("http://{address}/etcdserverpb.KV/Put") })
    }
}

impl Putter for GrpcClient {
    async fn put(&mut self, key: String, value: Bytes) -> anyhow::Result<()> {
        let mut sender = self.sender.clone().ready().await?;
        let request = Request::post(&self.url).header("content-type", "application/grpc");
        let request = request.header("te", "trailers").body(())?;
        let (answer, mut body) = sender.send_request(request, false)?;
        body.send_data(message(key.as_bytes(), &value), true)?;
        let answer = answer.await?;
        ensure!(answer.status() == 200, "etcd: HTTP status {}", answer.status());
        // An error without a body has its status in the head.
        let mut status = answer.headers().get("grpc-status").cloned();
        let mut body = answer.into_body();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
        }
        if let Some(trailers) = body.trailers().await? {
            status = trailers.get("grpc-status").cloned().or(status);
        }
        let status = status.context("etcd: no status")?;
        ensure!(status == "0", "etcd: status {status:?}");
        Ok(())
    }
}

/// A `PutRequest` behind the five bytes that gRPC puts before every message: not compressed, and its length.
fn message(key: &[u8], value: &[u8]) -> Bytes {
    let mut request = BytesMut::with_capacity(key.len() + value.len() + 16);
    for (field, bytes) in [(KEY, key), (VALUE, value)] {
        request.put_u8(field << 3 | LENGTH_DELIMITED);
        put_varint(&mut request, bytes.len());
        request.put_slice(bytes);
    }
    let mut framed = BytesMut::with_capacity(request.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(request.len()).unwrap_or(u32::MAX));
    framed.put_slice(&request);
    framed.freeze()
}

fn put_varint(out: &mut BytesMut, mut number: usize) {
    while let rest @ 1.. = number >> 7 {
        out.put_u8((number & 0x7f).to_le_bytes().first().copied().unwrap_or(0) | 0x80);
        number = rest;
    }
    out.put_u8(number.to_le_bytes().first().copied().unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_protobuf_makes_of_it() {
        let framed = message(b"ab", &[7; 128]);
        assert_eq!(framed.get(..9), Some(&[0, 0, 0, 0, 135, 0x0a, 2, b'a', b'b'][..]));
        assert_eq!(framed.get(9..13), Some(&[0x12, 0x80, 0x01, 7][..]));
        assert_eq!(framed.len(), 5 + 135);
    }
}
