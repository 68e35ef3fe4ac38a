//! What peers achieve that keep to nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_link::ca::request_key_hash;
use millrace_link::{EnrolmentRequest, JoinToken, Listener, PeerIdentity, limits};
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;
use tokio::sync::watch;

use crate::world::{
    LOOPBACK, World, hub_role, impostor, stranger, stranger_config, stranger_endpoint, stranger_tls,
};

/// Keeps every ticket that it is given.
#[derive(Debug, Default)]
struct Collector(Mutex<Vec<Tls13ClientSessionValue>>);

impl ClientSessionStore for Collector {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.lock().unwrap().push(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap().pop()
    }
}

/// How many tickets a client that wants to resume gets from the server at `to` in one connection, and whether it
/// could send early data in the next.
async fn tickets(to: std::net::SocketAddr) -> (usize, bool) {
    let collector = Arc::<Collector>::default();
    let mut tls = stranger_tls(b"millrace-enroll/1");
    tls.resumption = Resumption::store(Arc::clone(&collector) as Arc<dyn ClientSessionStore>);
    let (config, endpoint) = (stranger_config(tls), stranger_endpoint());
    let first = endpoint.connect_with(config.clone(), to, "hub.millrace").unwrap().await.unwrap();
    // Tickets come with the server's first flight after the handshake, which also ends this connection or answers.
    first.closed().await;
    let tickets = collector.0.lock().unwrap().len();
    let early = endpoint.connect_with(config, to, "hub.millrace").unwrap().into_0rtt().is_ok();
    (tickets, early)
}

#[tokio::test]
async fn a_session_cannot_be_resumed() {
    let world = World::new();
    let mut options = world.options();
    // A stranger that asks nothing is sent away soon, which ends the connection that is looked at.
    options.handshake_timeout = Duration::from_secs(1);
    let listener = Listener::bind(LOOPBACK, options).unwrap();
    assert_eq!(tickets(listener.local_addr().unwrap()).await, (0, false));

    // The control: the same client does get tickets from a server that gives them.
    let (hub, request) = world.certified(hub_role(1));
    let generous = impostor(&[hub.certificate_pem()], request.key_pem());
    let to = generous.local_addr().unwrap();
    let serving = async {
        let connection = generous.accept().await.unwrap().await.unwrap();
        // A stream opened by the server: it leaves after the tickets.
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(b"x").await.unwrap();
        send.finish().unwrap();
        send.stopped().await.unwrap();
        connection.close(0_u32.into(), b"");
        generous.wait_idle().await;
    };
    let ((given, early), ()) = tokio::join!(tickets(to), serving);
    assert!(given > 0 && early, "{given} tickets, early data {early}");
}

#[tokio::test]
async fn a_machine_that_connects_and_asks_nothing_is_sent_away() {
    let world = World::new();
    let mut options = world.options();
    options.handshake_timeout = Duration::from_secs(1);
    let listener = Listener::bind(LOOPBACK, options).unwrap();
    let stranger = stranger(listener.local_addr().unwrap(), b"millrace-enroll/1").await;
    stranger.closed().await;
    assert_eq!((listener.counts().admitted, listener.counts().failed), (0, 1));
}

/// Passes on what arrives and never an answer back, so that every handshake stays half open.
struct OneWay {
    address: std::net::SocketAddr,
    passed: watch::Receiver<usize>,
}

impl OneWay {
    async fn to(hub: std::net::SocketAddr) -> Self {
        let inner = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
        let outer = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
        let address = inner.local_addr().unwrap();
        let (count, passed) = watch::channel(0);
        tokio::spawn(async move {
            let mut packet = [0; 2_048];
            while let Ok((length, _)) = inner.recv_from(&mut packet).await {
                outer.send_to(&packet[..length], hub).await.unwrap();
                count.send_modify(|passed| *passed += 1);
            }
        });
        Self { address, passed }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_half_open_handshakes_do_not_keep_an_honest_device_out() {
    const FLOOD: usize = 2_000;
    let world = World::new();
    let listener = world.listen();
    let mut road = OneWay::to(listener.local_addr().unwrap()).await;
    let endpoint = stranger_endpoint();
    let config = stranger_config(stranger_tls(b"millrace/1"));
    let mut half_open = Vec::new();
    while half_open.len() < FLOOD {
        for _ in 0..50 {
            half_open.push(endpoint.connect_with(config.clone(), road.address, "hub.millrace").unwrap());
        }
        // In steps that fit into a socket's buffer, so that the flood does reach the hub.
        let sent = half_open.len();
        road.passed.wait_for(|passed| *passed >= sent).await.unwrap();
    }
    let (_dialed, accepted) = world.session(&world.dialer(), &listener).await;
    assert_eq!(accepted.close_reason(), None);
    let counts = listener.counts();
    assert_eq!((counts.admitted, counts.refused), (1, 0), "{counts:?}");
    assert!(counts.challenged > 1_000, "{counts:?}");
    let kept = listener.connections();
    assert!(kept <= limits::HANDSHAKES_BEFORE_RETRY + 2, "{kept} connections are kept");
}

/// `bytes` with a few of them changed, doubled or missing.
fn damaged(bytes: &[u8], chance: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..chance.usize(1..6) {
        let place = chance.usize(..bytes.len());
        match chance.u8(..4) {
            0 => bytes[place] = chance.u8(..),
            1 => bytes[place] ^= 1 << chance.u8(..8),
            2 => bytes.insert(place, chance.u8(..)),
            _ => drop(bytes.remove(place)),
        }
    }
    bytes
}

#[test]
fn damaged_certificates_tokens_and_questions_are_errors_and_never_panics() {
    let world = World::new();
    let (device, request) = world.certified(hub_role(1));
    let (_, certificate) = x509_parser::pem::parse_x509_pem(device.certificate_pem().as_bytes()).unwrap();
    let token = JoinToken {
        ca: world.ca.key_hash(),
        addresses: vec!["hub:7440".into()],
        secret: millrace_link::JoinSecret::fresh().unwrap(),
        expires: world.now(),
        name: Some("press-7".into()),
        labels: [("site".into(), "tuebingen".into())].into(),
    };
    let token = token.to_string().into_bytes();
    let question =
        br#"----{"version":1,"secret":"00000000000000000000000000","request":"000","labels":{"a":"b"}}"#;
    let mut chance = fastrand::Rng::with_seed(7);
    let mut same = 0;
    for _ in 0..3_000 {
        let seen = PeerIdentity::from_der(&damaged(&certificate.contents, &mut chance));
        same += usize::from(seen.is_ok_and(|seen| seen == *device.own()));
        let typed = String::from_utf8_lossy(&damaged(&token, &mut chance)).into_owned();
        let _ = typed.parse::<JoinToken>();
        assert!(EnrolmentRequest::from_frame(&damaged(question, &mut chance)).is_err());
        // Bytes outside of what is signed may change; then the key is still the one that signed.
        let asked = request_key_hash(&damaged(request.csr_der(), &mut chance));
        assert!(asked.is_err() || asked.is_ok_and(|key| key == device.own().public_key_hash));
    }
    // Damage in the signature alone leaves what is said the same: the handshake notices that, not the reader.
    assert!(same < 3_000, "nothing was damaged");
}
