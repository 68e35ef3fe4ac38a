//! Founding: a new hub in an empty data directory.
//!
//! Promise: nothing that is there is overwritten, and `about.json` is written last: where it stands, all the rest does.

use std::path::Path;
use std::time::Duration;

use millrace_host::{Exit, entropy};
use millrace_link::{CertificateAuthority, KeyHash};
use millrace_model::{HubId, Wall};

use super::{identity, store_failure};
use crate::cluster::seat;
use crate::config::{defaults, valid_address};
use crate::opening;
use crate::places::{About, Places};
use millrace_host::Failure;

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founded {
    /// The new hub.
    pub hub: HubId,
    /// The hash of the new CA's key.
    pub ca: KeyHash,
}

/// Makes CA, identity, store and the first seat of a cluster in `data`; the first start makes the cluster. `life` is that of the hub's certificate; `None`: the default.
///
/// # Errors
/// When there is a hub already, a name cannot stand in a certificate, or the disk refuses.
pub fn found(data: &Path, about: &About, life: Option<Duration>, now: Wall) -> Result<Founded, Failure> {
    check(about)?;
    let places = Places::new(data);
    let root = places.root().display();
    if places.ca().exists() || places.journal().exists() || places.read_about().is_ok() {
        let message = format!("there is a hub in {root} already, and nothing is overwritten");
        return Err(Failure::new(Exit::Usage, message).hint("name another directory, or move this one away"));
    }
    let config = defaults(data).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    places.make().map_err(|error| Failure::io(&format!("{root} cannot be made"), &error))?;
    let hub = HubId::from_bytes(entropy::bytes().map_err(|error| Failure::internal(&error))?);
    let not_kept = |error: &dyn std::fmt::Display| Failure::new(Exit::Io, error.to_string());

    let ca = CertificateAuthority::fresh(&about.name, now).map_err(|error| not_kept(&error))?;
    ca.save(&places.ca()).map_err(|error| not_kept(&error))?;
    let own = identity::issue(&ca, hub, &about.name, life.unwrap_or(config.certificate_life), now)?;
    own.save(&places.identity()).map_err(|error| not_kept(&error))?;
    let options = opening::options(config.store_budget_bytes);
    opening::open(&places.journal(), &options).map_err(|error| store_failure(&error))?;
    places
        .write_seat(&seat::founder()?)
        .map_err(|error| Failure::io("cluster.json cannot be written", &error))?;
    places.write_about(about).map_err(|error| Failure::io("about.json cannot be written", &error))?;
    Ok(Founded { hub, ca: ca.key_hash() })
}

pub(crate) fn check(about: &About) -> Result<(), Failure> {
    for (what, text) in [("name", &about.name), ("region", &about.region)] {
        if !millrace_link::ca::valid_name(text) {
            let failure = Failure::new(Exit::Usage, format!("`{text}` cannot be the hub's {what}"));
            return Err(failure.hint("choose 1 to 64 characters without control characters"));
        }
    }
    match about.addresses.iter().find(|address| !valid_address(address)) {
        Some(wrong) => Err(Failure::new(Exit::Usage, format!("`{wrong}` is not an address"))
            .hint("write HOST:PORT, for example hub.plant.example:7443")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_800_000_000_000_000);

    fn about() -> About {
        let addresses = vec!["127.0.0.1:0".to_owned()];
        About { name: "hub-1".into(), region: "north".into(), addresses }
    }

    #[test]
    fn a_hub_is_founded_once() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("hub");
        found(&data, &about(), None, NOW).unwrap();
        let places = Places::new(&data);
        let before = std::fs::read(places.ca().join("ca.key")).unwrap();
        let failure = found(&data, &about(), None, NOW).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{failure}");
        assert_eq!(std::fs::read(places.ca().join("ca.key")).unwrap(), before);
        assert_eq!(places.read_about().unwrap(), about());
    }

    #[test]
    fn names_and_addresses_are_checked_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("hub");
        let wrong = [
            About { name: String::new(), ..about() },
            About { region: "a\nb".into(), ..about() },
            About { addresses: vec!["hub".into()], ..about() },
        ];
        for about in wrong {
            assert_eq!(found(&data, &about, None, NOW).unwrap_err().exit, Exit::Usage);
            assert!(!data.exists());
        }
    }
}
