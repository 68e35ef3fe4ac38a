//! What the CA takes from a signing request, and what it puts into a certificate.

use std::time::Duration;

use millrace_link::ca::{LEAF_LIFE_MAX, request_key_hash};
use millrace_link::{CaError, CertificateRequest, Identity, IdentityError, PeerIdentity, renewal};
use millrace_model::Wall;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use x509_parser::prelude::FromDer;

use crate::world::{LIFE, World, device_role, hub_role};

#[test]
fn a_certificate_says_what_the_ca_decided() {
    let world = World::new();
    let (device, request) = world.certified(device_role(7));
    let own = device.own();
    assert_eq!((own.role, own.name.as_str()), (device_role(7), "someone"));
    assert_eq!(own.not_after, world.now().plus(LIFE));
    assert!(own.not_before < world.now());
    assert_eq!(own.public_key_hash, request_key_hash(request.csr_der()).unwrap());
    assert!(own.device().is_some() && own.hub().is_none());
    assert_eq!(PeerIdentity::from_pem(device.certificate_pem()).unwrap(), *own);
    assert!(renewal::renew_at(own) > world.now());
    let shown = own.to_string();
    assert!(shown.contains("device 0707") && shown.contains("someone"), "{shown}");
}

#[test]
fn nothing_but_the_key_is_taken_from_a_request() {
    let world = World::new();
    let key = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::default();
    greedy.distinguished_name.push(DnType::CommonName, "hub-1");
    greedy.subject_alt_names = vec![
        SanType::URI(hub_role(1).uri().try_into().unwrap()),
        SanType::DnsName("hub.millrace".try_into().unwrap()),
    ];
    greedy.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    greedy.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = greedy.serialize_request(&key).unwrap();
    let issued = world.ca.issue(csr.der(), device_role(7), "press-7", LIFE, world.now()).unwrap();
    let own = PeerIdentity::from_pem(&issued).unwrap();
    assert_eq!((own.role, own.name.as_str()), (device_role(7), "press-7"));
    let (_, pem) = x509_parser::pem::parse_x509_pem(issued.as_bytes()).unwrap();
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&pem.contents).unwrap();
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert!(!certificate.is_ca());
    assert!(!issued.contains("hub.millrace"));
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 1);
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let world = World::new();
    let request = CertificateRequest::fresh().unwrap();
    let mut forged = request.csr_der().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let issue = |csr: &[u8]| world.ca.issue(csr, device_role(7), "press-7", LIFE, world.now());
    assert!(matches!(issue(&forged), Err(CaError::Request(_))));
    assert!(matches!(issue(b"not a request"), Err(CaError::Request(_))));
    assert!(matches!(issue(&vec![0x30; 100_000]), Err(CaError::Request(_))));
    let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let csr = CertificateParams::default().serialize_request(&other).unwrap();
    assert!(matches!(issue(csr.der()), Err(CaError::Request(_))), "only ECDSA P-256 is certified");
    assert!(issue(request.csr_der()).is_ok());
}

#[test]
fn names_lives_and_clocks_that_no_certificate_carries_are_refused() {
    let world = World::new();
    let request = CertificateRequest::fresh().unwrap();
    let issue = |name: &str, life, now| world.ca.issue(request.csr_der(), device_role(7), name, life, now);
    let now = world.now();
    assert!(matches!(issue("", LIFE, now), Err(CaError::Name(_))));
    assert!(matches!(issue("a\u{7}b", LIFE, now), Err(CaError::Name(_))));
    assert!(matches!(issue(&"x".repeat(65), LIFE, now), Err(CaError::Name(_))));
    assert!(matches!(issue("press", Duration::ZERO, now), Err(CaError::Life(_))));
    assert!(matches!(issue("press", LEAF_LIFE_MAX * 2, now), Err(CaError::Life(_))));
    assert!(matches!(issue("press", LIFE, Wall(i64::MAX / 2)), Err(CaError::Clock(_))));
    assert!(issue("Presse Süd 7", LIFE, now).is_ok());
}

#[test]
fn every_certificate_has_its_own_serial_number() {
    let world = World::new();
    let request = CertificateRequest::fresh().unwrap();
    let serial = || {
        let issued = world.ca.issue(request.csr_der(), device_role(7), "press-7", LIFE, world.now()).unwrap();
        PeerIdentity::from_pem(&issued).unwrap().serial
    };
    assert_ne!(serial(), serial());
}

#[test]
fn an_identity_is_whole_or_refused() {
    let (world, other) = (World::new(), World::new());
    let (device, request) = world.certified(device_role(7));
    let stranger = CertificateRequest::fresh().unwrap();
    let with_other_key = Identity::granted(&stranger, device.certificate_pem(), device.ca_pem());
    assert!(matches!(with_other_key, Err(IdentityError::Mismatch(_))));
    let with_other_ca = Identity::granted(&request, device.certificate_pem(), other.ca.certificate_pem());
    assert!(matches!(with_other_ca, Err(IdentityError::Foreign(_))));
    assert!(Identity::granted(&request, device.ca_pem(), device.ca_pem()).is_err());
    assert!(!format!("{device:?}{request:?}").contains("PRIVATE"));
}

#[test]
fn a_renewal_keeps_the_machine_and_changes_the_key() {
    let world = World::new();
    let (device, _) = world.certified(device_role(7));
    let request = CertificateRequest::fresh().unwrap();
    let issue = |role| world.ca.issue(request.csr_der(), role, "press-7", LIFE, world.now()).unwrap();
    let chain = format!("{}{}", issue(device_role(7)), world.ca.certificate_pem());
    let renewed = device.renewed(&request, &chain).unwrap();
    assert_eq!(renewed.own().role, device.own().role);
    assert_ne!(renewed.own().public_key_hash, device.own().public_key_hash);
    let someone_else = device.renewed(&request, &issue(device_role(8)));
    assert!(matches!(someone_else, Err(IdentityError::Renamed { .. })));
}
