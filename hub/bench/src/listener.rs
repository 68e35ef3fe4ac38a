//! An MQTT 3.1.1 subscriber that throws everything away as cheaply as can be: it counts PUBLISH packets and acknowledges them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::sensor::{connect, header, text};

/// A broker that delivers nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const PUBLISH: u8 = 3;

/// A connected subscriber of everything.
pub(crate) struct Listener {
    stream: TcpStream,
    held: Vec<u8>,
    taken: Arc<AtomicU64>,
}

impl Listener {
    /// Connects and subscribes to `#` with QoS 1.
    pub(crate) fn connect(broker: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(broker).context("the broker does not listen")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&connect("listener"))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        let mut subscribe = Vec::new();
        header(&mut subscribe, 0x82, 6);
        subscribe.extend_from_slice(&[0, 1]);
        text(&mut subscribe, b"#");
        subscribe.push(1);
        stream.write_all(&subscribe)?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        ensure!(answer.last() == Some(&1), "the broker refused the subscription: {answer:02x?}");
        Ok(Self { stream, held: Vec::new(), taken: Arc::default() })
    }

    /// How many publications have reached it so far; goes on counting while it takes more.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// Takes publications until the broker closes the connection.
    pub(crate) fn take_all(&mut self) {
        // The end of the connection is the end of the work.
        let _ = self.take(usize::MAX);
    }

    /// Takes publications until there were `count`.
    pub(crate) fn take(&mut self, count: usize) -> anyhow::Result<()> {
        let (mut seen, mut acks) = (0, Vec::new());
        let mut buffer = vec![0; 256 << 10];
        while seen < count {
            let read = self.stream.read(&mut buffer).context("no publication came")?;
            ensure!(read > 0, "the broker closed the connection");
            self.held.extend_from_slice(buffer.get(..read).unwrap_or_default());
            let mut rest = self.held.as_slice();
            while let Some((first, body, after)) = packet(rest) {
                rest = after;
                if first >> 4 == PUBLISH {
                    seen += 1;
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    acks.extend(id_of(first, body).into_iter().flat_map(|[a, b]| [0x40, 2, a, b]));
                }
            }
            let used = self.held.len() - rest.len();
            self.held.drain(..used);
            self.stream.write_all(&acks)?;
            acks.clear();
        }
        Ok(())
    }
}

/// The first whole packet: its first byte, its body, and what follows.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let (digit, after) = rest.split_first()?;
        rest = after;
        length |= usize::from(digit & 0x7f) << shift;
        shift += 7;
        if digit & 0x80 == 0 {
            break;
        }
    }
    let (body, after) = rest.split_at_checked(length)?;
    Some((*first, body, after))
}

/// The packet id of a PUBLISH, unless its QoS is 0.
fn id_of(first: u8, body: &[u8]) -> Option<[u8; 2]> {
    let topic = body.first_chunk::<2>().map(|length| usize::from(u16::from_be_bytes(*length)))?;
    body.get(2 + topic..)?.first_chunk::<2>().copied().filter(|_| first & 6 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found_only_whole() {
        let bytes = b"\x32\x08\x00\x01t\x00\x09abc\x30\x03\x00\x01t";
        let (first, body, rest) = packet(bytes).unwrap();
        assert_eq!((first, id_of(first, body)), (0x32, Some([0, 9])));
        let (first, body, rest) = packet(rest).map(|(first, body, rest)| (first, body, rest.len())).unwrap();
        assert_eq!((id_of(first, body), rest), (None, 0));
        assert!(packet(b"\x32\x08\x00").is_none());
    }
}
