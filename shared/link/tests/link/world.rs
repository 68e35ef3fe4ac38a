//! A small world for these tests: one cluster with its CA, a registry, a clock that can be moved, and peers that
//! do not keep to our code.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use millrace_link::{
    Accepted, Admission, CertificateAuthority, CertificateRequest, ClientOptions, Clock, Connection, Dialer,
    Identity, Listener, PeerIdentity, Role, ServerOptions, Verdict,
};
use millrace_model::{DeviceId, HubId, Wall};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const LIFE: Duration = Duration::from_secs(30 * 86_400);
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Default)]
pub(crate) struct Registry(Mutex<BTreeMap<Role, Verdict>>);

impl Registry {
    pub(crate) fn says(&self, role: Role, verdict: Verdict) {
        self.0.lock().unwrap().insert(role, verdict);
    }
}

impl Admission for Registry {
    fn admits(&self, peer: &PeerIdentity) -> Verdict {
        self.0.lock().unwrap().get(&peer.role).copied().unwrap_or(Verdict::CurrentKey)
    }
}

pub(crate) struct World {
    pub(crate) ca: CertificateAuthority,
    pub(crate) registry: Arc<Registry>,
    seconds: Arc<AtomicI64>,
}

pub(crate) fn device_role(number: u8) -> Role {
    Role::Device(DeviceId::from_bytes([number; 16]))
}

pub(crate) fn hub_role(number: u8) -> Role {
    Role::Hub(HubId::from_bytes([number; 16]))
}

impl World {
    pub(crate) fn new() -> Self {
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let ca = CertificateAuthority::fresh("plant", Wall(1_800_000_000_000_000)).unwrap();
        Self { ca, registry: Arc::default(), seconds }
    }

    pub(crate) fn now(&self) -> Wall {
        Wall(self.seconds.load(Ordering::SeqCst) * 1_000_000)
    }

    pub(crate) fn pass(&self, span: Duration) {
        self.seconds.fetch_add(i64::try_from(span.as_secs()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.seconds);
        Arc::new(move || Wall(seconds.load(Ordering::SeqCst) * 1_000_000))
    }

    pub(crate) fn certified(&self, role: Role) -> (Identity, CertificateRequest) {
        let request = CertificateRequest::fresh().unwrap();
        let certificate = self.ca.issue(request.csr_der(), role, "someone", LIFE, self.now()).unwrap();
        (Identity::granted(&request, &certificate, self.ca.certificate_pem()).unwrap(), request)
    }

    pub(crate) fn hub(&self) -> Identity {
        self.certified(hub_role(1)).0
    }

    pub(crate) fn device(&self, number: u8) -> Identity {
        self.certified(device_role(number)).0
    }

    pub(crate) fn options(&self) -> ServerOptions {
        ServerOptions::new(self.hub(), Arc::clone(&self.registry) as Arc<dyn Admission>, self.clock())
    }

    pub(crate) fn listen(&self) -> Listener {
        Listener::bind(LOOPBACK, self.options()).unwrap()
    }

    pub(crate) fn dialer(&self) -> Dialer {
        Dialer::new(ClientOptions::new(self.clock()))
    }

    /// A device's session, seen from both ends: (dialed, accepted).
    pub(crate) async fn session(&self, dialer: &Dialer, listener: &Listener) -> (Connection, Connection) {
        let dialed = dialer.connect(listener.local_addr().unwrap(), &self.device(7)).await.unwrap();
        (dialed, session_of(listener).await)
    }
}

pub(crate) async fn session_of(listener: &Listener) -> Connection {
    match listener.accept().await.unwrap() {
        Accepted::Session(connection) => connection,
        Accepted::Enrolment(_) => panic!("an enrolment came instead of a session"),
    }
}

/// A frame with this body: its length, and the body.
pub(crate) fn frame(body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(body.len()).unwrap());
    frame.put_slice(body);
    frame.freeze()
}

/// Believes every server: what a hostile or curious client does.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A client of nobody's making: no certificate, this protocol name, everything that rustls offers switched on.
pub(crate) fn stranger_tls(alpn: &[u8]) -> rustls::ClientConfig {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.enable_early_data = true;
    tls
}

pub(crate) fn stranger_config(tls: rustls::ClientConfig) -> quinn::ClientConfig {
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

pub(crate) fn stranger_endpoint() -> quinn::Endpoint {
    quinn::Endpoint::client(LOOPBACK).unwrap()
}

/// A stranger's connection to a hub.
pub(crate) async fn stranger(to: SocketAddr, alpn: &[u8]) -> quinn::Connection {
    let config = stranger_config(stranger_tls(alpn));
    stranger_endpoint().connect_with(config, to, "hub.millrace").unwrap().await.unwrap()
}

/// A server of nobody's making that shows these certificates and asks for none.
pub(crate) fn impostor(chain: &[&str], key_pem: &str) -> quinn::Endpoint {
    let chain = chain.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect();
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![b"millrace/1".to_vec(), b"millrace-enroll/1".to_vec()];
    tls.max_early_data_size = u32::MAX;
    let server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    quinn::Endpoint::server(server, LOOPBACK).unwrap()
}
