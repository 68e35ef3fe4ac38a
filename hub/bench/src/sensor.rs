//! An MQTT 3.1.1 publisher that costs nearly nothing: QoS 1 packets made before the clock starts, and acks that are counted.
//!
//! Promise: at most [`WINDOW`] publications wait for their acknowledgement. The broker under measure is the bottleneck, not
//! the client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use millrace_host::Clock;

use crate::reading::Hall;

/// Publications under way per publisher.
pub(crate) const WINDOW: usize = 1_000;
/// Publications of one write.
const CHUNK: usize = 100;
/// Bytes of a PUBACK.
const PUBACK_BYTES: usize = 4;
/// A broker that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connected publisher.
pub(crate) struct Sensor {
    stream: TcpStream,
    next_id: u16,
}

/// Publications as they travel, a chunk to a piece.
pub(crate) struct Load {
    chunks: Vec<Vec<u8>>,
    publications: usize,
}

impl Load {
    /// `publications` readings of a hall of its own for each publisher.
    pub(crate) fn new(publisher: usize, publications: usize) -> anyhow::Result<Self> {
        let mut hall = Hall::new(100 + publisher as u64)?;
        let wall = Clock::system().wall();
        let mut id = 0_u16;
        let mut chunks = Vec::with_capacity(publications.div_ceil(CHUNK));
        let mut left = publications;
        while left > 0 {
            let count = left.min(CHUNK);
            left -= count;
            let mut chunk = Vec::with_capacity(count * 256);
            for _ in 0..count {
                id = following(id);
                let (machine, payload) = hall.payload(wall);
                publish(&mut chunk, &format!("plant/hall-{publisher}/press-{machine}/cycle"), id, &payload);
            }
            chunks.push(chunk);
        }
        Ok(Self { chunks, publications })
    }

    /// How many they are.
    pub(crate) const fn count(&self) -> usize {
        self.publications
    }

    /// How many they are, to divide by.
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
    pub(crate) const fn publications(&self) -> f64 {
        self.publications as f64
    }
}

impl Sensor {
    /// Connects with a clean session.
    pub(crate) fn connect(broker: SocketAddr, client_id: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(broker).context("the broker does not listen")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&connect(client_id))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        ensure!(answer == [0x20, 2, 0, 0], "the broker refused the connection: {answer:02x?}");
        Ok(Self { stream, next_id: 0 })
    }

    /// Publishes all of it, and returns when all of it is acknowledged.
    pub(crate) fn publish_all(&mut self, load: &Load) -> anyhow::Result<()> {
        let (mut sent, mut acked_bytes) = (0, 0);
        let mut acks = [0; 16 << 10];
        for chunk in &load.chunks {
            self.stream.write_all(chunk)?;
            sent += CHUNK.min(load.publications - sent);
            while sent - acked_bytes / PUBACK_BYTES >= WINDOW {
                acked_bytes += self.acks(&mut acks)?;
            }
        }
        while acked_bytes / PUBACK_BYTES < load.publications {
            acked_bytes += self.acks(&mut acks)?;
        }
        Ok(())
    }

    fn acks(&mut self, buffer: &mut [u8]) -> anyhow::Result<usize> {
        let read = self.stream.read(buffer).context("no acknowledgement came")?;
        ensure!(read > 0, "the broker closed the connection");
        Ok(read)
    }

    /// Publishes one payload, and returns when it is acknowledged.
    pub(crate) fn publish_one(&mut self, topic: &str, payload: &[u8]) -> anyhow::Result<()> {
        self.next_id = following(self.next_id);
        let mut packet = Vec::with_capacity(256);
        publish(&mut packet, topic, self.next_id, payload);
        self.stream.write_all(&packet)?;
        let mut ack = [0; PUBACK_BYTES];
        self.stream.read_exact(&mut ack).context("no acknowledgement came")?;
        Ok(())
    }
}

/// Packet ids are never 0.
pub(crate) const fn following(id: u16) -> u16 {
    if id == u16::MAX { 1 } else { id + 1 }
}

pub(crate) fn text(packet: &mut Vec<u8>, text: &[u8]) {
    packet.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    packet.extend_from_slice(text);
}

/// A fixed header: type and flags, remaining length.
pub(crate) fn header(packet: &mut Vec<u8>, first: u8, mut length: usize) {
    packet.push(first);
    loop {
        let digit = u8::try_from(length & 0x7f).unwrap_or(0);
        length >>= 7;
        packet.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            return;
        }
    }
}

/// CONNECT of MQTT 3.1.1 with a clean session and without keep-alive.
pub(crate) fn connect(client_id: &str) -> Vec<u8> {
    let mut packet = Vec::new();
    header(&mut packet, 0x10, 12 + client_id.len());
    text(&mut packet, b"MQTT");
    packet.extend_from_slice(&[4, 2, 0, 0]);
    text(&mut packet, client_id.as_bytes());
    packet
}

fn publish(packet: &mut Vec<u8>, topic: &str, id: u16, payload: &[u8]) {
    header(packet, 0x32, 4 + topic.len() + payload.len());
    text(packet, topic.as_bytes());
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_the_standard_draws_them() {
        assert_eq!(connect("ab"), b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02ab");
        let mut packet = Vec::new();
        publish(&mut packet, "a/b", 258, &[7; 200]);
        assert_eq!(packet.get(..10), Some(&b"\x32\xcf\x01\x00\x03a/b\x01\x02"[..]));
        assert_eq!(packet.len(), 3 + 207);
        assert_eq!((following(1), following(u16::MAX)), (2, 1));
    }
}
