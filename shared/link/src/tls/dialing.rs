//! The dialing side of TLS: which hub is trusted.

use std::fmt;
use std::sync::{Arc, OnceLock};

use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ConfigBuilder, DigitallySignedStruct, Error, SignatureScheme, WantsVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{ALPN_ENROLMENT, ALPN_SESSION, TlsError, provider, roots};
use crate::ca::der_key_hash;
use crate::clock::{CertificateClock, Clock, unix_time};
use crate::{Identity, KeyHash, PeerIdentity, Role};

/// The TLS configuration for a session with any hub of the identity's cluster.
pub(crate) fn session(identity: &Identity, clock: &Clock) -> Result<QuicClientConfig, TlsError> {
    let verifier = CertifiedHub { ca: identity.ca().clone() };
    let mut tls = builder(clock)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(vec![identity.certificate().clone()], identity.key().clone_key())?;
    tls.alpn_protocols = vec![ALPN_SESSION.to_vec()];
    finish(tls)
}

/// The TLS configuration for an enrolment with a hub of the cluster that `pinned` describes.
pub(crate) fn enrolling(pinned: Arc<PinnedHub>, clock: &Clock) -> Result<QuicClientConfig, TlsError> {
    let mut tls = builder(clock)?.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_ENROLMENT.to_vec()];
    finish(tls)
}

fn builder(clock: &Clock) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    let clock = Arc::new(CertificateClock(Arc::clone(clock)));
    ClientConfig::builder_with_details(provider(), clock).with_protocol_versions(&[&rustls::version::TLS13])
}

fn finish(mut tls: ClientConfig) -> Result<QuicClientConfig, TlsError> {
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    Ok(QuicClientConfig::try_from(tls)?)
}

/// A hub certified by this CA: chain, purpose, name and role.
///
/// A certificate that begins in our future is judged at its own beginning: an edge device without a battery
/// starts in 1970, and must reach a hub before anyone can tell it the time. A forged beginning breaks the
/// CA's signature.
fn verify(
    ca: &CertificateDer<'static>,
    end_entity: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let peer = PeerIdentity::from_der(end_entity).map_err(|_| CertificateError::BadEncoding)?;
    let moment = now.max(unix_time(peer.not_before));
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(ca)?, provider())
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let verified = verifier.verify_server_cert(end_entity, &[], name, &[], moment)?;
    match peer.role {
        Role::Hub(_) => Ok(verified),
        Role::Device(_) => Err(CertificateError::InvalidPurpose.into()),
    }
}

macro_rules! signatures_as_ring_verifies_them {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

/// Trusts hubs of the CA that a certified machine knows.
#[derive(Debug)]
struct CertifiedHub {
    ca: CertificateDer<'static>,
}

impl ServerCertVerifier for CertifiedHub {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify(&self.ca, end_entity, name, now)
    }

    signatures_as_ring_verifies_them!();
}

/// Trusts hubs of the CA whose key has a known hash, and remembers the CA that it saw.
pub(crate) struct PinnedHub {
    hash: KeyHash,
    ca: OnceLock<CertificateDer<'static>>,
}

impl PinnedHub {
    /// Trusts the CA whose key has this hash.
    pub(crate) fn new(hash: KeyHash) -> Self {
        Self { hash, ca: OnceLock::new() }
    }

    /// The CA, once a hub has shown it.
    pub(crate) fn ca(&self) -> Option<&CertificateDer<'static>> {
        self.ca.get()
    }
}

impl fmt::Debug for PinnedHub {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PinnedHub").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for PinnedHub {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = intermediates
            .last()
            .filter(|ca| der_key_hash(ca).is_ok_and(|hash| hash == self.hash))
            .ok_or(CertificateError::UnknownIssuer)?
            .clone()
            .into_owned();
        let verified = verify(&ca, end_entity, name, now)?;
        // Set once: each enrolment has its own `PinnedHub`.
        let _ = self.ca.set(ca);
        Ok(verified)
    }

    signatures_as_ring_verifies_them!();
}
