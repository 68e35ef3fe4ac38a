//! The listening side of TLS: who is let in, and with which certificate the hub answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millrace_model::Wall;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{ALPN_ENROLMENT, ALPN_SESSION, TlsError, provider, roots};
use crate::clock::{CertificateClock, Clock, unix_time};
use crate::{Admission, Identity, PeerIdentity, Verdict};

/// What a listener asks of whoever knocks.
pub(crate) struct Gate {
    /// Who is known.
    pub(crate) admission: Arc<dyn Admission>,
    /// By which clock lives are judged.
    pub(crate) clock: Clock,
    /// How long an expired certificate with the current key is still let in.
    pub(crate) grace: Duration,
    /// Whether machines without a certificate may enrol.
    pub(crate) enrolment: bool,
}

/// The TLS configuration of a listener with this identity.
pub(crate) fn listening(identity: &Identity, gate: &Gate) -> Result<QuicServerConfig, TlsError> {
    Ok(QuicServerConfig::try_from(configuration(identity, gate)?)?)
}

fn configuration(identity: &Identity, gate: &Gate) -> Result<ServerConfig, TlsError> {
    let inner = WebPkiClientVerifier::builder_with_provider(roots(identity.ca())?, provider()).build()?;
    let visitors = Visitors { inner, admission: Arc::clone(&gate.admission), grace: gate.grace };
    let clock = Arc::new(CertificateClock(Arc::clone(&gate.clock)));
    let mut tls = ServerConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(visitors))
        .with_cert_resolver(Arc::new(Presented::of(identity)?));
    tls.alpn_protocols = vec![ALPN_SESSION.to_vec()];
    if gate.enrolment {
        tls.alpn_protocols.push(ALPN_ENROLMENT.to_vec());
    }
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    Ok(tls)
}

/// The hub's certificates: alone for sessions, whose dialers have the CA; with the CA for enrolment, so that a
/// dialer which knows only the hash of the CA's key can check it.
#[derive(Debug)]
struct Presented {
    session: Arc<CertifiedKey>,
    enrolment: Arc<CertifiedKey>,
}

impl Presented {
    fn of(identity: &Identity) -> Result<Self, Error> {
        let key = provider().key_provider.load_private_key(identity.key().clone_key())?;
        let own = identity.certificate().clone();
        Ok(Self {
            session: Arc::new(CertifiedKey::new(vec![own.clone()], Arc::clone(&key))),
            enrolment: Arc::new(CertifiedKey::new(vec![own, identity.ca().clone()], key)),
        })
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let session = hello.alpn().is_some_and(|mut offered| offered.any(|name| name == ALPN_SESSION));
        Some(Arc::clone(if session { &self.session } else { &self.enrolment }))
    }
}

/// Judges the certificates of visitors: genuine, alive (or forgiven), admitted. In this order, so that the
/// registry is asked about genuine certificates only.
struct Visitors {
    inner: Arc<dyn ClientCertVerifier>,
    admission: Arc<dyn Admission>,
    grace: Duration,
}

impl Visitors {
    /// The moment at which the chain is checked: now, or the last of its life when it is within its grace.
    fn moment(&self, peer: &PeerIdentity, now: UnixTime) -> Result<UnixTime, Error> {
        let end = unix_time(peer.not_after);
        if now <= end {
            return Ok(now);
        }
        let over = Duration::from_secs(now.as_secs().saturating_sub(end.as_secs()));
        if over <= self.grace { Ok(end) } else { Err(CertificateError::Expired.into()) }
    }
}

impl ClientCertVerifier for Visitors {
    /// Nobody is forced to show a certificate, because enrolment has none. A session without one is closed by the
    /// doorkeeper as soon as its handshake is over.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A machine has one certificate and needs no hint.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let peer = PeerIdentity::from_der(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let moment = self.moment(&peer, now)?;
        let verified = self.inner.verify_client_cert(end_entity, intermediates, moment)?;
        match self.admission.admits(&peer) {
            Verdict::CurrentKey => Ok(verified),
            Verdict::Admitted if moment == now => Ok(verified),
            Verdict::Admitted => Err(CertificateError::Expired.into()),
            Verdict::Revoked => Err(CertificateError::Revoked.into()),
            Verdict::Unknown => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl fmt::Debug for Visitors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Visitors").field("grace", &self.grace).finish_non_exhaustive()
    }
}

/// Whether a connection that was let in came with an expired certificate.
pub(crate) fn forgiven(peer: &PeerIdentity, now: Wall) -> bool {
    unix_time(now) > unix_time(peer.not_after)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use rustls::ClientConnection;
    use rustls::client::ClientConfig;
    use rustls::client::danger::ServerCertVerifier;

    use super::*;
    use crate::{CertificateAuthority, CertificateRequest, Role};

    struct Everyone;

    impl Admission for Everyone {
        fn admits(&self, _peer: &PeerIdentity) -> Verdict {
            Verdict::CurrentKey
        }
    }

    const NOW: Wall = Wall(1_800_000_000_000_000);

    fn hub() -> (Identity, ServerConfig) {
        let ca = CertificateAuthority::fresh("plant", NOW).unwrap();
        let request = CertificateRequest::fresh().unwrap();
        let life = Duration::from_secs(86_400);
        let hub = Role::Hub(millrace_model::HubId::from_bytes([1; 16]));
        let certificate = ca.issue(request.csr_der(), hub, "hub-1", life, NOW).unwrap();
        let identity = Identity::granted(&request, &certificate, ca.certificate_pem()).unwrap();
        let clock: Clock = Arc::new(|| NOW);
        let gate = Gate { admission: Arc::new(Everyone), clock, grace: life, enrolment: true };
        let tls = configuration(&identity, &gate).unwrap();
        (identity, tls)
    }

    /// A client that trusts the hub's CA, speaks this version and would like to resume.
    fn client(identity: &Identity, version: &'static rustls::SupportedProtocolVersion) -> ClientConnection {
        let roots = roots(identity.ca()).unwrap();
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider());
        let verifier: Arc<dyn ServerCertVerifier> = verifier.build().unwrap();
        let clock = Arc::new(CertificateClock(Arc::new(|| NOW)));
        let mut tls = ClientConfig::builder_with_details(provider(), clock)
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN_SESSION.to_vec()];
        ClientConnection::new(Arc::new(tls), crate::HUB_NAME.try_into().unwrap()).unwrap()
    }

    /// Passes bytes to and fro until nothing moves; the hub's refusal, if any.
    fn talk(client: &mut ClientConnection, hub: &mut rustls::ServerConnection) -> Result<(), Error> {
        loop {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut there).unwrap();
            }
            let mut there = Cursor::new(there);
            while hub.read_tls(&mut there).unwrap() > 0 {
                hub.process_new_packets()?;
            }
            while hub.wants_write() {
                hub.write_tls(&mut back).unwrap();
            }
            if back.is_empty() && there.get_ref().is_empty() {
                return Ok(());
            }
            let mut back = Cursor::new(back);
            while client.read_tls(&mut back).unwrap() > 0 {
                client.process_new_packets().unwrap();
            }
        }
    }

    #[test]
    fn tls_1_2_is_refused() {
        let (identity, tls) = hub();
        let mut hub = rustls::ServerConnection::new(Arc::new(tls)).unwrap();
        let refusal = talk(&mut client(&identity, &rustls::version::TLS12), &mut hub).unwrap_err();
        assert!(matches!(refusal, Error::PeerIncompatible(_)), "{refusal}");
    }

    #[test]
    fn tls_1_3_is_spoken_and_no_ticket_is_given() {
        let (identity, tls) = hub();
        let mut hub = rustls::ServerConnection::new(Arc::new(tls)).unwrap();
        let mut client = client(&identity, &rustls::version::TLS13);
        talk(&mut client, &mut hub).unwrap();
        assert!(!client.is_handshaking() && !hub.is_handshaking());
        assert_eq!(client.tls13_tickets_received(), 0);
    }
}
