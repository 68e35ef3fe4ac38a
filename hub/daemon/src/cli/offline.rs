//! Commands without a running hub: its decisions are opened in this process for the moment, or only read.
//!
//! Promise: never beside a running hub, which holds the lock of the data directory. A hub that is one of several decides
//! nothing this way: only its cluster can. Whoever only looks takes no part in the consensus, and changes nothing of what it
//! decides by.

use std::sync::Arc;

use millrace_host::{Clock, Exit, Failure};
use millrace_hub_control::{Dump, Options};
use millrace_link::{Identity, VaultError};
use tokio::time::Instant;

use super::{LOOK_AGAIN, STARTING, Which};
use crate::backup::forcing::salvage;
use crate::backup::restoring::read_dump;
use crate::cluster::keys::Key;
use crate::cluster::nowhere::Nowhere;
use crate::cluster::seat::{self, Taking};
use crate::cluster::table::read;
use crate::hub;
use crate::places::Places;
use crate::registry::book::Book;
use crate::registry::import::Import;
use crate::registry::sightings::Sightings;
use crate::registry::{Device, Registry};

/// The devices of a stopped hub, as far as its own files know them: all of its log, also what the cluster may not have decided yet.
pub(super) struct Look {
    /// Held, so that no hub starts meanwhile.
    sightings: Sightings,
    book: Book,
}

impl Look {
    /// Fails with [`Exit::Temporary`] when another process has the data directory.
    pub(super) fn open(places: &Places) -> Result<Self, Failure> {
        places.read_about().map_err(|_| hub::identity::missing(places))?;
        let sightings = Sightings::open(&places.seen()).map_err(|error| hub::registry_failure(&error))?;
        let seat = places.read_seat().map_err(|error| Failure::io("cluster.json cannot be read", &error))?;
        let reborn = seat.is_some_and(|seat| seat.founding) && places.dump().exists();
        let book = if reborn {
            book(&read_dump(&places.dump())?)
        } else if !seat::is_empty(&places.control()) {
            book(&salvage(places)?)
        } else if places.registry().exists() {
            // A hub of before, whose registry was not taken over yet.
            let import = Import::read(&places.registry()).map_err(|error| hub::registry_failure(&error))?;
            let mut book = Book::default();
            import.devices.into_values().for_each(|device| drop(book.put_device(device, 0)));
            book
        } else {
            Book::default()
        };
        Ok(Self { sightings, book })
    }

    /// As [`Offline::unless_running`].
    pub(super) async fn unless_running(which: &Which) -> Result<Option<Self>, Failure> {
        let deadline = Instant::now() + STARTING;
        while !which.runs().await? {
            match Self::open(&which.places()) {
                Err(failure) if failure.exit == Exit::Temporary && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                opened => return opened.map(Some),
            }
        }
        Ok(None)
    }

    /// All devices, by id.
    pub(super) fn devices(&self) -> Vec<Device> {
        self.book.devices().cloned().map(|device| self.sightings.added_to(device)).collect()
    }
}

fn book(dump: &Dump) -> Book {
    let mut book = Book::default();
    for (key, value) in &dump.entries {
        if let Some(Key::Device(_)) = Key::of(key)
            && let Some(device) = read(value)
        {
            book.put_device(device, dump.revision);
        }
    }
    book
}

/// A hub's registry, opened.
pub(super) struct Offline(Arc<Registry>);

impl Offline {
    /// `None` when a hub runs, which is to be asked. One that begins between looking and opening is waited for.
    pub(super) async fn unless_running(which: &Which) -> Result<Option<Self>, Failure> {
        let deadline = Instant::now() + STARTING;
        while !which.runs().await? {
            match Self::open(&which.places()).await {
                Err(failure) if failure.exit == Exit::Temporary && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                opened => return opened.map(Some),
            }
        }
        Ok(None)
    }

    async fn open(places: &Places) -> Result<Self, Failure> {
        let about = places.read_about().map_err(|_| hub::identity::missing(places))?;
        let sightings = Sightings::open(&places.seen()).map_err(|error| hub::registry_failure(&error))?;
        let identity = Identity::load(&places.identity()).map_err(|error| match error {
            millrace_link::IdentityError::Vault(VaultError::Missing { .. }) => hub::identity::missing(places),
            error => Failure::new(Exit::Config, error.to_string()),
        })?;
        let taking = Taking {
            places,
            about: &about,
            hub: identity.own().hub().ok_or_else(|| hub::identity::missing(places))?,
            key: identity.own().public_key_hash,
            options: Options::lan(),
            transport: Arc::new(Nowhere),
            now: Clock::system().wall(),
        };
        seat::take(taking, sightings).await.map(Self)
    }

    /// What stands there, for a change.
    pub(super) fn deciding(&self) -> Result<&Registry, Failure> {
        if seat::is_alone(self.0.cluster().control()) {
            return Ok(&self.0);
        }
        let message = "this hub is one of several, and only all of them together can decide this";
        Err(Failure::new(Exit::Temporary, message).hint("start the hub first"))
    }

    pub(super) async fn close(self) {
        self.0.settle();
        self.0.cluster().close().await;
    }
}
