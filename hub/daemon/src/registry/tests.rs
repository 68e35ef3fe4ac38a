//! The registry against a real file.

use std::collections::BTreeMap;

use millrace_link::Serial;

use super::*;

const NOW: Wall = Wall(1_800_000_000_000_000);

fn key(number: u8) -> KeyHash {
    KeyHash::from_bytes([number; 32])
}

fn device(number: u8, name: &str) -> Device {
    let certificate = Certificate { serial: "01".into(), not_after: NOW, key: key(number) };
    Device {
        id: DeviceId::from_bytes([number; 16]),
        name: name.into(),
        labels: BTreeMap::new(),
        key: key(number),
        certificates: vec![certificate],
        enrolled_at: NOW,
        last_seen: None,
        software: String::new(),
        revoked: None,
    }
}

fn token(fingerprint: &str, uses: u32) -> Token {
    Token {
        fingerprint: fingerprint.into(),
        uses,
        expires: Wall(NOW.0 + 1),
        created_at: NOW,
        name: None,
        labels: BTreeMap::new(),
        used_by: Vec::new(),
    }
}

fn peer(number: u8, key: KeyHash) -> PeerIdentity {
    PeerIdentity {
        role: Role::Device(DeviceId::from_bytes([number; 16])),
        name: "press-7".into(),
        serial: Serial(1),
        not_before: NOW,
        not_after: NOW,
        public_key_hash: key,
    }
}

#[test]
fn a_token_enrols_as_many_machines_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("r.jsonl"), NOW).unwrap();
    registry.add_token(token("a", 2), NOW).unwrap();
    registry.enrol(device(1, "press-1"), "a").unwrap();
    registry.enrol(device(2, "press-2"), "a").unwrap();
    assert!(matches!(registry.enrol(device(3, "press-3"), "a"), Err(RegistryError::TokenUsed)));
    assert!(matches!(registry.enrol(device(3, "press-3"), "b"), Err(RegistryError::TokenUsed)));
    assert_eq!(registry.counts(), (2, 0));
}

#[test]
fn names_are_unique_until_their_holder_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("r.jsonl"), NOW).unwrap();
    registry.add_token(token("a", 9), NOW).unwrap();
    registry.enrol(device(1, "press-7"), "a").unwrap();
    let error = registry.enrol(device(2, "press-7"), "a").unwrap_err();
    assert!(error.to_string().contains("devices revoke"), "{error}");
    let named = Token { name: Some("press-7".into()), ..token("b", 1) };
    assert!(matches!(registry.add_token(named, NOW), Err(RegistryError::NameTaken { .. })));

    registry.revoke("press-7", "stolen", NOW).unwrap();
    assert!(matches!(registry.revoke("press-7", "again", NOW), Err(RegistryError::Revoked { .. })));
    registry.enrol(device(2, "press-7"), "a").unwrap();
    assert_eq!(registry.find("press-7").unwrap().id, DeviceId::from_bytes([2; 16]));
    assert_eq!(registry.find(&"01".repeat(16)).unwrap().revoked.unwrap().reason, "stolen");
}

#[test]
fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.jsonl");
    let registry = Registry::open(&path, NOW).unwrap();
    registry.add_token(token("a", 9), NOW).unwrap();
    registry.enrol(device(1, "press-1"), "a").unwrap();
    registry.enrol(device(2, "press-2"), "a").unwrap();
    registry
        .renewed(
            DeviceId::from_bytes([1; 16]),
            Certificate { key: key(9), ..device(1, "").certificates[0].clone() },
        )
        .unwrap();
    registry.seen(DeviceId::from_bytes([1; 16]), "agent 1", key(9), NOW);
    registry.revoke("press-2", "sold", NOW).unwrap();
    let before = registry.devices();
    drop(registry);
    let registry = Registry::open(&path, NOW).unwrap();
    assert_eq!(registry.devices(), before);
    assert_eq!(registry.token("a").unwrap().used_by.len(), 2);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3, "compacted");
    drop(registry);
    let late = Wall(NOW.0 + 31 * 86_400 * 1_000_000);
    assert_eq!(Registry::open(&path, late).unwrap().token("a"), None, "expired long ago");
}

#[test]
fn the_door_knows_current_old_revoked_and_unknown_keys() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("r.jsonl"), NOW).unwrap();
    registry.add_token(token("a", 9), NOW).unwrap();
    registry.enrol(device(1, "press-1"), "a").unwrap();
    let id = DeviceId::from_bytes([1; 16]);
    let says = |key| registry.admits(&peer(1, key));
    assert_eq!((says(key(1)), says(key(2))), (Verdict::CurrentKey, Verdict::Unknown));
    registry.renewed(id, Certificate { key: key(2), ..device(1, "").certificates[0].clone() }).unwrap();
    assert_eq!(
        (says(key(1)), says(key(2))),
        (Verdict::CurrentKey, Verdict::CurrentKey),
        "it may not have heard"
    );
    registry.seen(id, "agent", key(2), NOW);
    assert_eq!((says(key(1)), says(key(2))), (Verdict::Admitted, Verdict::CurrentKey));
    assert_eq!(registry.admits(&peer(8, key(1))), Verdict::Unknown);
    registry.revoke("press-1", "sold", NOW).unwrap();
    assert_eq!((says(key(1)), says(key(2))), (Verdict::Revoked, Verdict::Revoked));
    assert!(matches!(
        registry.renewed(id, device(1, "").certificates[0].clone()),
        Err(RegistryError::Unknown { .. })
    ));
}

#[test]
fn leaving_is_noted_and_brings_no_older_key_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.jsonl");
    let registry = Registry::open(&path, NOW).unwrap();
    registry.add_token(token("a", 1), NOW).unwrap();
    registry.enrol(device(1, "press-1"), "a").unwrap();
    let id = DeviceId::from_bytes([1; 16]);
    registry.seen(id, "agent 1", key(1), NOW);
    registry.seen(id, "agent 2", key(2), NOW);
    let later = Wall(NOW.0 + 3_600_000_000);
    registry.left(id, later);
    registry.left(DeviceId::from_bytes([9; 16]), later);
    drop(registry);
    let found = Registry::open(&path, later).unwrap().device(&id).unwrap();
    assert_eq!((found.last_seen, found.software.as_str(), found.key), (Some(later), "agent 2", key(2)));
}

#[test]
fn what_was_seen_too_soon_to_be_written_is_written_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.jsonl");
    let registry = Registry::open(&path, NOW).unwrap();
    registry.add_token(token("a", 1), NOW).unwrap();
    registry.enrol(device(1, "press-1"), "a").unwrap();
    let id = DeviceId::from_bytes([1; 16]);
    let at = |seconds: i64| Wall(NOW.0 + seconds * 1_000_000);
    registry.seen(id, "agent", key(1), NOW);
    let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
    let before = lines();
    (1..60).for_each(|second| registry.left(id, at(second)));
    assert_eq!(lines(), before, "once a minute is enough");
    assert_eq!(registry.device(&id).unwrap().last_seen, Some(at(59)));
    registry.left(id, at(60));
    assert_eq!(lines(), before + 1, "a minute counts from what was written");
    registry.left(id, at(70));
    registry.settle(at(99));
    registry.settle(at(99));
    assert_eq!(lines(), before + 2);
    drop(registry);
    assert_eq!(Registry::open(&path, NOW).unwrap().device(&id).unwrap().last_seen, Some(at(70)));
}
