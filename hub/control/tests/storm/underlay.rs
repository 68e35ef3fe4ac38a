//! Sockets of the simulated network, as the link wants them.
//!
//! A task waits for datagrams, because the simulated socket can only be waited for, not polled.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use millrace_link::{Underlay, UnderlaySocket};
use tokio::sync::mpsc;
use turmoil::net::UdpSocket;

/// Datagrams that wait for QUIC to read them.
const QUEUE: usize = 4_096;
/// The largest datagram.
const BYTES_MAX: usize = 2_048;

/// The simulated network.
#[derive(Clone, Copy, Debug)]
pub struct Simulated;

struct Socket {
    socket: Arc<UdpSocket>,
    received: Mutex<mpsc::Receiver<(Vec<u8>, SocketAddr)>>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated socket {:?}", self.socket.local_addr())
    }
}

impl Underlay for Simulated {
    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn UnderlaySocket>> {
        // Binding never waits; it is only written as if it could.
        let binding = pin!(UdpSocket::bind(addr));
        let Poll::Ready(socket) = binding.poll(&mut Context::from_waker(Waker::noop())) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let socket = Arc::new(socket?);
        let (queue, received) = mpsc::channel(QUEUE);
        tokio::spawn(receive(Arc::clone(&socket), queue));
        Ok(Arc::new(Socket { socket, received: Mutex::new(received) }))
    }
}

async fn receive(socket: Arc<UdpSocket>, queue: mpsc::Sender<(Vec<u8>, SocketAddr)>) {
    let mut buffer = vec![0; BYTES_MAX];
    loop {
        tokio::select! {
            // The socket was dropped by QUIC.
            () = queue.closed() => return,
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, from)) = received else { return };
                // A full queue loses the datagram, as a full buffer of a kernel does.
                let _ = queue.try_send((buffer[..length].to_vec(), from));
            }
        }
    }
}

impl UnderlaySocket for Socket {
    fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        self.socket.try_send_to(datagram, to).map(|_| ())
    }

    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        match self.received.lock().unwrap().poll_recv(cx) {
            Poll::Ready(Some((datagram, from))) => {
                let length = datagram.len().min(buffer.len());
                buffer[..length].copy_from_slice(&datagram[..length]);
                Poll::Ready(Ok((length, from)))
            }
            Poll::Ready(None) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
