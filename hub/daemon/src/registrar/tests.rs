//! The registrar against a real registry.

use std::collections::BTreeMap;

use millrace_hub_control::kv::{Command, Txn};
use millrace_link::{CertificateRequest, JoinSecret, KeyHash};

use super::guesses::WRONG_MAX;
use super::*;
use crate::registry::put;

const NOW: Wall = Wall(1_800_000_000_000_000);
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct World {
    _dir: tempfile::TempDir,
    registrar: Registrar,
    hand: millrace_host::clock::ManualClock,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::manual(NOW);
    let registry = crate::registry::tests::lone(dir.path()).await;
    let ca = CertificateAuthority::fresh("plant", NOW).unwrap();
    let ca_pem = ca.certificate_pem().to_owned();
    let registrar = Registrar::new(registry, &ca_pem, Some(ca), clock, Duration::from_secs(86_400));
    World { _dir: dir, registrar, hand }
}

fn order(uses: u32) -> TokenOrder {
    let labels = BTreeMap::from([("site".to_owned(), "north".to_owned())]);
    let addresses = vec!["hub:7443".to_owned()];
    TokenOrder {
        name: None,
        labels,
        uses,
        life: Duration::from_secs(3_600),
        addresses,
        hub: false,
        replace: None,
        witness: false,
    }
}

fn request(secret: JoinSecret, key: u8) -> EnrolmentRequest {
    let csr_der = CertificateRequest::fresh().unwrap().csr_der().to_vec();
    let labels = BTreeMap::from([("site".to_owned(), "south".to_owned()), ("line".into(), "2".into())]);
    let public_key_hash = KeyHash::from_bytes([key; 32]);
    EnrolmentRequest {
        secret,
        csr_der,
        public_key_hash,
        name: Some(format!("press-{key}")),
        labels,
        replace: None,
    }
}

#[tokio::test]
async fn the_tokens_labels_win_over_the_machines() {
    let world = world().await;
    let token = world.registrar.make_token(order(1)).await.unwrap();
    world.registrar.enrol(&request(token.secret, 1), HERE).await.unwrap();
    let device = world.registrar.registry.find("press-1").unwrap();
    assert_eq!(device.labels["site"], "north");
    assert_eq!(device.labels["line"], "2");
}

#[tokio::test]
async fn a_token_is_good_once_and_until_it_expires() {
    let world = world().await;
    let token = world.registrar.make_token(order(1)).await.unwrap();
    world.registrar.enrol(&request(token.secret, 1), HERE).await.unwrap();
    let used = world.registrar.enrol(&request(token.secret, 2), HERE).await.unwrap_err();
    assert_eq!(used.why, EnrolmentRefusal::Used);
    let late = world.registrar.make_token(order(1)).await.unwrap();
    world.hand.advance(Duration::from_secs(3_601));
    let expired = world.registrar.enrol(&request(late.secret, 3), HERE).await.unwrap_err();
    assert_eq!(expired.why, EnrolmentRefusal::Expired);
}

#[tokio::test]
async fn a_machine_that_lost_the_answer_may_ask_again_and_stays_one_device() {
    let world = world().await;
    let token = world.registrar.make_token(order(1)).await.unwrap();
    let asked = CertificateRequest::fresh().unwrap();
    let mut request = request(token.secret, 1);
    let pem = world.registrar.ca().unwrap().issue(
        asked.csr_der(),
        Role::Device(DeviceId::default()),
        "x",
        Duration::from_secs(60),
        NOW,
    );
    request.csr_der = asked.csr_der().to_vec();
    request.public_key_hash = PeerIdentity::from_pem(&pem.unwrap()).unwrap().public_key_hash;
    let first = PeerIdentity::from_pem(&world.registrar.enrol(&request, HERE).await.unwrap().pem).unwrap();
    let again = PeerIdentity::from_pem(&world.registrar.enrol(&request, HERE).await.unwrap().pem).unwrap();
    assert_eq!(first.role, again.role);
    assert_eq!(world.registrar.registry.counts(), (1, 0));
}

#[tokio::test]
async fn whoever_guesses_is_slowed_down_and_others_are_not() {
    let world = world().await;
    let token = world.registrar.make_token(order(9)).await.unwrap();
    for _ in 0..WRONG_MAX {
        let wrong = request(JoinSecret::fresh().unwrap(), 1);
        assert_eq!(
            world.registrar.enrol(&wrong, HERE).await.unwrap_err().why,
            EnrolmentRefusal::UnknownSecret
        );
    }
    let blocked = world.registrar.enrol(&request(token.secret, 1), HERE).await.unwrap_err();
    assert_eq!(blocked.why, EnrolmentRefusal::Unavailable);
    let elsewhere = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    world.registrar.enrol(&request(token.secret, 1), elsewhere).await.unwrap();
    world.hand.advance(Duration::from_secs(61));
    world.registrar.enrol(&request(token.secret, 2), HERE).await.unwrap();
}

#[tokio::test]
async fn a_machine_that_asks_for_another_name_than_its_tokens_is_told_both() {
    let world = world().await;
    let token =
        world.registrar.make_token(TokenOrder { name: Some("press-9".into()), ..order(1) }).await.unwrap();
    let refused = world.registrar.enrol(&request(token.secret, 1), HERE).await.unwrap_err();
    assert_eq!(refused.why, EnrolmentRefusal::NotPermitted);
    assert!(refused.text.contains("`press-9`") && refused.text.contains("`press-1`"), "{}", refused.text);
    let named = EnrolmentRequest { name: Some("press-9".into()), ..request(token.secret, 1) };
    world.registrar.enrol(&named, HERE).await.unwrap();
}

#[tokio::test]
async fn a_hubs_token_makes_a_hub_and_no_device_and_a_devices_token_no_hub() {
    let world = world().await;
    let hub = world.registrar.make_token(TokenOrder { name: Some("hub-2".into()), hub: true, ..order(1) });
    let hub = hub.await.unwrap();
    let asked = EnrolmentRequest { name: None, ..request(hub.secret, 1) };
    let refused = world.registrar.enrol(&asked, HERE).await.unwrap_err();
    assert!(refused.text.contains("millrace-hub join"), "{}", refused.text);
    let as_hub = |secret| EnrolmentRequest {
        name: None,
        labels: BTreeMap::from([(HUB_LABEL.to_owned(), String::new())]),
        ..request(secret, 1)
    };
    let device = world.registrar.make_token(order(1)).await.unwrap();
    let refused = world.registrar.enrol(&as_hub(device.secret), HERE).await.unwrap_err();
    assert!(refused.text.contains("--hub"), "{}", refused.text);
    let granted = world.registrar.enrol(&as_hub(hub.secret), HERE).await.unwrap();
    let peer = PeerIdentity::from_pem(&granted.pem).unwrap();
    assert_eq!((peer.hub().is_some(), peer.name.as_str()), (true, "hub-2"));
    use millrace_link::{Admission, Verdict};
    assert_eq!(world.registrar.registry.admits(&peer), Verdict::Admitted, "it is about to join");
    let stranger = PeerIdentity { role: Role::Hub(HubId::from_bytes([9; 16])), ..peer };
    assert_eq!(world.registrar.registry.admits(&stranger), Verdict::Unknown);
}

/// A token that another hub made: it is decided, and this hub hears of it when it comes to that.
async fn decided_elsewhere(world: &World, uses: u32) -> JoinSecret {
    let secret = JoinSecret::fresh().unwrap();
    let fingerprint = hex(&secret.fingerprint());
    let expires = NOW.plus(Duration::from_secs(3_600));
    let token = Token { expires, ..crate::registry::tests::token(&fingerprint, uses) };
    let txn = Txn { then: vec![put(keys::token(&token.fingerprint), &token).unwrap()], ..Txn::default() };
    let cluster = world.registrar.registry.cluster();
    cluster.control().propose(&Command::Txn(txn)).await.unwrap();
    secret
}

#[tokio::test]
async fn a_token_that_another_hub_made_a_moment_ago_is_good_here_at_once() {
    let world = world().await;
    for number in 1..=u8::try_from(WRONG_MAX).unwrap() + 2 {
        let secret = decided_elsewhere(&world, 1).await;
        world.registrar.enrol(&request(secret, number), HERE).await.unwrap();
        let used = world.registrar.enrol(&request(secret, 99), HERE).await.unwrap_err();
        assert_eq!(used.why, EnrolmentRefusal::Used);
    }
}

#[tokio::test]
async fn a_hub_that_does_not_hear_what_is_decided_refuses_nobody_for_good() {
    let world = world().await;
    let following = world.registrar.registry.cluster().following().unwrap();
    following.abort();
    assert!(following.await.unwrap_err().is_cancelled());
    let secret = decided_elsewhere(&world, 1).await;
    let refused = world.registrar.enrol(&request(secret, 1), HERE).await.unwrap_err();
    assert_eq!(refused.why, EnrolmentRefusal::Unavailable);
}

#[tokio::test]
async fn a_hub_that_cannot_ask_the_cluster_refuses_nobody_for_good_and_counts_no_guess() {
    let world = world().await;
    world.registrar.registry.cluster().close().await;
    for _ in 0..=WRONG_MAX {
        let asked = request(JoinSecret::fresh().unwrap(), 1);
        let refused = world.registrar.enrol(&asked, HERE).await.unwrap_err();
        assert_eq!(refused.why, EnrolmentRefusal::Unavailable);
        assert!(refused.text.contains("look the join token up"), "{}", refused.text);
    }
}

/// A request over a real key, so that its certificate has the key that it says.
fn genuine(world: &World, secret: JoinSecret) -> EnrolmentRequest {
    let asked = CertificateRequest::fresh().unwrap();
    let role = Role::Device(DeviceId::default());
    let ca = world.registrar.ca().unwrap();
    let pem = ca.issue(asked.csr_der(), role, "x", Duration::from_secs(60), NOW).unwrap();
    let public_key_hash = PeerIdentity::from_pem(&pem).unwrap().public_key_hash;
    let csr_der = asked.csr_der().to_vec();
    EnrolmentRequest { csr_der, public_key_hash, name: None, ..request(secret, 1) }
}

/// The place of a device.
fn in_place_of(name: &str) -> TokenOrder {
    TokenOrder { labels: BTreeMap::new(), replace: Some(name.to_owned()), ..order(1) }
}

#[tokio::test]
async fn whoever_takes_the_place_of_a_device_is_that_device_and_the_machine_before_is_refused() {
    use millrace_link::{Admission, Verdict};
    let world = world().await;
    let registrar = &world.registrar;
    let first = registrar.make_token(TokenOrder { name: Some("press-7".into()), ..order(1) }).await.unwrap();
    let former = genuine(&world, first.secret);
    let granted = registrar.enrol(&former, HERE).await.unwrap();
    assert!(!granted.replaced);
    let old = PeerIdentity::from_pem(&granted.pem).unwrap();
    let id = old.device().unwrap();
    let labels = registrar.registry.device(&id).unwrap().labels;

    let token = registrar.make_token(in_place_of("press-7")).await.unwrap();
    assert_eq!(token.name.as_deref(), Some("press-7"), "the machine is told who it will be");
    let asked = EnrolmentRequest { replace: Some("press-7".into()), ..genuine(&world, token.secret) };
    let mut news = Vec::new();
    for _ in 0..2 {
        // The answer is lost once: the same key asks again.
        let granted = registrar.enrol(&asked, HERE).await.unwrap();
        assert!(granted.replaced);
        news.push(PeerIdentity::from_pem(&granted.pem).unwrap());
    }
    assert!(news.iter().all(|new| new.device() == Some(id) && new.name == "press-7"));
    assert_eq!(registrar.registry.device(&id).unwrap().labels, labels, "labels stay");
    assert_eq!(registrar.registry.counts(), (1, 0));
    assert_eq!(registrar.registry.admits(&news[0]), Verdict::CurrentKey);
    assert_eq!(registrar.registry.admits(&old), Verdict::Revoked);
    let told = registrar.registry.cluster().next_revoked().await;
    assert_eq!(told, [(id, crate::registry::Expelled::Replaced)].into());

    // The machine before neither renews, nor enrols again with the token that it once had.
    let renewed = registrar.renew(id, &old.public_key_hash, &former.csr_der).await;
    assert!(matches!(renewed, Err(RenewalError::Registry(RegistryError::Unknown { .. }))), "{renewed:?}");
    let again = registrar.enrol(&former, HERE).await.unwrap_err();
    assert_eq!(again.why, EnrolmentRefusal::NotPermitted, "{}", again.text);
    registrar.renew(id, &news[0].public_key_hash, &asked.csr_der).await.unwrap();
    let other = registrar.enrol(&genuine(&world, token.secret), HERE).await.unwrap_err();
    assert_eq!(other.why, EnrolmentRefusal::Used);
}

#[tokio::test]
async fn a_place_is_somebodys_who_is_there_and_keeps_its_name() {
    let world = world().await;
    let registrar = &world.registrar;
    let nobody = registrar.make_token(in_place_of("press-7")).await.unwrap_err();
    assert!(matches!(nobody, TokenMakingError::Nobody(_)), "{nobody}");
    let first = registrar.make_token(TokenOrder { name: Some("press-7".into()), ..order(1) }).await.unwrap();
    registrar.enrol(&genuine(&world, first.secret), HERE).await.unwrap();
    let renamed = TokenOrder { name: Some("press-8".into()), ..in_place_of("press-7") };
    let renamed = registrar.make_token(renamed).await.unwrap_err();
    assert!(matches!(renamed, TokenMakingError::Fixed(_)), "{renamed}");
    let as_hub = TokenOrder { hub: true, ..in_place_of("press-7") };
    assert!(matches!(registrar.make_token(as_hub).await, Err(TokenMakingError::NoHub(_))));

    // A token for the place of a device that is revoked meanwhile enrols nobody.
    let token = registrar.make_token(in_place_of("press-7")).await.unwrap();
    registrar.registry.revoke("press-7", "sold", NOW).await.unwrap();
    let late = registrar.enrol(&genuine(&world, token.secret), HERE).await.unwrap_err();
    assert!(late.why == EnrolmentRefusal::NotPermitted && late.text.contains("revoked"), "{}", late.text);
    assert!(registrar.make_token(in_place_of("press-7")).await.is_err());
}
