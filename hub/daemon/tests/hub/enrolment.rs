//! Enrolment and renewal: who gets a certificate, and who does not.

use std::time::Duration;

use bytes::Bytes;
use millrace_host::Clock;
use millrace_link::{
    CertificateRequest, CloseCode, EnrollError, EnrolmentRefusal, Identity, JoinSecret, JoinToken,
};
use millrace_model::Wall;
use millrace_wire::limits::FRAME_MAX;
use millrace_wire::{Frame, GoodbyeCode, RenewalRequest, decode, encode};
use serde_json::json;

use crate::world::{World, soon};

const NOON: Wall = Wall(1_800_000_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn refusal(outcome: Result<Identity, EnrollError>) -> (EnrolmentRefusal, String) {
    match outcome {
        Err(EnrollError::Refused { why, text }) => (why, text),
        other => panic!("a refusal was due, and {other:?} came"),
    }
}

#[tokio::test]
async fn a_machine_with_a_token_becomes_a_device_once() {
    let world = World::new().await;
    let token = world.token(json!({"name": "press-7", "labels": {"line": "2"}})).await;
    let (why, text) = refusal(world.enrol_with(&token, Some("another name")).await);
    assert_eq!(why, EnrolmentRefusal::NotPermitted);
    assert!(text.contains("press-7") && text.contains("another name"), "{text}");
    let identity = world.enrol_with(&token, None).await.unwrap();
    assert_eq!(identity.own().name, "press-7", "the token's name counts");
    let devices = world.get("/v1/devices").await;
    let device = &devices["devices"][0];
    assert_eq!((&device["name"], &device["labels"]["line"]), (&json!("press-7"), &json!("2")));
    assert_eq!(device["id"], identity.own().device().unwrap().to_string());

    let (why, text) = refusal(world.enrol_with(&token, None).await);
    assert!(why == EnrolmentRefusal::Used && text.contains("token create"), "{text}");
}

#[tokio::test]
async fn wrong_secrets_and_taken_names_are_refused_with_the_fix() {
    let world = World::new().await;
    let token = world.token(json!({})).await;
    let forged = JoinToken { secret: JoinSecret::fresh().unwrap(), ..token.clone() };
    let (why, text) = refusal(world.enrol_with(&forged, None).await);
    assert!(why == EnrolmentRefusal::UnknownSecret && text.contains("token create"), "{text}");
    world.enrol("press-7").await;
    let (why, text) = refusal(world.enrol_with(&token, Some("press-7")).await);
    assert!(why == EnrolmentRefusal::NotPermitted && text.contains("devices revoke"), "{text}");
    world.enrol_with(&token, Some("press-8")).await.unwrap();
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let (clock, hand) = Clock::manual(NOON);
    let world = World::with(clock, |_| {}).await;
    let token = world.token(json!({})).await;
    hand.advance(Duration::from_secs(3_601));
    assert_eq!(refusal(world.enrol_with(&token, None).await).0, EnrolmentRefusal::Expired);
}

#[tokio::test]
async fn a_certificate_is_renewed_inside_a_session_and_both_keys_work_until_the_new_one_is_used() {
    let world = World::new().await;
    let old = world.enrol("press-7").await;
    let mut agent = world.session(&old, 1).await;
    let request = CertificateRequest::fresh().unwrap();
    let asked = RenewalRequest { request: Bytes::copy_from_slice(request.csr_der()) };
    agent.say(Frame::RenewalRequest(asked)).await;
    let Frame::RenewalGrant(grant) = agent.next().await else { panic!("a grant was due") };
    assert_eq!(grant.chain.matches("BEGIN CERTIFICATE").count(), 2, "device first, CA last");
    let new = old.renewed(&request, &grant.chain).unwrap();
    assert_ne!(new.own().serial, old.own().serial);
    world.session(&old, 1).await;
    world.session(&new, 1).await;
}

#[tokio::test]
async fn a_request_that_is_none_ends_the_session() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    let forged = RenewalRequest { request: Bytes::from_static(b"let me in") };
    agent.say(Frame::RenewalRequest(forged)).await;
    assert_eq!(agent.goodbye().await.code, GoodbyeCode::Protocol);
}

#[tokio::test]
async fn a_machine_from_the_drawer_renews_its_expired_certificate_and_does_nothing_else() {
    let (clock, hand) = Clock::manual(NOON);
    let world = World::with(clock, |_| {}).await;
    let old = world.enrol("press-7").await;
    hand.advance(25 * DAY);
    let world = world.restarted().await;
    hand.advance(10 * DAY);
    let connection = world.dialer.connect(world.quic, &old).await.unwrap();
    let (mut outlet, mut inlet) = connection.open_bi(0).await.unwrap();
    let request = CertificateRequest::fresh().unwrap();
    let asked = RenewalRequest { request: Bytes::copy_from_slice(request.csr_der()) };
    outlet.send(encode(&Frame::RenewalRequest(asked)).unwrap()).await.unwrap();
    let bytes = soon(inlet.next(FRAME_MAX)).await.unwrap().unwrap();
    let Frame::RenewalGrant(grant) = decode(&bytes).unwrap() else { panic!("a grant was due") };
    let new = old.renewed(&request, &grant.chain).unwrap();
    assert_eq!(soon(connection.closed()).await.code, CloseCode::Shutdown);
    let _agent = world.session(&new, 1).await;
    assert_eq!(world.get("/v1/status").await["sessions"], 1);
}
