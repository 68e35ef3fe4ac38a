//! What stands on disk, opened: in the order in which it can fail, each failure with its exit code.

use std::time::Duration;

use millrace_host::{Clock, Exit, Failure, systemd};
use millrace_journal::{Options, Reader, Store};
use millrace_link::{CaError, CertificateAuthority, Identity, VaultError};
use millrace_model::{Fence, Incarnation};

use crate::cluster::seat;
use crate::config::Config;
use crate::driver::{CHECKS_RUNNING_MAX, LOADS_RUNNING_MAX};
use crate::hub::identity;
use crate::opening::{self, StoreError};
use crate::places::{About, Places};
use crate::registry::RegistryError;
use crate::registry::sightings::Sightings;

/// Page cache of a connection that only reads.
const READER_CACHE_BYTES: u64 = 8 << 20;

/// What stands on disk, opened.
pub(super) struct Opened {
    /// A witness has none.
    pub(super) ca: Option<CertificateAuthority>,
    pub(super) witness: bool,
    pub(super) identity: Identity,
    pub(super) about: About,
    pub(super) sightings: Sightings,
    pub(super) store: Store,
    pub(super) life: Incarnation,
    pub(super) readers: Vec<Reader>,
    pub(super) checkers: Vec<Reader>,
    pub(super) loaders: Vec<Reader>,
    pub(super) scrubbers: Vec<Reader>,
    pub(super) consulted: Vec<Reader>,
    pub(super) fence: Fence,
}

/// How often to try for a data directory that is held, and the pause in between.
const LOCK_LOOKS: usize = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What helps when the store is damaged as a whole.
const FILL_AGAIN: &str = "move journal.db and the files beside it whose names begin so aside (do not delete them) and start: \
                                     the other hubs fill the store again, and devices send what they still keep";

pub(super) fn open(config: &Config, clock: &Clock) -> Result<Opened, Failure> {
    let places = &config.places;
    let about = places.read_about().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => identity::missing(places),
        _ => Failure::io("about.json in the data directory cannot be read", &error).hint(
            "put it back from a backup, or write it anew: \
             {\"name\": \"hub-a\", \"region\": \"eu-1\", \"addresses\": [\"hub-a.example:7443\"]}",
        ),
    })?;
    let now = clock.wall();
    // Locked first: whoever holds it is the only process on this directory.
    let sightings = open_sightings(places).map_err(|error| registry_failure(&error))?;
    let witness = seat::known(places)?.witness;
    let ca = if witness { None } else { Some(load_ca(config)?) };
    let identity = identity::current(places, ca.as_ref(), config.certificate_life, now)?;
    // Reading a long log after a crash takes its time.
    systemd::status("opening the store");
    let options = opening::options(config.store_budget_bytes);
    let mut store = opening::open(&places.journal(), &options).map_err(|error| store_failure(&error))?;
    let fence = opening::begin_epoch(&mut store).map_err(|error| store_failure(&error))?;
    let fresh = seat::fresh_incarnation()?;
    let life = opening::incarnation(&mut store, fresh).map_err(|error| store_failure(&error))?;
    let reading = Options { page_cache_bytes: READER_CACHE_BYTES, ..options };
    let connections = |count: usize| {
        let opened = (0..count).map(|_| Reader::open(&places.journal(), &reading));
        opened.collect::<Result<Vec<_>, _>>().map_err(|error| store_failure(&error.into()))
    };
    let (readers, checkers) = (connections(config.readers)?, connections(CHECKS_RUNNING_MAX)?);
    let (loaders, scrubbers) = (connections(LOADS_RUNNING_MAX)?, connections(1)?);
    let consulted = connections(CHECKS_RUNNING_MAX)?;
    #[rustfmt::skip]
    let opened = Opened {
        ca, witness, identity, about, sightings, store, life, readers, checkers, loaders, scrubbers, consulted,
        fence,
    };
    Ok(opened)
}

/// Opens the sightings, and locks the data directory by that. A command that makes a token beside a hub that starts holds it
/// for a moment.
pub(crate) fn open_sightings(places: &Places) -> Result<Sightings, RegistryError> {
    for _ in 0..LOCK_LOOKS {
        match Sightings::open(&places.seen()) {
            Err(RegistryError::Locked { .. }) => std::thread::sleep(LOCK_PAUSE),
            opened => return opened,
        }
    }
    Sightings::open(&places.seen())
}

/// The CA of the cluster.
pub(crate) fn load_ca(config: &Config) -> Result<CertificateAuthority, Failure> {
    CertificateAuthority::load(&config.places.ca()).map_err(|error| match error {
        CaError::Vault(VaultError::Missing { .. }) => identity::missing(&config.places),
        error => Failure::new(Exit::Config, error.to_string()),
    })
}

pub(crate) fn registry_failure(error: &RegistryError) -> Failure {
    let exit = match error {
        RegistryError::Damaged { .. } | RegistryError::TooLong { .. } => Exit::Data,
        RegistryError::Io { source, .. } => Exit::from_io(source),
        RegistryError::Locked { .. } | RegistryError::Contended => Exit::Temporary,
        RegistryError::Broken { .. } => Exit::Io,
        RegistryError::Entry(_) => Exit::Internal,
        RegistryError::Control(error) => return seat::control_failure(error),
        _ => Exit::Usage,
    };
    Failure::new(exit, error.to_string())
}

pub(crate) fn store_failure(error: &StoreError) -> Failure {
    use millrace_journal::OpenError;
    let exit = match error {
        StoreError::Open(OpenError::Locked { .. }) => Exit::Temporary,
        StoreError::Open(OpenError::Damaged { .. } | OpenError::Ledger { .. }) | StoreError::Epoch(_) => {
            Exit::Data
        }
        StoreError::Open(
            OpenError::Foreign { .. }
            | OpenError::WrongRole { .. }
            | OpenError::OtherDevice { .. }
            | OpenError::TooOld { .. },
        ) => Exit::Config,
        _ => Exit::Io,
    };
    let failure = Failure::new(exit, error.to_string());
    if exit == Exit::Data { failure.hint(FILL_AGAIN) } else { failure }
}
