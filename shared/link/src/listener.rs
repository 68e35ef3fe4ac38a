//! A hub's ear: one UDP port on which sessions and enrolments arrive.
//!
//! Promise: whatever [`Listener::accept`] returns has passed the door; the identity can be replaced while it listens.
//! Absent: what is said in a session.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, ServerConfig};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::close::cut;
use crate::doorkeeper::{Doorkeeper, Tally};
use crate::tls::{self, Gate};
use crate::{
    Admission, Clock, CloseCode, Connection, DoorCounts, EnrolmentConnection, Identity, TlsError, Underlay,
    limits, renewal, socket,
};

/// How a hub listens. [`Self::new`] has every default; change what you know better.
pub struct ServerOptions {
    /// The hub's own identity.
    pub identity: Identity,
    /// Who is known.
    pub admission: Arc<dyn Admission>,
    /// By which clock certificates are judged.
    pub clock: Clock,
    /// How long an expired certificate with the current key may still open a session to be renewed.
    pub grace: Duration,
    /// Whether machines without a certificate may enrol here.
    pub enrolment: bool,
    /// Connections kept at once; further attempts are refused.
    pub connections_max: usize,
    /// Time for one handshake.
    pub handshake_timeout: Duration,
    /// What carries the packets; the operating system when `None`.
    pub underlay: Option<Arc<dyn Underlay>>,
}

impl ServerOptions {
    /// Options with this identity and the defaults of [`limits`].
    #[must_use]
    pub fn new(identity: Identity, admission: Arc<dyn Admission>, clock: Clock) -> Self {
        Self {
            identity,
            admission,
            clock,
            grace: renewal::GRACE,
            enrolment: true,
            connections_max: limits::CONNECTIONS_MAX,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
            underlay: None,
        }
    }
}

/// Who came in.
#[derive(Debug)]
pub enum Accepted {
    /// A certified peer.
    Session(Connection),
    /// A machine without a certificate that asks for one.
    Enrolment(EnrolmentConnection),
}

/// Why a hub cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The operating system refuses the port.
    #[error("cannot listen on UDP {addr}: {source}")]
    Socket {
        /// The address asked for.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The identity cannot serve.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A device's identity was given.
    #[error("{0} cannot listen: only a hub's certificate can serve")]
    NotAHub(String),
}

/// A bound port. Dropping it closes every connection that came through it.
pub struct Listener {
    endpoint: Endpoint,
    server: ServerConfig,
    gate: Arc<Gate>,
    tally: Arc<Tally>,
    accepted: Mutex<mpsc::Receiver<Accepted>>,
    keeper: JoinHandle<()>,
}

impl Listener {
    /// Listens on `addr`; port 0 lets the operating system choose. Needs a running tokio runtime.
    ///
    /// # Errors
    /// When the port is taken or not allowed, or the identity is not a hub's.
    pub fn bind(addr: SocketAddr, options: ServerOptions) -> Result<Self, BindError> {
        let gate = Arc::new(Gate {
            admission: options.admission,
            clock: options.clock,
            grace: options.grace,
            enrolment: options.enrolment,
        });
        if options.identity.own().hub().is_none() {
            return Err(BindError::NotAHub(options.identity.own().role.to_string()));
        }
        let mut server = ServerConfig::with_crypto(Arc::new(tls::listening(&options.identity, &gate)?));
        limits::bound_server(&mut server);
        let own = (server.clone(), options.identity.key().secret_der());
        let underlay = options.underlay.as_deref();
        let endpoint = socket::endpoint(underlay, addr, limits::HUB_SOCKET_BYTES, Some(own))
            .map_err(|source| BindError::Socket { addr, source })?;
        let (accepted, receiver) = mpsc::channel(limits::ACCEPT_QUEUE_MAX);
        let tally = Arc::<Tally>::default();
        let keeper = Doorkeeper {
            endpoint: endpoint.clone(),
            gate: Arc::clone(&gate),
            handshake_timeout: options.handshake_timeout,
            connections_max: options.connections_max,
            tally: Arc::clone(&tally),
            accepted,
        };
        let keeper = tokio::spawn(keeper.keep());
        Ok(Self { endpoint, server, gate, tally, accepted: Mutex::new(receiver), keeper })
    }

    /// The next session or enrolment; `None` after [`Self::close`]. Dropping the future loses nobody.
    pub async fn accept(&self) -> Option<Accepted> {
        self.accepted.lock().await.recv().await
    }

    /// Answers with `identity` from the next handshake on. Open connections stay as they are.
    ///
    /// # Errors
    /// When it is not a hub's; the old identity then stays.
    pub fn replace_identity(&self, identity: &Identity) -> Result<(), BindError> {
        if identity.own().hub().is_none() {
            return Err(BindError::NotAHub(identity.own().role.to_string()));
        }
        let mut server = self.server.clone();
        server.crypto = Arc::new(tls::listening(identity, &self.gate)?);
        self.endpoint.set_server_config(Some(server));
        Ok(())
    }

    /// The address on which it listens.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Connections open or being opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// What the door has seen.
    #[must_use]
    pub fn counts(&self) -> DoorCounts {
        self.tally.counts()
    }

    /// Closes every connection with this code and text, lets nobody in any more, and waits until the farewells have
    /// left (at most [`limits::CLOSE_LINGER`]).
    pub async fn close(&self, code: CloseCode, text: &str) {
        self.endpoint.close(code.varint(), cut(text).as_bytes());
        // What has not left by then is told by its idle timeout.
        let _ = timeout(limits::CLOSE_LINGER, self.endpoint.wait_idle()).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.keeper.abort();
        self.endpoint.close(CloseCode::Shutdown.varint(), b"");
    }
}
