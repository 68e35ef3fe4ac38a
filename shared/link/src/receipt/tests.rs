//! Every change of a receipt is found, and only who is named can have signed.

use std::time::Duration;

use millrace_model::receipt::{Holder, Shared, Standing, Statement, Subject, Verdict};
use millrace_model::{DeviceId, HubId, Incarnation, JournalId, Lane, NodeHash};

use super::*;
use crate::{CertificateAuthority, CertificateRequest};

const NOW: Wall = Wall(1_800_000_000_000_000);
const LIFE: Duration = Duration::from_secs(30 * 86_400);
const DEVICE: Role = Role::Device(DeviceId::from_bytes([7; 16]));
const HUB: Role = Role::Hub(HubId::from_bytes([1; 16]));

struct Cluster(CertificateAuthority);

impl Cluster {
    fn new() -> Self {
        Self(CertificateAuthority::fresh("plant", NOW).unwrap())
    }

    fn identity(&self, role: Role) -> Identity {
        let request = CertificateRequest::fresh().unwrap();
        let certificate = self.0.issue(request.csr_der(), role, "press\u{202e}7", LIFE, NOW).unwrap();
        Identity::granted(&request, &certificate, self.0.certificate_pem()).unwrap()
    }

    fn ca(&self) -> &str {
        self.0.certificate_pem()
    }
}

fn statement(at: Wall) -> Statement {
    let journal = JournalId {
        device: DeviceId::from_bytes([7; 16]),
        incarnation: Incarnation::new(0xabc),
        lane: Lane::Normal,
    };
    let standing =
        Standing { journal, floor: 1, head: 1_024, count: 1_024, root: Some(NodeHash([4; 16])), tail: 9 };
    let holder = |role: Role| Holder { who: role.into(), at_us: at };
    Statement {
        verdict: Verdict::Equal,
        holders: [holder(DEVICE), holder(HUB)],
        about: Subject::Journals(vec![standing]),
        left_out: 0,
    }
}

fn receipt(cluster: &Cluster) -> Receipt {
    let said = statement(NOW);
    let parts = [cluster.identity(DEVICE), cluster.identity(HUB)].map(|who| who.sign(&said).unwrap());
    Receipt::new(said, parts)
}

#[test]
fn a_receipt_holds_with_the_ca_of_its_cluster_alone() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let read = Receipt::from_json(receipt(&cluster).to_json().unwrap().as_bytes()).unwrap();
    let [device, hub] = read.check(cluster.ca()).unwrap();
    assert_eq!((device.role, hub.role), (DEVICE, HUB));
    assert!(matches!(read.check(other.ca()), Err(ReceiptError::Foreign(_))));
    assert!(matches!(read.check("no certificate"), Err(ReceiptError::Ca(_))));
}

#[test]
fn a_file_is_checked_with_a_file_and_faults_of_either_are_told_apart() {
    let (cluster, other, dir) = (Cluster::new(), Cluster::new(), tempfile::tempdir().unwrap());
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let whole = file("receipt", &receipt(&cluster).to_json().unwrap());
    let (ca, foreign) = (file("ca", cluster.ca()), file("foreign", other.ca()));
    let (broken, nowhere) = (file("broken", "{}"), dir.path().join("nowhere"));
    let (read, [device, hub]) = Receipt::load_checked(&whole, &ca).unwrap();
    assert_eq!((read, device.role, hub.role), (Receipt::load(&whole).unwrap(), DEVICE, HUB));
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound};
    for (receipt, ca, kind) in [
        (&whole, &foreign, InvalidData),
        (&broken, &ca, InvalidData),
        (&nowhere, &ca, NotFound),
        (&whole, &nowhere, InvalidInput),
        (&whole, &broken, InvalidInput),
    ] {
        let error = io::Error::from(Receipt::load_checked(receipt, ca).unwrap_err());
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn every_flipped_bit_of_what_is_said_signed_or_shown_is_found() {
    let cluster = Cluster::new();
    let whole = receipt(&cluster);
    let said = whole.statement.to_bytes();
    let ca = chain::first(cluster.ca()).unwrap();
    for (part, holder) in whole.signatures.iter().zip(whole.statement.holders) {
        let holds = |part: &Signed, said: &[u8]| {
            part.check((holder.who, holder.at_us), &[CONTEXT, said].concat(), &ca).is_ok()
        };
        assert!(holds(part, &said));
        let flips =
            |bytes: &[u8]| (0..bytes.len() * 8).map(|bit| (bit / 8, 1_u8 << (bit % 8))).collect::<Vec<_>>();
        for (byte, mask) in flips(&said) {
            let mut changed = said.clone();
            changed[byte] ^= mask;
            assert!(!holds(part, &changed), "byte {byte} of the statement");
        }
        for (byte, mask) in flips(&part.signature) {
            let mut changed = part.clone();
            changed.signature[byte] ^= mask;
            assert!(!holds(&changed, &said), "byte {byte} of the signature");
        }
        for (byte, mask) in flips(&part.certificate) {
            let mut der = part.certificate.to_vec();
            der[byte] ^= mask;
            let changed = Signed::from_parts(&der, &part.signature);
            assert!(!holds(&changed, &said), "byte {byte} of the certificate");
        }
    }
}

#[test]
fn a_changed_byte_of_the_file_breaks_it_or_means_nothing() {
    let cluster = Cluster::new();
    let whole = receipt(&cluster);
    let file = whole.to_json().unwrap().into_bytes();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        if let Ok(read) = Receipt::from_json(&changed)
            && read != whole
        {
            assert!(read.check(cluster.ca()).is_err(), "byte {at}");
        }
    }
}

#[test]
fn nobody_signs_for_somebody_else() {
    let cluster = Cluster::new();
    let said = statement(NOW);
    let stranger = cluster.identity(Role::Device(DeviceId::from_bytes([8; 16])));
    assert!(matches!(stranger.sign(&said), Err(ReceiptError::NotMine(_))));
    // The id of the hub in a device's certificate does not make it the hub.
    let posing = cluster.identity(Role::Device(DeviceId::from_bytes([1; 16])));
    assert!(matches!(posing.sign(&said), Err(ReceiptError::NotMine(_))));
    let Receipt { statement: said, signatures: [device, hub] } = receipt(&cluster);
    let swapped = Receipt::new(said.clone(), [hub.clone(), device.clone()]);
    assert!(matches!(swapped.check(cluster.ca()), Err(ReceiptError::Holder { .. })));
    let doubled = Receipt::new(said.clone(), [device.clone(), device.clone()]);
    assert!(matches!(doubled.check(cluster.ca()), Err(ReceiptError::Holder { .. })));
    // The certificate of one key and the signature of another.
    let mixed = Signed { certificate: hub.certificate.clone(), signature: device.signature.clone() };
    let mixed = Receipt::new(said, [device, mixed]);
    assert!(matches!(mixed.check(cluster.ca()), Err(ReceiptError::Signature(_))));
}

#[test]
fn a_certificate_counts_at_the_time_that_its_holder_states() {
    let cluster = Cluster::new();
    for at in [NOW.plus(LIFE * 2), Wall(0)] {
        let said = statement(at);
        let parts = [cluster.identity(DEVICE), cluster.identity(HUB)].map(|who| who.sign(&said).unwrap());
        let late = Receipt::new(said, parts).check(cluster.ca());
        assert!(matches!(late, Err(ReceiptError::Expired { party: Party::Device(_), .. })), "{late:?}");
    }
}

#[test]
fn what_tls_signs_is_no_receipt() {
    let cluster = Cluster::new();
    let hub = cluster.identity(HUB);
    let message = [&[0x20; 64][..], b"TLS 1.3, server CertificateVerify\0", &[7; 32]].concat();
    let signature = tls::signature(hub.key(), &message).unwrap();
    assert!(tls::is_signed(hub.certificate(), &message, &signature));
    let part = Signed { certificate: hub.certificate().clone(), signature };
    let said = statement(NOW);
    assert!(matches!(checked(&said, HUB.into(), &part, cluster.ca()), Err(ReceiptError::Signature(_))));
}

#[test]
fn what_is_no_receipt_is_told_from_a_broken_one() {
    let file = receipt(&Cluster::new()).to_json().unwrap();
    let read = |text: &str| Receipt::from_json(text.as_bytes());
    assert!(matches!(read("{}"), Err(ReceiptError::Form(_))));
    assert!(matches!(read(&file.replace("millrace receipt", "a letter")), Err(ReceiptError::Form(_))));
    assert!(matches!(read(&file.replace("\"version\": 1", "\"version\": 2")), Err(ReceiptError::Version(2))));
    assert!(matches!(read(&" ".repeat(RECEIPT_BYTES_MAX + 3)), Err(ReceiptError::TooLong)));
    let hidden = file.replace("-----BEGIN", "by the way\\n-----BEGIN");
    assert!(matches!(read(&hidden), Err(ReceiptError::Form(_))), "nothing stands beside a certificate");
    assert!(read(&file.replace("\"left_out\"", "\"more\": 1, \"left_out\"")).is_err());
}

#[test]
fn two_hubs_sign_for_their_partitions() {
    let cluster = Cluster::new();
    let other = Role::Hub(HubId::from_bytes([2; 16]));
    let shared = Shared { partitions: [1; 32], root: NodeHash([5; 16]), counts: Default::default() };
    let holder = |role: Role| Holder { who: role.into(), at_us: NOW };
    let said = Statement {
        holders: [holder(HUB), holder(other)],
        about: Subject::Partitions(shared),
        ..statement(NOW)
    };
    let parts = [cluster.identity(HUB), cluster.identity(other)].map(|who| who.sign(&said).unwrap());
    assert!(Receipt::new(said, parts).check(cluster.ca()).is_ok());
}

/// A receipt that real daemons made. Nobody has the keys any more: it holds, or the format has changed.
#[test]
fn a_receipt_of_version_1_holds_for_ever() {
    let file = include_bytes!("../../tests/golden/receipt-v1.json");
    let receipt = Receipt::from_json(file).unwrap();
    let [device, hub] = receipt.check(include_str!("../../tests/golden/receipt-v1-ca.pem")).unwrap();
    assert_eq!((device.name.as_str(), hub.name.as_str()), ("press-7", "hub-a"));
    assert_eq!(receipt.to_json().unwrap().as_bytes(), file);
}
