//! Commands without a running hub: its decisions are opened in this process for the moment.
//!
//! Promise: never beside a running hub, which holds the lock of the data directory. A hub that is one of several decides
//! nothing this way: only its cluster can.

use std::sync::Arc;

use millrace_host::{Clock, Exit, Failure};
use millrace_hub_control::Options;
use millrace_link::{Identity, VaultError};
use tokio::time::Instant;

use super::{LOOK_AGAIN, STARTING, Which};
use crate::cluster::nowhere::Nowhere;
use crate::cluster::seat::{self, Taking};
use crate::hub;
use crate::places::Places;
use crate::registry::Registry;
use crate::registry::sightings::Sightings;

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

    /// Fails with [`Exit::Temporary`] when another process has the data directory.
    pub(super) async fn open(places: &Places) -> Result<Self, Failure> {
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

    /// What stands there.
    pub(super) fn registry(&self) -> &Registry {
        &self.0
    }

    /// As [`Self::registry`], for a change.
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
