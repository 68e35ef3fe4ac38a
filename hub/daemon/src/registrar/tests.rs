//! The registrar against a real registry.

use millrace_link::{CertificateRequest, KeyHash};

use super::*;

const NOW: Wall = Wall(1_800_000_000_000_000);
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct World {
    _dir: tempfile::TempDir,
    registrar: Registrar,
    hand: millrace_host::clock::ManualClock,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::manual(NOW);
    let registry = Arc::new(Registry::open(&dir.path().join("r.jsonl"), NOW).unwrap());
    let ca = CertificateAuthority::fresh("plant", NOW).unwrap();
    let registrar = Registrar::new(registry, ca, clock, Duration::from_secs(86_400));
    World { _dir: dir, registrar, hand }
}

fn order(uses: u32) -> TokenOrder {
    let labels = BTreeMap::from([("site".to_owned(), "north".to_owned())]);
    let addresses = vec!["hub:7443".to_owned()];
    TokenOrder { name: None, labels, uses, life: Duration::from_secs(3_600), addresses }
}

fn request(secret: JoinSecret, key: u8) -> EnrolmentRequest {
    let csr_der = CertificateRequest::fresh().unwrap().csr_der().to_vec();
    let labels = BTreeMap::from([("site".to_owned(), "south".to_owned()), ("line".into(), "2".into())]);
    let public_key_hash = KeyHash::from_bytes([key; 32]);
    EnrolmentRequest { secret, csr_der, public_key_hash, name: Some(format!("press-{key}")), labels }
}

#[test]
fn the_tokens_labels_win_over_the_machines() {
    let world = world();
    let token = world.registrar.make_token(order(1)).unwrap();
    world.registrar.enrol(&request(token.secret, 1), HERE).unwrap();
    let device = world.registrar.registry.find("press-1").unwrap();
    assert_eq!(device.labels["site"], "north");
    assert_eq!(device.labels["line"], "2");
}

#[test]
fn a_token_is_good_once_and_until_it_expires() {
    let world = world();
    let token = world.registrar.make_token(order(1)).unwrap();
    world.registrar.enrol(&request(token.secret, 1), HERE).unwrap();
    let used = world.registrar.enrol(&request(token.secret, 2), HERE).unwrap_err();
    assert_eq!(used.why, EnrolmentRefusal::Used);
    let late = world.registrar.make_token(order(1)).unwrap();
    world.hand.advance(Duration::from_secs(3_601));
    let expired = world.registrar.enrol(&request(late.secret, 3), HERE).unwrap_err();
    assert_eq!(expired.why, EnrolmentRefusal::Expired);
}

#[test]
fn a_machine_that_lost_the_answer_may_ask_again_and_stays_one_device() {
    let world = world();
    let token = world.registrar.make_token(order(1)).unwrap();
    let asked = CertificateRequest::fresh().unwrap();
    let mut request = request(token.secret, 1);
    let pem = world.registrar.ca.issue(
        asked.csr_der(),
        Role::Device(DeviceId::default()),
        "x",
        Duration::from_secs(60),
        NOW,
    );
    request.csr_der = asked.csr_der().to_vec();
    request.public_key_hash = PeerIdentity::from_pem(&pem.unwrap()).unwrap().public_key_hash;
    let first = PeerIdentity::from_pem(&world.registrar.enrol(&request, HERE).unwrap()).unwrap();
    let again = PeerIdentity::from_pem(&world.registrar.enrol(&request, HERE).unwrap()).unwrap();
    assert_eq!(first.role, again.role);
    assert_eq!(world.registrar.registry.counts(), (1, 0));
}

#[test]
fn whoever_guesses_is_slowed_down_and_others_are_not() {
    let world = world();
    let token = world.registrar.make_token(order(9)).unwrap();
    for _ in 0..WRONG_MAX {
        let wrong = request(JoinSecret::fresh().unwrap(), 1);
        assert_eq!(world.registrar.enrol(&wrong, HERE).unwrap_err().why, EnrolmentRefusal::UnknownSecret);
    }
    let blocked = world.registrar.enrol(&request(token.secret, 1), HERE).unwrap_err();
    assert_eq!(blocked.why, EnrolmentRefusal::Unavailable);
    let elsewhere = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    world.registrar.enrol(&request(token.secret, 1), elsewhere).unwrap();
    world.hand.advance(Duration::from_secs(61));
    world.registrar.enrol(&request(token.secret, 2), HERE).unwrap();
}

#[test]
fn a_machine_that_asks_for_another_name_than_its_tokens_is_told_both() {
    let world = world();
    let token = world.registrar.make_token(TokenOrder { name: Some("press-9".into()), ..order(1) }).unwrap();
    let refused = world.registrar.enrol(&request(token.secret, 1), HERE).unwrap_err();
    assert_eq!(refused.why, EnrolmentRefusal::NotPermitted);
    assert!(refused.text.contains("`press-9`") && refused.text.contains("`press-1`"), "{}", refused.text);
    let named = EnrolmentRequest { name: Some("press-9".into()), ..request(token.secret, 1) };
    world.registrar.enrol(&named, HERE).unwrap();
}
