//! Addresses on loopback that stay the same across restarts and collide with nobody's.
//!
//! Promise: two plants on one machine never share an address, also when they run at the same time.
//! Absent: port 0. A restarted agent must come back where its sensors look for it, so its port is chosen here, on a
//! loopback address that no other process has (all of 127.0.0.0/8 is loopback on Linux).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::PlantError;

/// Below the range from which the kernel hands out ports by itself, so that nobody gets one of ours by chance.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

/// How many ports are tried: each may be held by somebody who listens on all addresses.
const TRIES: u16 = 64;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A free address for TCP and UDP, of this process alone.
///
/// # Errors
/// When loopback has no free port, or loopback addresses other than 127.0.0.1 cannot be used.
pub fn free() -> Result<SocketAddr, PlantError> {
    let ip = own_ip(std::process::id());
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        let port = FIRST_PORT + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        let address = SocketAddr::from((ip, port));
        match TcpListener::bind(address).and_then(|_| UdpSocket::bind(address)) {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(PlantError::Address(last))
}

/// Linux process ids have at most 22 bits: all of them fit behind 127, from 127.64 on.
fn own_ip(pid: u32) -> Ipv4Addr {
    let [_, a, b, c] = pid.to_be_bytes();
    Ipv4Addr::new(127, 64 + (a & 63), b, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_have_two_addresses() {
        assert_ne!(own_ip(1), own_ip(2));
        assert_eq!(own_ip(4_194_303), Ipv4Addr::new(127, 127, 255, 255));
        assert!(own_ip(70_000).is_loopback());
    }

    #[test]
    fn two_addresses_of_one_process_differ() {
        let (one, other) = (free().unwrap(), free().unwrap());
        assert_ne!(one, other);
        assert!(one.port() >= FIRST_PORT && one.port() < 32_768);
    }
}
