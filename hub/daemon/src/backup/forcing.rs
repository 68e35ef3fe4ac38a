//! A new cluster in place, when a majority of the hubs is lost for good.
//!
//! Promise: what the last hub's files say is kept as a whole before anything is moved; its former decisions are moved aside, never
//! deleted; begun again after a crash, it goes on from there.
//! Absent: finding out whether the others are really lost. When they are not, two clusters go on, told apart by their epochs;
//! agents follow the one whose hubs they reach.

use std::path::PathBuf;

use millrace_host::{Exit, Failure};
use millrace_hub_control::Dump;
use millrace_link::Identity;
use millrace_model::{NodeId, Wall};

use super::restoring::{keep_dump, read_dump};
use crate::cluster::rebirth::{Reborn, Survivor, reborn};
use crate::cluster::seat;
use crate::hub;
use crate::places::{Places, SeatFile};
use crate::registry::RegistryError;

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forced {
    /// The hub's new number.
    pub node: NodeId,
    /// The new cluster's epoch.
    pub epoch: u64,
    /// Where its former decisions stand now.
    pub aside: PathBuf,
}

/// Makes a new cluster of the stopped hub in `places` alone.
///
/// # Errors
/// When the hub runs, its files cannot be read, or the disk refuses.
pub fn force(places: &Places, now: Wall) -> Result<Forced, Failure> {
    let about = places.read_about().map_err(|_| {
        hub::identity::missing(places).hint("name the data directory of the hub that is left, with --data")
    })?;
    // Held until the end: no hub starts meanwhile.
    let _lock = hub::open_sightings(places).map_err(|error| match error {
        RegistryError::Locked { .. } => running(places),
        error => hub::registry_failure(&error),
    })?;
    let seat = seat::known(places)?;
    if seat.witness {
        let failure = Failure::new(Exit::Usage, "this hub is a witness: it keeps no readings and no CA");
        return Err(failure.hint("force the new cluster on a hub that keeps readings, or restore a backup"));
    }
    let identity = Identity::load(&places.identity());
    let identity = identity.map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let hub = identity.own().hub().ok_or_else(|| hub::identity::missing(places))?;

    let aside = places.root().join(format!("control.epoch-{}", seat.epoch));
    let resumed = seat::is_empty(&places.control()) && places.dump().exists();
    let old = if resumed { read_dump(&places.dump())? } else { salvage(places)? };
    let control = seat::fresh_incarnation()?;
    let survivor = Survivor { about: &about, hub, key: identity.own().public_key_hash, control, now };
    let Reborn { dump, node, epoch } =
        reborn(&old, &survivor).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    if !resumed {
        // The old decisions first: whatever happens from here on, they can be read again.
        keep_dump(places, &old)?;
        std::fs::rename(places.control(), &aside)
            .map_err(|error| Failure::io("the former decisions cannot be moved aside", &error))?;
    }
    keep_dump(places, &dump)?;
    let seat =
        SeatFile { node, epoch, control, seeds: Vec::new(), witness: false, founding: true, begun: false };
    places.write_seat(&seat).map_err(|error| Failure::io("cluster.json cannot be written", &error))?;
    Ok(Forced { node, epoch, aside })
}

fn running(places: &Places) -> Failure {
    let message =
        format!("the hub in {} runs, and only a stopped hub can make a new cluster", places.root().display());
    Failure::new(Exit::Temporary, message).hint("stop the hub first: `systemctl stop millrace-hub`")
}

/// What the files of the stopped hub say.
pub(crate) fn salvage(places: &Places) -> Result<Dump, Failure> {
    Dump::salvage(&places.control()).map_err(|error| {
        let failure = Failure::new(Exit::Data, error.to_string());
        failure.hint("try another hub of the cluster, or restore a backup")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::founding::found;
    use crate::places::About;

    const NOW: Wall = Wall(1_800_000_000_000_000);

    #[test]
    fn a_hub_that_runs_is_to_be_stopped_and_one_that_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = dir.path().join("nosuch");
        let absent = force(&Places::new(&nowhere), NOW).unwrap_err();
        assert_eq!(absent.exit, Exit::Config);
        assert_eq!(absent.message, format!("there is no hub in {}", nowhere.display()));
        assert!(!nowhere.exists());

        let data = dir.path().join("hub");
        let addresses = vec!["127.0.0.1:7443".to_owned()];
        let about = About { name: "hub-1".into(), region: "north".into(), addresses };
        found(&data, &about, None, NOW).unwrap();
        let places = Places::new(&data);
        let _running = hub::open_sightings(&places).unwrap();
        let busy = force(&places, NOW).unwrap_err();
        assert_eq!(busy.exit, Exit::Temporary);
        assert!(busy.hint.starts_with("stop the hub first"), "{busy}");
    }
}
