//! What carries the link's packets: the operating system's sockets, or a simulated network that says it can.
//!
//! Promise: everything above the socket is the same either way: the same QUIC, the same TLS, the same limits.
//! Absent: simulated networks; tests bring them.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// Another network than the operating system's.
pub trait Underlay: Send + Sync + fmt::Debug + 'static {
    /// A socket on `addr`; port 0 lets the network choose.
    ///
    /// # Errors
    /// When the network has no such address, or it is taken.
    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn UnderlaySocket>>;
}

/// A socket of such a network. Datagrams may be lost, doubled and overtaken.
pub trait UnderlaySocket: Send + Sync + fmt::Debug + 'static {
    /// Sends one datagram, without waiting.
    ///
    /// # Errors
    /// When the network will not take it.
    fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()>;

    /// Puts the next datagram into `buffer`, or remembers whom to wake. What does not fit is cut off.
    ///
    /// # Errors
    /// When the socket is of no use any more.
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>>;

    /// The address on which it receives.
    ///
    /// # Errors
    /// When the network does not tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Such a socket as QUIC wants it.
#[derive(Debug)]
pub(crate) struct Carried(pub(crate) Arc<dyn UnderlaySocket>);

impl AsyncUdpSocket for Carried {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Ready)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.send(transmit.destination, transmit.contents)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let (len, addr) = ready!(self.0.poll_receive(cx, buffer))?;
        *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Such a socket can always be written to: what does not fit is lost, as on any road.
#[derive(Debug)]
struct Ready;

impl UdpPoller for Ready {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
