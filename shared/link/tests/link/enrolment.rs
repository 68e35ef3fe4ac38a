//! How a new machine comes by its certificate, and that its secret goes to nobody else.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use millrace_link::{
    Accepted, CertificateRequest, EnrollError, Enrolled, EnrolmentConnection, EnrolmentRefusal, JoinSecret,
    JoinToken, KeyHash, Listener, Wishes,
};

use crate::world::{LIFE, World, device_role, hub_role, impostor, session_of, stranger};

fn token(ca: KeyHash, to: SocketAddr, world: &World) -> JoinToken {
    JoinToken {
        ca,
        addresses: vec![to.to_string()],
        secret: JoinSecret::fresh().unwrap(),
        expires: world.now().plus(crate::world::DAY),
        name: None,
        labels: BTreeMap::from([("site".into(), "tuebingen".into())]),
    }
}

async fn enrolment_of(listener: &Listener) -> EnrolmentConnection {
    match listener.accept().await.unwrap() {
        Accepted::Enrolment(enrolment) => enrolment,
        Accepted::Session(_) => panic!("a session came instead of an enrolment"),
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_machine_enrols_with_a_token_and_comes_back_with_its_certificate() {
    let world = World::new();
    let listener = world.listen();
    let to = listener.local_addr().unwrap();
    // The text is what an operator carries.
    let token: JoinToken = token(world.ca.key_hash(), to, &world).to_string().parse().unwrap();
    let (dialer, request) = (world.dialer(), CertificateRequest::fresh().unwrap());
    let wishes = Wishes {
        name: Some("press-7"),
        labels: labels(&[("site", "elsewhere"), ("line", "2")]),
        replace: Some("press-7"),
    };
    let asking = dialer.enroll(to, &token, &request, &wishes);
    let granting = async {
        let enrolment = enrolment_of(&listener).await;
        let asked = enrolment.request().clone();
        assert_eq!(asked.secret, token.secret);
        assert_eq!(asked.secret.fingerprint(), token.secret.fingerprint());
        assert_eq!((asked.name.as_deref(), asked.replace.as_deref()), (Some("press-7"), Some("press-7")));
        assert_eq!(asked.labels, labels(&[("site", "tuebingen"), ("line", "2")]), "the token's labels win");
        let certificate =
            world.ca.issue(&asked.csr_der, device_role(7), "press-7", LIFE, world.now()).unwrap();
        enrolment.grant(&certificate, world.ca.certificate_pem(), true).await.unwrap();
        asked.public_key_hash
    };
    let (identity, key) = tokio::join!(asking, granting);
    let Enrolled { identity, replaced } = identity.unwrap();
    assert!(replaced, "the machine hears whose place it took");
    assert_eq!(identity.own().role, device_role(7));
    assert_eq!(identity.own().public_key_hash, key);
    assert_eq!(identity.ca_key_hash(), world.ca.key_hash());
    let _dialed = dialer.connect(to, &identity).await.unwrap();
    assert_eq!(session_of(&listener).await.peer(), identity.own());
}

#[tokio::test]
async fn a_refusal_says_why() {
    let world = World::new();
    let listener = world.listen();
    let to = listener.local_addr().unwrap();
    let token = token(world.ca.key_hash(), to, &world);
    let (dialer, request) = (world.dialer(), CertificateRequest::fresh().unwrap());
    let none = Wishes::default();
    let refusing = async {
        let enrolment = enrolment_of(&listener).await;
        enrolment.refuse(EnrolmentRefusal::Used, "press-6 has used it").await.unwrap();
    };
    let (refused, ()) = tokio::join!(dialer.enroll(to, &token, &request, &none), refusing);
    let Err(EnrollError::Refused { why, text }) = refused else { panic!("{refused:?}") };
    assert_eq!((why, text.as_str()), (EnrolmentRefusal::Used, "press-6 has used it"));
}

#[tokio::test]
async fn an_interrupted_machine_comes_back_with_the_same_key() {
    let world = World::new();
    let listener = world.listen();
    let to = listener.local_addr().unwrap();
    let token = token(world.ca.key_hash(), to, &world);
    let (dialer, request) = (world.dialer(), CertificateRequest::fresh().unwrap());
    let none = Wishes::default();
    let dropping = async {
        let enrolment = enrolment_of(&listener).await;
        enrolment.request().public_key_hash
    };
    let (interrupted, first) = tokio::join!(dialer.enroll(to, &token, &request, &none), dropping);
    assert!(interrupted.is_err());
    let refusing = async {
        let enrolment = enrolment_of(&listener).await;
        let key = enrolment.request().public_key_hash;
        enrolment.refuse(EnrolmentRefusal::Unavailable, "").await.unwrap();
        key
    };
    let (_, second) = tokio::join!(dialer.enroll(to, &token, &request, &none), refusing);
    assert_eq!(first, second);
}

/// What a hub that is not of the token's cluster learns from a machine that tries to enrol.
async fn learned(impostor: &quinn::Endpoint) -> String {
    let connected = impostor.accept().await.unwrap().await;
    let connection = match connected {
        Ok(connection) => connection,
        Err(error) => return format!("handshake failed: {error}"),
    };
    match connection.accept_bi().await {
        Ok((_, mut receive)) => {
            let heard = receive.read_to_end(1 << 20).await.unwrap();
            format!("heard {}", String::from_utf8_lossy(&heard))
        }
        Err(error) => format!("no stream: {error}"),
    }
}

async fn enroll_at(impostor: &quinn::Endpoint, world: &World) -> (Result<Enrolled, EnrollError>, String) {
    let to = impostor.local_addr().unwrap();
    let token = token(world.ca.key_hash(), to, world);
    let (dialer, request) = (world.dialer(), CertificateRequest::fresh().unwrap());
    let none = Wishes::default();
    tokio::join!(dialer.enroll(to, &token, &request, &none), learned(impostor))
}

#[tokio::test]
async fn a_hub_of_another_cluster_gets_no_secret() {
    let (world, other) = (World::new(), World::new());
    let (hub, request) = other.certified(hub_role(1));
    // Its own CA; our CA, which is no secret; no CA at all.
    let own = [hub.certificate_pem(), other.ca.certificate_pem()];
    let ours = [hub.certificate_pem(), world.ca.certificate_pem()];
    let alone = [hub.certificate_pem()];
    for chain in [&own[..], &ours[..], &alone[..]] {
        let (refused, learned) = enroll_at(&impostor(chain, request.key_pem()), &world).await;
        assert!(matches!(refused, Err(EnrollError::WrongCluster { .. })), "{refused:?}");
        assert!(!learned.starts_with("heard"), "{learned}");
    }
}

#[tokio::test]
async fn a_device_of_the_same_cluster_gets_no_secret_either() {
    let world = World::new();
    let (device, request) = world.certified(device_role(9));
    let impostor = impostor(&[device.certificate_pem(), world.ca.certificate_pem()], request.key_pem());
    let (refused, learned) = enroll_at(&impostor, &world).await;
    assert!(matches!(refused, Err(EnrollError::WrongCluster { .. })), "{refused:?}");
    assert!(!learned.starts_with("heard"), "{learned}");
}

#[tokio::test]
async fn the_impostor_of_these_tests_would_hear_a_secret() {
    // The control: shown the right certificates, the same impostor does get the question.
    let world = World::new();
    let (hub, request) = world.certified(hub_role(1));
    let impostor = impostor(&[hub.certificate_pem(), world.ca.certificate_pem()], request.key_pem());
    let (_, learned) = enroll_at(&impostor, &world).await;
    assert!(learned.starts_with("heard") && learned.contains("secret"), "{learned}");
}

#[tokio::test]
async fn a_hub_that_grants_a_certificate_for_another_key_is_not_believed() {
    let world = World::new();
    let listener = world.listen();
    let to = listener.local_addr().unwrap();
    let token = token(world.ca.key_hash(), to, &world);
    let (dialer, request) = (world.dialer(), CertificateRequest::fresh().unwrap());
    let none = Wishes::default();
    let granting = async {
        let enrolment = enrolment_of(&listener).await;
        let other = world.device(8);
        enrolment.grant(other.certificate_pem(), world.ca.certificate_pem(), false).await.unwrap();
    };
    let (refused, ()) = tokio::join!(dialer.enroll(to, &token, &request, &none), granting);
    assert!(matches!(refused, Err(EnrollError::Identity(_))), "{refused:?}");
}

#[tokio::test]
async fn hostile_questions_are_refused_before_the_hub_sees_them() {
    let world = World::new();
    let listener = world.listen();
    let to = listener.local_addr().unwrap();
    let secret = "0".repeat(26);
    let questions = [
        String::new(),
        "[".repeat(10_000),
        format!(r#"{{"version":1,"secret":"{secret}","request":"000"}}"#),
        format!(r#"{{"version":9,"secret":"{secret}","request":"000"}}"#),
        r#"{"version":1,"secret":"short","request":"000"}"#.to_owned(),
    ];
    for question in &questions {
        let stranger = stranger(to, b"millrace-enroll/1").await;
        let (mut send, _receive) = stranger.open_bi().await.unwrap();
        send.write_all(&crate::world::frame(question.as_bytes())).await.unwrap();
        assert!(matches!(stranger.closed().await, quinn::ConnectionError::ApplicationClosed(_)));
    }
    assert_eq!(listener.counts().admitted, 0);
}
