//! One flow of a road: the datagrams between one sender and the target, through a socket of their own.
//!
//! Promise: ends by itself when idle, when the road is dropped, or when no socket can be had.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{DATAGRAM_BYTES, PACKETS_MAX, State};

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

/// Packets under way, by the time at which they arrive.
struct Underway<'a> {
    state: &'a State,
    count: u64,
    packets: BTreeMap<(Instant, u64), (Way, Vec<u8>)>,
}

impl Underway<'_> {
    fn depart(&mut self, way: Way, packet: Vec<u8>, now: Instant) {
        let Some(passage) = self.state.passage() else { return };
        if self.packets.len() >= PACKETS_MAX {
            self.state.lost_packets.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.count += 1;
        self.packets.insert((now + passage, self.count), (way, packet));
    }

    fn next_at(&self) -> Option<Instant> {
        self.packets.first_key_value().map(|((at, _), _)| *at)
    }

    fn arrived(&mut self, now: Instant) -> Option<(Way, Vec<u8>)> {
        let entry = self.packets.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}

async fn socket_towards(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(target).await?;
    Ok(socket)
}

pub(super) async fn run(
    front: Arc<UdpSocket>,
    peer: SocketAddr,
    target: SocketAddr,
    mut queue: mpsc::Receiver<Vec<u8>>,
    state: Arc<State>,
    mut rebound: watch::Receiver<u64>,
) {
    let Ok(mut back) = socket_towards(target).await else { return };
    let mut underway = Underway { state: &state, count: 0, packets: BTreeMap::new() };
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut active_at = Instant::now();
    rebound.mark_unchanged();
    loop {
        let idle_at = active_at + state.idle;
        let wake_at = underway.next_at().unwrap_or(idle_at);
        tokio::select! {
            packet = queue.recv() => {
                let Some(packet) = packet else { return };
                active_at = Instant::now();
                underway.depart(Way::Up, packet, active_at);
            }
            received = back.recv(&mut buffer) => {
                // An error is an ICMP message: the target is not there now.
                if let Some(packet) = received.ok().and_then(|length| buffer.get(..length)) {
                    active_at = Instant::now();
                    underway.depart(Way::Down, packet.to_vec(), active_at);
                }
            }
            changed = rebound.changed() => {
                if changed.is_err() {
                    return;
                }
                match socket_towards(target).await {
                    Ok(fresh) => back = fresh,
                    Err(_) => return,
                }
            }
            () = sleep_until(wake_at) => {
                if underway.packets.is_empty() && Instant::now() >= idle_at {
                    return;
                }
            }
        }
        while let Some((way, packet)) = underway.arrived(Instant::now()) {
            let (sent, counter) = match way {
                Way::Up => (back.send(&packet).await, &state.up_bytes),
                Way::Down => (front.send_to(&packet, peer).await, &state.down_bytes),
            };
            if let Ok(bytes) = sent {
                counter.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        }
    }
}
