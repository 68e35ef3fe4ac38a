//! The dialing end: connects an agent, or a hub, to a hub.
//!
//! Promise: nothing is sent to a hub that did not prove to be one of the identity's cluster.
//! Absent: which hub to dial, and when to try again.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, TransportErrorCode};
use tokio::time::timeout;

use crate::close::alert;
use crate::doorkeeper::shown;
use crate::{
    Clock, CloseCode, CloseReason, Connection, HUB_NAME, Identity, PeerIdentity, Road, TlsError, Underlay,
    limits, socket, tls,
};

/// How a dialer dials. [`Self::new`] has every default.
#[derive(Clone)]
pub struct ClientOptions {
    /// What is assumed about the road.
    pub road: Road,
    /// By which clock certificates of hubs are judged.
    pub clock: Clock,
    /// How long a hub may take to answer.
    pub connect_timeout: Duration,
    /// What carries the packets; the operating system when `None`.
    pub underlay: Option<Arc<dyn Underlay>>,
}

impl ClientOptions {
    /// Options with this clock, a wired road and the defaults of [`limits`].
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { road: Road::default(), clock, connect_timeout: limits::CONNECT_TIMEOUT, underlay: None }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No socket could be had.
    #[error("no UDP socket to dial {addr} from: {source}")]
    Socket {
        /// Whom to dial.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The address cannot be dialed.
    #[error("{addr} cannot be dialed: {detail}")]
    Address {
        /// Whom to dial.
        addr: SocketAddr,
        /// What is wrong with it.
        detail: String,
    },
    /// The identity cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No answer.
    #[error("no answer from {addr} within {after:?}: is the hub running, and is UDP let through?")]
    Timeout {
        /// Whom we dialed.
        addr: SocketAddr,
        /// How long we waited.
        after: Duration,
    },
    /// The other side is no hub of our cluster. Nothing was sent to it.
    #[error("{addr} is not a hub of our cluster: {detail}")]
    NotTrusted {
        /// Whom we dialed.
        addr: SocketAddr,
        /// What is wrong with its certificate.
        detail: String,
    },
    /// The hub takes no further connections now.
    #[error("{addr} takes no further connections now: try another hub, or later")]
    Busy {
        /// Whom we dialed.
        addr: SocketAddr,
    },
    /// The hub does not speak our protocol, or does not enrol.
    #[error(
        "{addr} does not speak this protocol: upgrade the older of the two programs, or dial a hub that enrols"
    )]
    OtherProtocol {
        /// Whom we dialed.
        addr: SocketAddr,
    },
    /// The hub refused us; see the code. A refusal after the handshake arrives through [`Connection::closed`].
    #[error("{addr} refused the connection: {reason}")]
    Refused {
        /// Whom we dialed.
        addr: SocketAddr,
        /// How it refused.
        reason: CloseReason,
    },
}

/// Dials hubs. One UDP socket per address family, opened when first needed and shared by all connections.
pub struct Dialer {
    pub(crate) options: ClientOptions,
    v4: Mutex<Option<Endpoint>>,
    v6: Mutex<Option<Endpoint>>,
}

impl Dialer {
    /// A dialer with these options. Sockets are opened by the first [`Self::connect`].
    #[must_use]
    pub fn new(options: ClientOptions) -> Self {
        Self { options, v4: Mutex::default(), v6: Mutex::default() }
    }

    /// Connects to the hub at `addr` as `identity`. Returns after one round trip, when the hub has proved who it is;
    /// what it thinks of our certificate arrives half a round trip later: until the first frame of the hub came,
    /// [`Connection::closed`] may still say [`CloseCode::Revoked`], [`CloseCode::Expired`] or
    /// [`CloseCode::NotAdmitted`]. What is sent meanwhile is read by nobody when it does.
    ///
    /// # Errors
    /// When there is no answer, or the other side is not a hub of our cluster, or refuses.
    pub async fn connect(&self, addr: SocketAddr, identity: &Identity) -> Result<Connection, ConnectError> {
        let tls = tls::session(identity, &self.options.clock)?;
        let quic = self.dial(addr, tls).await?;
        let certificate = shown(&quic).and_then(|certificate| PeerIdentity::from_der(&certificate).ok());
        let Some(peer) = certificate else {
            let detail = "it showed no certificate".to_owned();
            return Err(ConnectError::NotTrusted { addr, detail });
        };
        Ok(Connection::new(quic, peer, false))
    }

    pub(crate) async fn dial(
        &self,
        addr: SocketAddr,
        tls: QuicClientConfig,
    ) -> Result<quinn::Connection, ConnectError> {
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(limits::dialing_transport(&self.options.road)));
        let connecting = self
            .endpoint(addr)?
            .connect_with(config, addr, HUB_NAME)
            .map_err(|e| ConnectError::Address { addr, detail: e.to_string() })?;
        let after = self.options.connect_timeout;
        match timeout(after, connecting).await {
            Ok(Ok(quic)) => Ok(quic),
            Ok(Err(ConnectionError::TimedOut)) | Err(_) => Err(ConnectError::Timeout { addr, after }),
            Ok(Err(error)) => Err(refusal(addr, &error)),
        }
    }

    fn endpoint(&self, addr: SocketAddr) -> Result<Endpoint, ConnectError> {
        let (slot, any) = match addr {
            SocketAddr::V4(_) => (&self.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&self.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = slot.as_ref() {
            return Ok(endpoint.clone());
        }
        let underlay = self.options.underlay.as_deref();
        let endpoint = socket::endpoint(underlay, any, limits::DIALER_SOCKET_BYTES, None)
            .map_err(|source| ConnectError::Socket { addr, source })?;
        Ok(slot.insert(endpoint).clone())
    }

    /// Closes every connection of this dialer with this code and text, and waits until the farewells have left (at
    /// most [`limits::CLOSE_LINGER`]). It can dial again afterwards.
    pub async fn close(&self, code: CloseCode, text: &str) {
        for slot in [&self.v4, &self.v6] {
            let endpoint = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(endpoint) = endpoint {
                endpoint.close(code.varint(), crate::close::cut(text).as_bytes());
                // What has not left by then is told by its idle timeout.
                let _ = timeout(limits::CLOSE_LINGER, endpoint.wait_idle()).await;
            }
        }
    }
}

fn refusal(addr: SocketAddr, error: &ConnectionError) -> ConnectError {
    match error {
        ConnectionError::TransportError(error) => {
            ConnectError::NotTrusted { addr, detail: error.to_string() }
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            ConnectError::Busy { addr }
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::crypto(alert::NO_APPLICATION_PROTOCOL) =>
        {
            ConnectError::OtherProtocol { addr }
        }
        ConnectionError::VersionMismatch => ConnectError::OtherProtocol { addr },
        error => ConnectError::Refused { addr, reason: CloseReason::of(error, None) },
    }
}
