//! Who is let in, and what the others are told.

use millrace_link::{CloseCode, ConnectError, Connection, Dialer, Identity, Listener, Verdict};

use crate::world::{DAY, LIFE, World, device_role, hub_role, impostor, session_of, stranger};

/// What the hub says to this identity, and that it let nobody in.
async fn refusal(dialer: &Dialer, listener: &Listener, identity: &Identity) -> CloseCode {
    let dialed = dialer.connect(listener.local_addr().unwrap(), identity).await.unwrap();
    let reason = dialed.closed().await;
    assert!(reason.by_peer, "{reason}");
    assert_eq!(listener.counts().admitted, 0);
    reason.code
}

/// What a device makes of a server that lets everybody in.
async fn dial_impostor(world: &World, impostor: &quinn::Endpoint) -> Result<Connection, ConnectError> {
    let (dialer, device) = (world.dialer(), world.device(7));
    let serving = async { impostor.accept().await.unwrap().await };
    let (dialed, served) = tokio::join!(dialer.connect(impostor.local_addr().unwrap(), &device), serving);
    assert!(served.is_err(), "the handshake was completed");
    dialed
}

#[tokio::test]
async fn both_sides_know_who_the_other_is() {
    let world = World::new();
    let listener = world.listen();
    let (dialed, accepted) = world.session(&world.dialer(), &listener).await;
    assert_eq!(dialed.peer().role, hub_role(1));
    assert_eq!(accepted.peer().role, device_role(7));
    assert_eq!(accepted.peer().name, "someone");
    assert!(!accepted.must_renew());
    assert_eq!(listener.counts().admitted, 1);
}

#[tokio::test]
async fn a_revoked_device_is_refused_at_the_handshake() {
    let world = World::new();
    let (listener, dialer, device) = (world.listen(), world.dialer(), world.device(7));
    world.registry.says(device_role(7), Verdict::Revoked);
    assert_eq!(refusal(&dialer, &listener, &device).await, CloseCode::Revoked);
    // The registry is asked anew each time.
    world.registry.says(device_role(7), Verdict::CurrentKey);
    let again = dialer.connect(listener.local_addr().unwrap(), &device).await.unwrap();
    assert_eq!(session_of(&listener).await.peer().role, device_role(7));
    assert_eq!(again.close_reason(), None);
}

#[tokio::test]
async fn a_device_that_nobody_knows_is_refused_at_the_handshake() {
    let world = World::new();
    world.registry.says(device_role(7), Verdict::Unknown);
    let refused = refusal(&world.dialer(), &world.listen(), &world.device(7)).await;
    assert_eq!(refused, CloseCode::NotAdmitted);
}

#[tokio::test]
async fn an_expired_certificate_with_the_current_key_is_let_in_and_marked() {
    let world = World::new();
    let (dialer, device) = (world.dialer(), world.device(7));
    world.pass(LIFE + DAY);
    let listener = world.listen();
    let _dialed = dialer.connect(listener.local_addr().unwrap(), &device).await.unwrap();
    let accepted = session_of(&listener).await;
    assert!(accepted.must_renew());
    assert_eq!(accepted.peer().role, device_role(7));
}

#[tokio::test]
async fn an_expired_certificate_with_another_key_is_refused() {
    let world = World::new();
    let device = world.device(7);
    world.registry.says(device_role(7), Verdict::Admitted);
    world.pass(LIFE + DAY);
    let refused = refusal(&world.dialer(), &world.listen(), &device).await;
    assert_eq!(refused, CloseCode::Expired);
}

#[tokio::test]
async fn a_certificate_beyond_its_grace_is_refused() {
    let world = World::new();
    let device = world.device(7);
    world.pass(LIFE + DAY * 3);
    let mut options = world.options();
    options.grace = DAY * 2;
    let listener = Listener::bind(crate::world::LOOPBACK, options).unwrap();
    assert_eq!(refusal(&world.dialer(), &listener, &device).await, CloseCode::Expired);
}

#[tokio::test]
async fn a_device_of_another_cluster_is_refused() {
    let (world, other) = (World::new(), World::new());
    let listener = world.listen();
    // A stranger that trusts our hub and shows a certificate of another CA, for the same device.
    let key = other.certified(device_role(7));
    let shown = Identity::from_pem(key.0.certificate_pem(), key.1.key_pem(), world.ca.certificate_pem());
    assert!(shown.is_err(), "an identity of two clusters was put together");
    let refused = other.dialer().connect(listener.local_addr().unwrap(), &key.0).await;
    assert!(matches!(refused, Err(ConnectError::NotTrusted { .. })), "{refused:?}");
    assert_eq!(listener.counts().admitted, 0);
}

#[tokio::test]
async fn a_session_without_a_certificate_is_closed_at_once() {
    let world = World::new();
    let listener = world.listen();
    let stranger = stranger(listener.local_addr().unwrap(), b"millrace/1").await;
    let quinn::ConnectionError::ApplicationClosed(close) = stranger.closed().await else { panic!() };
    assert_eq!(close.error_code.into_inner(), u64::from(CloseCode::CertificateRequired.number()));
    assert_eq!(listener.counts().admitted, 0);
}

#[tokio::test]
async fn a_device_cannot_pass_for_a_hub() {
    let world = World::new();
    let (device, request) = world.certified(device_role(9));
    let impostor = impostor(&[device.certificate_pem()], request.key_pem());
    let refused = dial_impostor(&world, &impostor).await;
    assert!(matches!(refused, Err(ConnectError::NotTrusted { .. })), "{refused:?}");
    let mut options = world.options();
    options.identity = device;
    assert!(Listener::bind(crate::world::LOOPBACK, options).is_err());
}

#[tokio::test]
async fn a_hub_of_another_cluster_is_not_trusted() {
    let (world, other) = (World::new(), World::new());
    let (hub, request) = other.certified(hub_role(1));
    let impostor = impostor(&[hub.certificate_pem(), other.ca.certificate_pem()], request.key_pem());
    let refused = dial_impostor(&world, &impostor).await;
    assert!(matches!(refused, Err(ConnectError::NotTrusted { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_device_whose_clock_starts_in_1970_reaches_its_hub() {
    let world = World::new();
    let listener = world.listen();
    let clock: millrace_link::Clock = std::sync::Arc::new(|| millrace_model::Wall(0));
    let dialer = Dialer::new(millrace_link::ClientOptions::new(clock));
    let (_dialed, accepted) = world.session(&dialer, &listener).await;
    assert_eq!(accepted.peer().role, device_role(7));
}

#[tokio::test]
async fn an_expired_hub_is_not_trusted() {
    let world = World::new();
    let listener = world.listen();
    world.pass(LIFE + DAY);
    let device = world.device(7);
    let refused = world.dialer().connect(listener.local_addr().unwrap(), &device).await;
    assert!(matches!(refused, Err(ConnectError::NotTrusted { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_replaced_identity_is_shown_from_the_next_handshake_on() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (before, _accepted) = world.session(&dialer, &listener).await;
    let renewed = world.hub();
    listener.replace_identity(&renewed).unwrap();
    let (after, _accepted_after) = world.session(&dialer, &listener).await;
    assert_ne!(before.peer().serial, after.peer().serial);
    assert_eq!(after.peer().serial, renewed.own().serial);
    assert_eq!(before.close_reason(), None, "the open connection stays");
    assert!(listener.replace_identity(&world.device(7)).is_err());
}

#[tokio::test]
async fn a_hub_dials_another_hub() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (second, _) = world.certified(hub_role(2));
    let dialed = dialer.connect(listener.local_addr().unwrap(), &second).await.unwrap();
    assert_eq!((session_of(&listener).await.peer().role, dialed.peer().role), (hub_role(2), hub_role(1)));
    world.registry.says(hub_role(2), Verdict::Revoked);
    let refused = dialer.connect(listener.local_addr().unwrap(), &second).await.unwrap().closed().await;
    assert_eq!(refused.code, CloseCode::Revoked);
}
