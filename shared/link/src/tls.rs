//! The TLS side: 1.3 only, ring, mutual certificates, and no way to come back without a handshake.
//!
//! Promise: no resumption in either direction. A resumed session would skip the certificate check, and with it
//! revocation.
//! Absent: sockets. Nothing here is visible outside this crate.

mod dialing;
mod listening;

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;

use crate::PeerIdentity;
use crate::clock::unix_time;

pub(crate) use dialing::{PinnedHub, enrolling, session};
pub(crate) use listening::{Gate, forgiven, listening};

/// Protocol of sessions between certified peers.
pub(crate) const ALPN_SESSION: &[u8] = b"millrace/1";
/// Protocol of the one exchange that a machine without a certificate may have.
pub(crate) const ALPN_ENROLMENT: &[u8] = b"millrace-enroll/1";

/// A certificate, key or setting cannot be used for TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TLS cannot be set up with this identity: {0}")]
pub struct TlsError(String);

macro_rules! tls_error_from {
    ($($foreign:ty),*) => {
        $(impl From<$foreign> for TlsError {
            fn from(error: $foreign) -> Self {
                Self(error.to_string())
            }
        })*
    };
}

tls_error_from!(
    rustls::Error,
    rustls::client::VerifierBuilderError,
    quinn::crypto::rustls::NoInitialCipherSuite
);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    Ok(Arc::new(roots))
}

/// Whether `ca` issued `certificate` (of `own`) for dialing, which every role may. Asked at the last second of
/// its life, because being expired is another question.
pub(crate) fn issued_by(
    certificate: &CertificateDer<'static>,
    ca: &CertificateDer<'static>,
    own: &PeerIdentity,
) -> bool {
    let verifier = roots(ca)
        .ok()
        .and_then(|roots| WebPkiClientVerifier::builder_with_provider(roots, provider()).build().ok());
    let verified = |verifier: Arc<dyn rustls::server::danger::ClientCertVerifier>| {
        verifier.verify_client_cert(certificate, &[], unix_time(own.not_after)).is_ok()
    };
    verifier.is_some_and(verified)
}
