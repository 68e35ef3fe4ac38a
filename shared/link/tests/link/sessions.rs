//! How sessions live and end.

use std::time::Duration;

use bytes::Bytes;
use millrace_link::{
    ClientOptions, CloseCode, CloseReason, ConnectError, DatagramError, Dialer, Listener, Road, limits,
};

use crate::world::{LOOPBACK, World, frame, session_of};

#[tokio::test]
async fn a_farewell_arrives_with_its_code_and_text() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let (_outlet, mut inlet) = dialed.open_bi(0).await.unwrap();
    accepted.close(CloseCode::Moved, "hub-2 is nearer");
    accepted.close(CloseCode::Quota, "the first word counts");
    let told = CloseReason { code: CloseCode::Moved, text: "hub-2 is nearer".into(), by_peer: true };
    assert_eq!(dialed.closed().await, told);
    assert_eq!(dialed.close_reason(), Some(told.clone()));
    assert_eq!(accepted.closed().await, CloseReason { by_peer: false, ..told.clone() });
    assert_eq!(inlet.next(100).await, Err(millrace_link::ReceiveError::Closed(told.clone())));
    assert!(dialed.open_uni(0).await.is_err());
    assert!(told.to_string().contains("Moved (hub-2 is nearer)"));
}

#[tokio::test]
async fn a_closing_listener_says_farewell_to_everyone() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, _accepted) = world.session(&dialer, &listener).await;
    let ((), reason) = tokio::join!(listener.close(CloseCode::Shutdown, "upgrade"), dialed.closed());
    assert_eq!((reason.code, reason.text.as_str(), reason.by_peer), (CloseCode::Shutdown, "upgrade", true));
    assert!(listener.accept().await.is_none());
    assert_eq!(listener.connections(), 0);
}

#[tokio::test]
async fn a_closing_dialer_says_farewell_too() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (_dialed, accepted) = world.session(&dialer, &listener).await;
    let ((), reason) = tokio::join!(dialer.close(CloseCode::Shutdown, "going home"), accepted.closed());
    assert_eq!((reason.code, reason.text.as_str()), (CloseCode::Shutdown, "going home"));
    world.session(&dialer, &listener).await;
}

#[tokio::test]
async fn silence_beyond_the_idle_timeout_ends_a_session() {
    let world = World::new();
    let listener = world.listen();
    let mut options = ClientOptions::new(world.clock());
    let idle = Duration::from_millis(300);
    options.road = Road { idle_timeout: idle, keep_alive: Duration::from_secs(60), ..Road::FIBRE };
    let dialer = Dialer::new(options);
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let (ours, theirs) = tokio::join!(dialed.closed(), accepted.closed());
    assert_eq!((ours.code, ours.by_peer), (CloseCode::Lost, false));
    assert_eq!(theirs.code, CloseCode::Lost, "the smaller timeout holds on both sides");
}

#[tokio::test]
async fn signs_of_life_keep_a_silent_session() {
    let world = World::new();
    let listener = world.listen();
    let mut options = ClientOptions::new(world.clock());
    let idle = Duration::from_secs(1);
    options.road = Road { idle_timeout: idle, keep_alive: Duration::from_millis(200), ..Road::FIBRE };
    let dialer = Dialer::new(options);
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let silence = tokio::time::timeout(idle * 2, dialed.closed()).await;
    assert!(silence.is_err() && accepted.close_reason().is_none(), "{silence:?}");
}

#[tokio::test]
async fn a_full_hub_refuses_and_says_so() {
    let world = World::new();
    let mut options = world.options();
    options.connections_max = 1;
    let listener = Listener::bind(LOOPBACK, options).unwrap();
    let dialer = world.dialer();
    let (_dialed, _accepted) = world.session(&dialer, &listener).await;
    let refused = dialer.connect(listener.local_addr().unwrap(), &world.device(8)).await;
    assert!(matches!(refused, Err(ConnectError::Busy { .. })), "{refused:?}");
    assert_eq!(listener.counts().refused, 1);
}

#[tokio::test]
async fn nobody_there_is_a_timeout_that_names_the_address() {
    let world = World::new();
    let silent = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
    let mut options = ClientOptions::new(world.clock());
    options.connect_timeout = Duration::from_millis(50);
    let to = silent.local_addr().unwrap();
    let error = Dialer::new(options).connect(to, &world.device(7)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
    assert!(error.to_string().contains(&to.to_string()));
}

#[tokio::test]
async fn a_hub_that_does_not_enrol_says_that_it_does_not_speak_that() {
    let world = World::new();
    let mut options = world.options();
    options.enrolment = false;
    let listener = Listener::bind(LOOPBACK, options).unwrap();
    let stranger = crate::world::stranger_endpoint();
    let config = crate::world::stranger_config(crate::world::stranger_tls(b"millrace-enroll/1"));
    let to = listener.local_addr().unwrap();
    let refused = stranger.connect_with(config, to, "hub.millrace").unwrap().await.unwrap_err();
    assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused}");
    // Sessions are not affected.
    world.session(&world.dialer(), &listener).await;
}

#[tokio::test]
async fn one_port_serves_both_address_families() {
    let world = World::new();
    let Ok(listener) = Listener::bind("[::]:0".parse().unwrap(), world.options()) else {
        return; // A machine without IPv6 cannot show this.
    };
    let port = listener.local_addr().unwrap().port();
    let (dialer, device) = (world.dialer(), world.device(7));
    for host in ["127.0.0.1", "::1"] {
        let to = (host.parse::<std::net::IpAddr>().unwrap(), port).into();
        let dialed = dialer.connect(to, &device).await;
        assert_eq!(dialed.unwrap().peer().role, crate::world::hub_role(1), "{host}");
        session_of(&listener).await;
    }
}

#[tokio::test]
async fn datagrams_arrive_and_large_ones_are_refused() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    dialed.send_datagram(Bytes::from_static(b"ping")).unwrap();
    assert_eq!(accepted.read_datagram().await.unwrap(), "ping");
    let large = Bytes::from(vec![0; limits::DATAGRAM_BUFFER_BYTES + 1]);
    let refused = dialed.send_datagram(large);
    assert!(matches!(refused, Err(DatagramError::TooLong { found: 65_537, .. })), "{refused:?}");
    assert!(dialed.datagram_bytes_max() > 1_000);
    accepted.close(CloseCode::Shutdown, "");
    assert_eq!(dialed.closed().await.code, CloseCode::Shutdown);
    assert!(matches!(dialed.send_datagram(Bytes::new()), Err(DatagramError::Closed(_))));
}

#[tokio::test]
async fn urgent_frames_overtake_a_backlog() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let mut backlog = dialed.open_uni(-5).await.unwrap();
    let mut live = dialed.open_uni(5).await.unwrap();
    // Both are handed over before the road takes anything; the backlog would need many flights.
    backlog.send(Bytes::from(vec![0; 1 << 20])).await.unwrap();
    live.send(frame(b"live")).await.unwrap();
    let _backlog = accepted.accept_uni().await.unwrap();
    let mut inlet = accepted.accept_uni().await.unwrap();
    assert_eq!(inlet.next(100).await.unwrap().unwrap(), frame(b"live"));
    assert!(accepted.bytes_received() < 1 << 20, "the backlog had not arrived yet");
}

#[tokio::test]
async fn many_devices_are_connected_at_once() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let to = listener.local_addr().unwrap();
    let device = world.device(7);
    let dialing = async {
        let mut open = Vec::new();
        for _ in 0..50 {
            open.push(dialer.connect(to, &device).await.unwrap());
        }
        open
    };
    let accepting = async {
        let mut open = Vec::new();
        for _ in 0..50 {
            open.push(session_of(&listener).await);
        }
        open
    };
    let (dialed, accepted) = tokio::join!(dialing, accepting);
    assert_eq!((dialed.len(), accepted.len(), listener.connections()), (50, 50, 50));
}
