//! Key files: who may read them, and what a crash leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use millrace_link::ca::request_key_hash;
use millrace_link::identity::IDENTITY_FILE;
use millrace_link::{CaError, CertificateAuthority, CertificateRequest, Identity, IdentityError, VaultError};

use crate::world::{World, device_role};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_identity_comes_back_from_its_directory_and_only_its_owner_can_read_it() {
    let world = World::new();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("state/identity");
    let device = world.device(7);
    device.save(&directory).unwrap();
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join(IDENTITY_FILE)), 0o600);
    assert_eq!(Identity::load(&directory).unwrap().own(), device.own());
    let files: Vec<_> = fs::read_dir(&directory).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "nothing is left beside the two files: {files:?}");
}

#[test]
fn a_renewed_identity_replaces_the_old_one_whatever_an_earlier_crash_left() {
    let world = World::new();
    let home = tempfile::tempdir().unwrap();
    set_mode(home.path(), 0o700);
    world.device(7).save(home.path()).unwrap();
    let left = home.path().join(format!(".{IDENTITY_FILE}.new"));
    fs::write(&left, "half a key").unwrap();
    set_mode(&left, 0o644);
    let renewed = world.device(7);
    renewed.save(home.path()).unwrap();
    assert_eq!(Identity::load(home.path()).unwrap().own(), renewed.own());
    assert_eq!(mode(&home.path().join(IDENTITY_FILE)), 0o600);
    assert!(!left.exists());
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let world = World::new();
    let home = tempfile::tempdir().unwrap();
    set_mode(home.path(), 0o700);
    world.device(7).save(home.path()).unwrap();
    let file = home.path().join(IDENTITY_FILE);
    set_mode(&file, 0o640);
    let error = Identity::load(home.path()).unwrap_err().to_string();
    assert!(error.contains("chmod 600") && error.contains(IDENTITY_FILE) && error.contains("640"), "{error}");
    set_mode(&file, 0o600);
    set_mode(home.path(), 0o777);
    let error = Identity::load(home.path()).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn a_missing_or_broken_file_is_named() {
    let world = World::new();
    let home = tempfile::tempdir().unwrap();
    set_mode(home.path(), 0o700);
    let nothing = Identity::load(&home.path().join("nowhere")).unwrap_err();
    assert!(matches!(nothing, IdentityError::Vault(VaultError::Missing { .. })), "{nothing}");
    let empty = Identity::load(home.path()).unwrap_err();
    assert!(empty.to_string().contains(IDENTITY_FILE), "{empty}");
    world.device(7).save(home.path()).unwrap();
    fs::write(home.path().join("ca.pem"), "-----BEGIN NONSENSE-----").unwrap();
    let damaged = Identity::load(home.path()).unwrap_err();
    assert!(matches!(&damaged, IdentityError::Damaged { path, .. } if path.ends_with("ca.pem")), "{damaged}");
    world.device(7).save(home.path()).unwrap();
    fs::write(home.path().join(IDENTITY_FILE), "-----BEGIN NONSENSE-----").unwrap();
    let damaged = Identity::load(home.path()).unwrap_err();
    assert!(
        matches!(&damaged, IdentityError::Damaged { path, .. } if path.ends_with(IDENTITY_FILE)),
        "{damaged}"
    );
}

#[test]
fn a_ca_comes_back_and_is_never_overwritten() {
    let world = World::new();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("ca");
    world.ca.save(&directory).unwrap();
    assert_eq!(mode(&directory.join("ca.key")), 0o600);
    let loaded = CertificateAuthority::load(&directory).unwrap();
    assert_eq!(loaded.key_hash(), world.ca.key_hash());
    let request = CertificateRequest::fresh().unwrap();
    let issued =
        loaded.issue(request.csr_der(), device_role(1), "a", crate::world::LIFE, world.now()).unwrap();
    assert!(Identity::granted(&request, &issued, world.ca.certificate_pem()).is_ok());
    let again = World::new().ca.save(&directory);
    assert!(matches!(again, Err(CaError::Vault(VaultError::Exists { .. }))));
    fs::write(directory.join("ca.pem"), World::new().ca.certificate_pem()).unwrap();
    assert!(matches!(CertificateAuthority::load(&directory), Err(CaError::Mismatch)));
}

#[test]
fn a_machine_killed_while_it_asks_comes_back_with_the_same_key() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("identity");
    let first = CertificateRequest::pending(&directory).unwrap();
    assert_eq!(mode(&directory.join("pending.key")), 0o600);
    let again = CertificateRequest::pending(&directory).unwrap();
    let key = |request: &CertificateRequest| request_key_hash(request.csr_der()).unwrap();
    assert_eq!(key(&first), key(&again));
    CertificateRequest::settled(&directory).unwrap();
    CertificateRequest::settled(&directory).unwrap();
    assert_ne!(key(&CertificateRequest::pending(&directory).unwrap()), key(&first));
}
