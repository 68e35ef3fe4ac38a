//! The TLS side: 1.3 only, ring, mutual certificates, and no way to come back without a handshake.
//!
//! Promise: no resumption in either direction. A resumed session would skip the certificate check, and with it
//! revocation.
//! Absent: sockets. Nothing here is visible outside this crate.

mod dialing;
mod listening;

use std::sync::Arc;

use millrace_model::Wall;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

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

fn roots(ca: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, Error> {
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
    issued_at(certificate, ca, own.not_after).is_ok()
}

/// Whether `ca` issued `certificate` for dialing, and it was valid at `at`.
pub(crate) fn issued_at(
    certificate: &CertificateDer<'static>,
    ca: &CertificateDer<'static>,
    at: Wall,
) -> Result<(), Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca)?, provider()).build();
    let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
    verifier.verify_client_cert(certificate, &[], unix_time(at)).map(|_| ())
}

/// How identities sign: their keys are ECDSA P-256 ([`crate::ca`]).
const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// The signature of `key` over `message`. What TLS signs begins otherwise: [`crate::receipt`].
pub(crate) fn signature(key: &PrivateKeyDer<'static>, message: &[u8]) -> Result<Vec<u8>, Error> {
    let key = provider().key_provider.load_private_key(key.clone_key())?;
    let signer = key.choose_scheme(&[SCHEME]);
    signer.ok_or_else(|| Error::General("it is no key for ECDSA P-256".to_owned()))?.sign(message)
}

/// Whether the key of `certificate` made `signature` over `message`.
pub(crate) fn is_signed(certificate: &CertificateDer<'_>, message: &[u8], signature: &[u8]) -> bool {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let key = &certificate.public_key().subject_public_key.data;
    let known = provider().signature_verification_algorithms.mapping;
    let fitting =
        known.iter().filter(|(scheme, _)| *scheme == SCHEME).flat_map(|(_, algorithms)| *algorithms);
    // The others for this scheme are for longer keys, and refuse this one.
    fitting.into_iter().any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
}
