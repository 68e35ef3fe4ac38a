//! The task at a listener's door: takes every knock at once, sees each handshake through in its own task, and hands
//! over who was let in.
//!
//! Promise: a slow, silent or hostile handshake delays nobody else; what is too much is refused at once, without
//! state of ours.
//! Absent: who is let in (`tls::listening`), and what is said afterwards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use quinn::{Endpoint, Incoming};
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::limits::HANDSHAKES_BEFORE_RETRY;
use crate::pending::{Pending, Place};
use crate::tls::{ALPN_ENROLMENT, Gate, forgiven};
use crate::{Accepted, CloseCode, Connection, EnrolmentConnection, PeerIdentity};

/// What a listener's door has seen since it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DoorCounts {
    /// Sessions and enrolments handed over.
    pub admitted: u64,
    /// Attempts that had to show first that their address is their own.
    pub challenged: u64,
    /// Attempts refused because a limit was reached.
    pub refused: u64,
    /// Handshakes that failed, timed out or were not admitted.
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    admitted: AtomicU64,
    challenged: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    pub(crate) fn counts(&self) -> DoorCounts {
        DoorCounts {
            admitted: self.admitted.load(Ordering::Relaxed),
            challenged: self.challenged.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Everything that the door needs to decide.
pub(crate) struct Doorkeeper {
    pub(crate) endpoint: Endpoint,
    pub(crate) gate: Arc<Gate>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) connections_max: usize,
    pub(crate) tally: Arc<Tally>,
    pub(crate) accepted: mpsc::Sender<Accepted>,
}

/// Why a handshake led to nothing; for the log only.
#[derive(Debug, thiserror::Error)]
enum Turned {
    #[error(transparent)]
    Handshake(#[from] quinn::ConnectionError),
    #[error("a session without a certificate")]
    NoCertificate,
    #[error(transparent)]
    Certificate(#[from] crate::CertificateError),
    #[error(transparent)]
    Enrolment(#[from] crate::EnrolmentError),
}

impl Doorkeeper {
    /// Keeps the door until the endpoint is closed.
    pub(crate) async fn keep(self) {
        let pending = Pending::default();
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.knock(incoming, &pending, &mut handshakes),
                    None => return,
                },
                Some(_) = handshakes.join_next(), if !handshakes.is_empty() => {}
            }
        }
    }

    fn knock(&self, incoming: Incoming, pending: &Pending, handshakes: &mut JoinSet<()>) {
        if self.endpoint.open_connections() >= self.connections_max {
            count(&self.tally.refused);
            return incoming.refuse();
        }
        let crowded = pending.all() >= HANDSHAKES_BEFORE_RETRY;
        if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
            count(&self.tally.challenged);
            // Fails only where a retry is not allowed, which was asked.
            let _ = incoming.retry();
            return;
        }
        let Some(place) = pending.enter(incoming.remote_address().ip()) else {
            count(&self.tally.refused);
            return incoming.refuse();
        };
        handshakes.spawn(self.usher(incoming, place));
    }

    /// Sees one handshake through. Its place is held until somebody takes the connection, so that a hub which does
    /// not call `accept` fills up and refuses instead of growing.
    fn usher(&self, incoming: Incoming, place: Place) -> impl Future<Output = ()> + use<> {
        let remote = incoming.remote_address();
        let greeted = timeout(self.handshake_timeout, greet(incoming, Arc::clone(&self.gate)));
        let (tally, accepted) = (Arc::clone(&self.tally), self.accepted.clone());
        async move {
            match greeted.await {
                Ok(Ok(visitor)) => {
                    count(&tally.admitted);
                    // Fails only when the listener is gone, and the connection with it.
                    let _ = accepted.send(visitor).await;
                }
                Ok(Err(turned)) => turned_away(&tally, remote, &turned.to_string()),
                Err(_) => turned_away(&tally, remote, "it took too long"),
            }
            drop(place);
        }
    }
}

fn turned_away(tally: &Tally, remote: SocketAddr, why: &str) {
    count(&tally.failed);
    tracing::debug!(%remote, why, "a handshake led to no session");
}

async fn greet(incoming: Incoming, gate: Arc<Gate>) -> Result<Accepted, Turned> {
    let quic = incoming.accept()?.await?;
    if spoken(&quic).as_deref() == Some(ALPN_ENROLMENT) {
        return Ok(Accepted::Enrolment(EnrolmentConnection::receive(quic).await?));
    }
    let Some(certificate) = shown(&quic) else {
        quic.close(CloseCode::CertificateRequired.varint(), b"a session needs a certificate: enrol first");
        return Err(Turned::NoCertificate);
    };
    let peer = PeerIdentity::from_der(&certificate)?;
    let must_renew = forgiven(&peer, (gate.clock)());
    Ok(Accepted::Session(Connection::new(quic, peer, must_renew)))
}

fn spoken(quic: &quinn::Connection) -> Option<Vec<u8>> {
    quic.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

/// The certificate that the peer showed, which the handshake has verified.
pub(crate) fn shown(quic: &quinn::Connection) -> Option<CertificateDer<'static>> {
    let chain = quic.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.into_iter().next()
}
