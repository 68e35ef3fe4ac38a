//! The registry of a hub that is alone: a real core with one voter, in a directory.

use std::collections::BTreeMap;

use millrace_link::Serial;

use super::*;
use crate::cluster::nowhere::Nowhere;
use crate::cluster::seat::{self, Taking};
use crate::places::{About, Places};

const NOW: Wall = Wall(1_800_000_000_000_000);

/// The registry of a hub that is alone in `dir`; made there when there is none.
pub(crate) async fn lone(dir: &std::path::Path) -> Arc<Registry> {
    let places = Places::new(dir);
    let about = About { name: "hub-1".into(), region: "north".into(), addresses: vec!["hub:7443".into()] };
    if places.read_seat().unwrap().is_none() && !places.registry().exists() {
        places.write_seat(&seat::founder().unwrap()).unwrap();
    }
    let sightings = Sightings::open(&places.seen()).unwrap();
    let taking = Taking {
        places: &places,
        about: &about,
        hub: HubId::from_bytes([1; 16]),
        key: key(1),
        options: millrace_hub_control::Options::lan(),
        transport: Arc::new(Nowhere),
        now: NOW,
    };
    seat::take(taking, sightings).await.unwrap()
}

/// Ends the registry and opens it again.
async fn reopened(registry: Arc<Registry>, dir: &std::path::Path) -> Arc<Registry> {
    registry.settle();
    registry.cluster().close().await;
    drop(registry);
    lone(dir).await
}

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
        replaced: None,
    }
}

/// A token that expires in a moment.
pub(crate) fn token(fingerprint: &str, uses: u32) -> Token {
    Token {
        fingerprint: fingerprint.into(),
        uses,
        expires: Wall(NOW.0 + 1),
        created_at: NOW,
        name: None,
        labels: BTreeMap::new(),
        used_by: Vec::new(),
        hub: false,
        replace: None,
        device: None,
        witness: None,
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

#[tokio::test]
async fn a_token_enrols_as_many_machines_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let registry = lone(dir.path()).await;
    registry.add_token(token("a", 2), NOW).await.unwrap();
    registry.enrol(device(1, "press-1"), "a").await.unwrap();
    registry.enrol(device(2, "press-2"), "a").await.unwrap();
    assert!(matches!(registry.enrol(device(3, "press-3"), "a").await, Err(RegistryError::TokenUsed)));
    assert!(matches!(registry.enrol(device(3, "press-3"), "b").await, Err(RegistryError::TokenUsed)));
    assert_eq!(registry.counts(), (2, 0));
}

#[tokio::test]
async fn names_are_unique_until_their_holder_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let registry = lone(dir.path()).await;
    registry.add_token(token("a", 9), NOW).await.unwrap();
    registry.enrol(device(1, "press-7"), "a").await.unwrap();
    let error = registry.enrol(device(2, "press-7"), "a").await.unwrap_err();
    assert!(error.to_string().contains("devices revoke"), "{error}");
    let named = Token { name: Some("press-7".into()), ..token("b", 1) };
    assert!(matches!(registry.add_token(named, NOW).await, Err(RegistryError::NameTaken { .. })));

    registry.revoke("press-7", "stolen", NOW).await.unwrap();
    assert!(matches!(registry.revoke("press-7", "again", NOW).await, Err(RegistryError::Revoked { .. })));
    registry.enrol(device(2, "press-7"), "a").await.unwrap();
    assert_eq!(registry.find("press-7").unwrap().id, DeviceId::from_bytes([2; 16]));
    assert_eq!(registry.find(&"01".repeat(16)).unwrap().revoked.unwrap().reason, "stolen");
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let registry = lone(dir.path()).await;
    registry.add_token(token("a", 9), NOW).await.unwrap();
    registry.enrol(device(1, "press-1"), "a").await.unwrap();
    registry.enrol(device(2, "press-2"), "a").await.unwrap();
    let renewed = Certificate { key: key(9), ..device(1, "").certificates[0].clone() };
    registry.renewed(DeviceId::from_bytes([1; 16]), renewed, &key(1)).await.unwrap();
    registry.seen(DeviceId::from_bytes([1; 16]), "agent 1", key(9), NOW);
    registry.revoke("press-2", "sold", NOW).await.unwrap();
    let before = registry.devices();
    let registry = reopened(registry, dir.path()).await;
    assert_eq!(registry.devices(), before);
    assert_eq!(registry.token("a").unwrap().used_by.len(), 2);
    let late = Wall(NOW.0 + 31 * 86_400 * 1_000_000);
    let fresh = Token { expires: Wall(late.0 + 1), ..token("b", 1) };
    registry.add_token(fresh, late).await.unwrap();
    assert_eq!(registry.token("a"), None, "expired long ago");
    registry.cluster().close().await;
}

#[tokio::test]
async fn what_a_hub_of_before_kept_is_taken_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = Places::new(dir.path()).registry();
    let (mut log, _) = log::Log::open(&path).unwrap();
    let revoked = DeviceId::from_bytes([2; 16]);
    for entry in [
        entry::Entry::Token { token: token("a", 9) },
        entry::Entry::Enrolled { device: device(1, "press-1"), fingerprint: "a".into() },
        entry::Entry::Enrolled { device: device(2, "press-2"), fingerprint: "a".into() },
        entry::Entry::Seen { device: device(1, "").id, at: NOW, software: "agent 1".into(), key: key(1) },
        entry::Entry::Revoked { device: revoked, at: NOW, reason: "sold".into() },
    ] {
        log.note(&entry).unwrap();
    }
    drop(log);
    let registry = lone(dir.path()).await;
    assert!(!path.exists() && path.with_extension("jsonl.imported").exists());
    assert_eq!((registry.counts(), registry.gone()), ((2, 1), [revoked].into()));
    let found = registry.find("press-1").unwrap();
    assert_eq!((found.last_seen, found.software.as_str()), (Some(NOW), "agent 1"));
    assert_eq!(registry.token("a").unwrap().used_by.len(), 2);
    assert!(matches!(registry.enrol(device(3, "press-1"), "a").await, Err(RegistryError::NameTaken { .. })));
    let registry = reopened(registry, dir.path()).await;
    registry.enrol(device(3, "press-2"), "a").await.unwrap();
    registry.cluster().close().await;
}

#[tokio::test]
async fn machines_that_enrol_at_once_use_a_token_as_often_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let registry = lone(dir.path()).await;
    registry.add_token(token("a", 5), NOW).await.unwrap();
    let mut enrolling = tokio::task::JoinSet::new();
    for number in 0..12 {
        let registry = Arc::clone(&registry);
        enrolling.spawn(async move { registry.enrol(device(number, &format!("press-{number}")), "a").await });
    }
    let done = enrolling.join_all().await;
    assert_eq!(done.iter().filter(|enrolled| enrolled.is_ok()).count(), 5, "{done:?}");
    assert_eq!(registry.counts().0, 5);
    registry.cluster().close().await;
}

#[tokio::test]
async fn whoever_is_revoked_is_told_to_those_who_cut_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let registry = lone(dir.path()).await;
    registry.add_token(token("a", 5), NOW).await.unwrap();
    registry.enrol(device(1, "press-1"), "a").await.unwrap();
    registry.revoke("press-1", "stolen", NOW).await.unwrap();
    let told = registry.cluster().next_revoked().await;
    assert_eq!(told, [(device(1, "").id, Expelled::Revoked("stolen".to_owned()))].into());
    registry.cluster().close().await;
}

#[tokio::test]
async fn the_door_knows_current_old_revoked_and_unknown_keys() {
    let dir = tempfile::tempdir().unwrap();
    let registry = lone(dir.path()).await;
    registry.add_token(token("a", 9), NOW).await.unwrap();
    registry.enrol(device(1, "press-1"), "a").await.unwrap();
    let id = DeviceId::from_bytes([1; 16]);
    let says = |key| registry.admits(&peer(1, key));
    assert_eq!((says(key(1)), says(key(2))), (Verdict::CurrentKey, Verdict::Unknown));
    registry
        .renewed(id, Certificate { key: key(2), ..device(1, "").certificates[0].clone() }, &key(1))
        .await
        .unwrap();
    assert_eq!(
        (says(key(1)), says(key(2))),
        (Verdict::CurrentKey, Verdict::CurrentKey),
        "it may not have heard"
    );
    registry.seen(id, "agent", key(2), NOW);
    assert_eq!((says(key(1)), says(key(2))), (Verdict::Admitted, Verdict::CurrentKey));
    while registry.cluster().book().device(&id).unwrap().key != key(2) {
        tokio::task::yield_now().await;
    }
    assert_eq!(registry.admits(&peer(8, key(1))), Verdict::Unknown);
    registry.revoke("press-1", "sold", NOW).await.unwrap();
    assert_eq!((says(key(1)), says(key(2))), (Verdict::Revoked, Verdict::Revoked));
    assert!(matches!(
        registry.renewed(id, device(1, "").certificates[0].clone(), &key(1)).await,
        Err(RegistryError::Unknown { .. })
    ));
}

#[tokio::test]
async fn leaving_is_noted_and_brings_no_older_key_back() {
    let dir = tempfile::tempdir().unwrap();
    let registry = lone(dir.path()).await;
    registry.add_token(token("a", 1), NOW).await.unwrap();
    registry.enrol(device(1, "press-1"), "a").await.unwrap();
    let id = DeviceId::from_bytes([1; 16]);
    registry
        .renewed(id, Certificate { key: key(2), ..device(1, "").certificates[0].clone() }, &key(1))
        .await
        .unwrap();
    registry.seen(id, "agent 1", key(1), NOW);
    registry.seen(id, "agent 2", key(2), NOW);
    let later = Wall(NOW.0 + 3_600_000_000);
    registry.left(id, later);
    registry.left(DeviceId::from_bytes([9; 16]), later);
    let registry = reopened(registry, dir.path()).await;
    let found = registry.device(&id).unwrap();
    assert_eq!((found.last_seen, found.software.as_str(), found.key), (Some(later), "agent 2", key(2)));
    registry.cluster().close().await;
}

#[tokio::test]
async fn what_was_seen_too_soon_to_be_written_is_written_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = Places::new(dir.path()).seen();
    let registry = lone(dir.path()).await;
    registry.add_token(token("a", 1), NOW).await.unwrap();
    registry.enrol(device(1, "press-1"), "a").await.unwrap();
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
    registry.settle();
    registry.settle();
    assert_eq!(lines(), before + 2);
    let registry = reopened(registry, dir.path()).await;
    assert_eq!(registry.device(&id).unwrap().last_seen, Some(at(70)));
    registry.cluster().close().await;
}
