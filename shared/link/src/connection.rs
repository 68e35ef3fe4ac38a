//! A connection with a known peer: streams of frames, datagrams, and its end.
//!
//! Promise: it exists only after a handshake in which both sides showed a certificate of the cluster.
//! Absent: what the frames mean. Enrolment has its own type and never becomes one of these.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use quinn::SendDatagramError;

use crate::close::cut;
use crate::{CloseCode, CloseReason, Inlet, Outlet, PeerIdentity};

/// A session's connection. Cheap to clone; every clone is the same connection. When the last clone and stream are
/// dropped it is closed without a reason, so call [`Self::close`].
#[derive(Debug, Clone)]
pub struct Connection(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    quic: quinn::Connection,
    peer: PeerIdentity,
    must_renew: bool,
    farewell: Arc<OnceLock<CloseReason>>,
}

/// Why a datagram was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// It does not fit into one packet of this road.
    #[error("a datagram of {found} bytes does not fit into a packet of this road ({limit} bytes)")]
    TooLong {
        /// Its size.
        found: usize,
        /// The largest that fits now.
        limit: usize,
    },
    /// The connection is over.
    #[error(transparent)]
    Closed(CloseReason),
}

impl Connection {
    pub(crate) fn new(quic: quinn::Connection, peer: PeerIdentity, must_renew: bool) -> Self {
        Self(Arc::new(Parts { quic, peer, must_renew, farewell: Arc::default() }))
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &PeerIdentity {
        &self.0.peer
    }

    /// Whether the peer was let in with an expired certificate: nothing but its renewal should be served.
    #[must_use]
    pub fn must_renew(&self) -> bool {
        self.0.must_renew
    }

    /// Opens a stream to the peer. Streams of a higher `priority` go first. The peer learns of it with the first
    /// frame. Waits while [`crate::limits::STREAMS_MAX`] are open.
    ///
    /// # Errors
    /// How the connection ended.
    pub async fn open_uni(&self, priority: i32) -> Result<Outlet, CloseReason> {
        let stream = self.0.quic.open_uni().await.map_err(|e| self.reason(&e))?;
        Ok(self.outlet(stream, priority))
    }

    /// Opens a stream in both directions; see [`Self::open_uni`].
    ///
    /// # Errors
    /// How the connection ended.
    pub async fn open_bi(&self, priority: i32) -> Result<(Outlet, Inlet), CloseReason> {
        let (send, receive) = self.0.quic.open_bi().await.map_err(|e| self.reason(&e))?;
        Ok((self.outlet(send, priority), self.inlet(receive)))
    }

    /// Lets the peer hold more streams open and more bytes under way, when its certificate is a hub's; of a device nothing
    /// changes. Each end widens its own side. Worth calling once, before anything is opened or accepted.
    pub fn widen(&self) {
        if self.0.peer.hub().is_some() {
            crate::limits::widen(&self.0.quic);
        }
    }

    /// Waits for a stream that the peer opened towards us.
    ///
    /// # Errors
    /// How the connection ended.
    pub async fn accept_uni(&self) -> Result<Inlet, CloseReason> {
        let receive = self.0.quic.accept_uni().await.map_err(|e| self.reason(&e))?;
        Ok(self.inlet(receive))
    }

    /// Waits for a stream in both directions that the peer opened. Its priority towards the peer is 0.
    ///
    /// # Errors
    /// How the connection ended.
    pub async fn accept_bi(&self) -> Result<(Outlet, Inlet), CloseReason> {
        let (send, receive) = self.0.quic.accept_bi().await.map_err(|e| self.reason(&e))?;
        Ok((self.outlet(send, 0), self.inlet(receive)))
    }

    /// Sends one datagram, which may be lost, doubled by nobody, and overtaken. When too many wait, the oldest
    /// waiting one is dropped.
    ///
    /// # Errors
    /// When it does not fit into a packet, or the connection is over.
    pub fn send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        let found = datagram.len();
        self.0.quic.send_datagram(datagram).map_err(|error| match error {
            SendDatagramError::ConnectionLost(error) => DatagramError::Closed(self.reason(&error)),
            _ => DatagramError::TooLong { found, limit: self.datagram_bytes_max() },
        })
    }

    /// The largest datagram that fits into a packet now. It grows when a wider road is found, and may shrink.
    #[must_use]
    pub fn datagram_bytes_max(&self) -> usize {
        self.0.quic.max_datagram_size().unwrap_or(0)
    }

    /// Waits for a datagram of the peer.
    ///
    /// # Errors
    /// How the connection ended.
    pub async fn read_datagram(&self) -> Result<Bytes, CloseReason> {
        self.0.quic.read_datagram().await.map_err(|e| self.reason(&e))
    }

    /// Round trip, smoothed.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.0.quic.rtt()
    }

    /// UDP payload bytes sent on this connection, everything included.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.0.quic.stats().udp_tx.bytes
    }

    /// UDP payload bytes received on this connection, everything included.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.0.quic.stats().udp_rx.bytes
    }

    /// UDP datagrams received on this connection: when they do not grow, nothing of the peer is heard.
    #[must_use]
    pub fn datagrams_received(&self) -> u64 {
        self.0.quic.stats().udp_rx.datagrams
    }

    /// Frames of QUIC sent that the peer has to answer, signs of life among them: when they grow and
    /// [`Self::datagrams_received`] does not, the peer is silent. (Plain acknowledgements ask for nothing.)
    #[must_use]
    pub fn questions_sent(&self) -> u64 {
        let sent = self.0.quic.stats().frame_tx;
        [
            sent.stream,
            sent.ping,
            // What QUIC's probes for a lost answer are made of.
            sent.immediate_ack,
            sent.ack_frequency,
            sent.datagram,
            sent.crypto,
            sent.max_data,
            sent.max_stream_data,
            sent.max_streams_bidi,
            sent.max_streams_uni,
            sent.new_connection_id,
            sent.retire_connection_id,
            sent.reset_stream,
            sent.stop_sending,
        ]
        .into_iter()
        .fold(0, u64::wrapping_add)
    }

    /// Where the peer is now; it may move during the session.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.0.quic.remote_address()
    }

    /// Ends the connection at once, with a code for the peer's program and a text for its operator. What is still on
    /// its way is dropped: wait for [`Outlet::delivered`] before, where it matters. The first call counts.
    pub fn close(&self, code: CloseCode, text: &str) {
        let text = cut(text);
        if self.0.farewell.set(CloseReason::new(code, text, false)).is_ok() {
            self.0.quic.close(code.varint(), text.as_bytes());
        }
    }

    /// Waits for the connection's end. A refusal of our certificate arrives here too: a dialer is done with its
    /// handshake before the hub has looked at the certificate.
    pub async fn closed(&self) -> CloseReason {
        let error = self.0.quic.closed().await;
        self.reason(&error)
    }

    /// How the connection ended, if it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.0.quic.close_reason().map(|error| self.reason(&error))
    }

    fn reason(&self, error: &quinn::ConnectionError) -> CloseReason {
        CloseReason::of(error, self.0.farewell.get())
    }

    fn outlet(&self, stream: quinn::SendStream, priority: i32) -> Outlet {
        let outlet = Outlet::new(stream, Arc::clone(&self.0.farewell));
        outlet.set_priority(priority);
        outlet
    }

    fn inlet(&self, stream: quinn::RecvStream) -> Inlet {
        Inlet::new(stream, Arc::clone(&self.0.farewell))
    }
}
