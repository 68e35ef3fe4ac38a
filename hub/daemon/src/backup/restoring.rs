//! Restoring: a data directory out of a backup, whose first start makes a new cluster of one.
//!
//! Promise: every file of the backup is verified before anything is made, and the copies are what was verified. `about.json` is
//! written last, so that a directory that was not finished is none. The store begins a new life: nobody takes it for the
//! one that it was copied from.
//! Absent: the other hubs. They join the new cluster with empty directories.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use millrace_host::{Exit, Failure, entropy};
use millrace_hub_control::Dump;
use millrace_journal::hash_file;
use millrace_link::CertificateAuthority;
use millrace_model::{HubId, NodeId, Wall};

use super::manifest::{Entry, Manifest, ManifestError};
use super::{CA, DUMP, JOURNAL};
use crate::cluster::rebirth::{Reborn, Survivor, reborn};
use crate::cluster::seat;
use crate::config::defaults;
use crate::hub::{identity, store_failure};
use crate::opening;
use crate::places::{About, Places, SeatFile};

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The hub's new id.
    pub hub: HubId,
    /// Its number in the new cluster.
    pub node: NodeId,
    /// The new cluster's epoch.
    pub epoch: u64,
    /// Its name, region and addresses.
    pub about: About,
    /// What it was made from.
    pub manifest: Manifest,
}

/// What a new hub is to be called instead of what the backup says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Its name.
    pub name: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Where it is reached.
    pub addresses: Vec<String>,
}

pub(super) fn manifest_failure(error: &ManifestError) -> Failure {
    let failure = Failure::new(Exit::Data, error.to_string());
    failure.hint("take another backup; `millrace-hub backup --check` says whether one is whole")
}

/// Reads and verifies a backup. `progress` hears of each file before it is read.
///
/// # Errors
/// The first thing that is not what was written.
pub fn verified(backup: &Path, progress: impl FnMut(&Entry)) -> Result<Manifest, Failure> {
    let manifest = Manifest::read(backup).map_err(|error| manifest_failure(&error))?;
    manifest.verify(backup, progress).map_err(|error| manifest_failure(&error))?;
    Ok(manifest)
}

/// Makes the data directory `data` out of `backup`.
///
/// # Errors
/// When the backup is not whole, something stands in `data`, or the disk refuses.
pub fn restore(
    backup: &Path,
    data: &Path,
    changes: Changes,
    now: Wall,
    progress: impl FnMut(&Entry),
) -> Result<Restored, Failure> {
    let manifest = verified(backup, progress)?;
    let places = Places::new(data);
    let root = places.root().display();
    let empty = std::fs::read_dir(data).map_or(true, |mut entries| entries.next().is_none());
    if !empty {
        let failure = Failure::new(Exit::Usage, format!("{root} is not empty, and nothing is overwritten"));
        return Err(failure.hint("name a new directory"));
    }
    places.make().map_err(|error| Failure::io(&format!("{root} cannot be made"), &error))?;
    let about = about(backup, changes)?;
    crate::hub::founding::check(&about)?;
    let dump = read_dump(&backup.join(DUMP))?;
    let made = DirBuilder::new().mode(0o700).create(places.ca());
    made.map_err(|error| Failure::io("the CA's directory cannot be made", &error))?;
    for file in &manifest.files {
        let into = match file.name.as_str() {
            JOURNAL => places.journal(),
            name if name.starts_with(CA) => data.join(name),
            _ => continue,
        };
        copy(&backup.join(&file.name), &into, file)?;
    }

    let config = defaults(data).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let ca = CertificateAuthority::load(&places.ca())
        .map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    let hub = HubId::from_bytes(entropy::bytes().map_err(|error| Failure::internal(&error))?);
    let own = identity::issue(&ca, hub, &about.name, config.certificate_life, now)?;
    own.save(&places.identity()).map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
    renew_store(&places)?;

    let control = seat::fresh_incarnation()?;
    let survivor = Survivor { about: &about, hub, key: own.own().public_key_hash, control, now };
    let Reborn { dump, node, epoch } =
        reborn(&dump, &survivor).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    keep_dump(&places, &dump)?;
    let seat =
        SeatFile { node, epoch, control, seeds: Vec::new(), witness: false, founding: true, begun: false };
    places.write_seat(&seat).map_err(|error| Failure::io("cluster.json cannot be written", &error))?;
    places.write_about(&about).map_err(|error| Failure::io("about.json cannot be written", &error))?;
    Ok(Restored { hub, node, epoch, about, manifest })
}

/// Puts the decisions where the first start of a new cluster finds them.
pub(super) fn keep_dump(places: &Places, dump: &Dump) -> Result<(), Failure> {
    let kept = millrace_host::files::replace(&places.dump(), &dump.encode());
    kept.map_err(|error| Failure::io("control.dump cannot be written", &error))
}

/// The decisions in a file.
pub(crate) fn read_dump(path: &Path) -> Result<Dump, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::io("control.dump cannot be read", &error))?;
    Dump::decode(&bytes.into()).map_err(|error| Failure::new(Exit::Data, error.to_string()))
}

fn about(backup: &Path, changes: Changes) -> Result<About, Failure> {
    let before = Places::new(backup).read_about();
    let before = before.map_err(|error| Failure::io("about.json of the backup cannot be read", &error))?;
    let Changes { name, region, addresses } = changes;
    Ok(About {
        name: name.unwrap_or(before.name),
        region: region.unwrap_or(before.region),
        addresses: if addresses.is_empty() { before.addresses } else { addresses },
    })
}

/// Copies a file and makes sure that the copy is what was verified.
fn copy(from: &Path, to: &Path, expected: &Entry) -> Result<(), Failure> {
    let copied = || -> io::Result<Entry> {
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        io::copy(&mut std::fs::File::open(from)?, &mut target)?;
        target.sync_all()?;
        Ok(Entry::of(&expected.name, &hash_file(to)?))
    };
    match copied() {
        Ok(found) if found == *expected => Ok(()),
        Ok(_) => Err(Failure::new(Exit::Io, format!("the copy of {} is not what was read", expected.name))
            .hint("check the disks of both directories")),
        Err(error) => Err(Failure::io(&format!("{} cannot be copied", expected.name), &error)),
    }
}

/// The copy of a store must not be taken for the store that it was copied from.
fn renew_store(places: &Places) -> Result<(), Failure> {
    let options = opening::options(u64::MAX >> 1);
    let mut store = opening::open(&places.journal(), &options).map_err(|error| store_failure(&error))?;
    let fresh = seat::fresh_incarnation()?;
    opening::begin_life(&mut store, fresh).map_err(|error| store_failure(&error))
}
