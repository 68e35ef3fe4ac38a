//! A node of the cluster, as the hub holds it.
//!
//! Promise: cheap to clone; usable from any task; what it says of an outcome is true ([`ControlError`]).
//! Absent: listening and dialling. Requests of other nodes come in through [`Control::receive`], requests to them go out
//! through the [`Transport`].

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::Config;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::error::ControlError;
use super::lease_clock::Leases;
use super::options::Options;
use super::proposer::{self, Proposal};
use super::pulse;
use super::reading::{self, IndexReply};
use super::refusals::Refusals;
use super::standing::{Metrics, Standing};
use super::watching::Watcher;
use crate::kv::{Command, KeyRange, Outcome};
use crate::raft::coding::SNAPSHOT_CHUNK_BYTES;
use crate::raft::consensus::Raft;
use crate::raft::contact::Contact;
use crate::raft::log::LogStore;
use crate::raft::machine::Shared;
use crate::raft::member::NodeId;
use crate::raft::network::{LAST_PIECE, Links, Wire};
use crate::raft::opening::{self, OpenError, Parts, Threads};
use crate::raft::scribe::Scribe;
use crate::raft::transport::Transport;

/// A future that is compiled here. An `async fn` is compiled by whoever awaits it, and with these comes the whole consensus: half a
/// minute for each program and each test.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who a node is, and where its files lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Its name in the consensus; given once by the cluster, never reused.
    pub id: NodeId,
    /// Its data directory's 64 random bits.
    pub incarnation: u64,
    /// The cluster, and how often it was made anew after a disaster. Messages of another are refused.
    pub epoch: u64,
    /// Where log, state and snapshot lie.
    pub directory: PathBuf,
    /// What its patience in elections is drawn from; another one on every node and at every start.
    pub seed: u64,
    /// Whether everything runs on the threads of the asking tasks, for programs whose time is simulated. Slower.
    pub inline: bool,
}

pub(crate) struct Inner {
    pub(crate) id: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) options: Options,
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) shared: Arc<Shared>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) contact: Arc<Contact>,
    pub(crate) leases: Leases,
    pub(crate) refusals: Refusals,
    pub(crate) proposals: mpsc::Sender<Proposal>,
    pub(crate) indexes: mpsc::Sender<IndexReply>,
    scribe: Scribe,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    threads: Mutex<Option<Threads>>,
}

/// A node of the cluster. It takes part until it is [closed](Control::close), also when every handle is dropped.
#[derive(Clone)]
pub struct Control {
    pub(crate) inner: Arc<Inner>,
}

impl Control {
    /// Opens the node that lies in the seat's directory and takes part from then on. An empty directory waits until it is
    /// [founded](Control::found) or [added](Control::add_learner).
    ///
    /// # Errors
    /// [`OpenError`]; in particular a log that was damaged or cut off does not open, so that it never votes.
    pub fn open(
        seat: Seat,
        options: Options,
        transport: Arc<dyn Transport>,
    ) -> Boxed<'static, Result<Self, OpenError>> {
        Box::pin(Self::take_part(seat, options, transport))
    }

    async fn take_part(
        seat: Seat,
        options: Options,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, OpenError> {
        let Parts { log, machine, shared, scribe, threads } =
            opening::open(&seat.directory, (seat.id, seat.incarnation), seat.inline)?;
        let contact = Arc::new(Contact::new(Instant::now()));
        let wire = Arc::new(Wire {
            transport,
            epoch: seat.epoch,
            id: seat.id,
            incarnation: seat.incarnation,
            contact: Arc::clone(&contact),
            log: log.clone(),
            backoff: options.heartbeat,
            piece: options.lease,
        });
        let config = Arc::new(configure(&options)?);
        let raft = Raft::new(seat.id, config, Links(Arc::clone(&wire)), log.clone(), machine).await;
        let raft = raft.map_err(|error| OpenError::Consensus(error.to_string()))?;
        tell_members(&raft).await.map_err(OpenError::Consensus)?;
        let (proposals, proposed) = mpsc::channel(options.queue.max(1));
        let (indexes, asked) = mpsc::channel(options.queue.max(1));
        let inner = Arc::new(Inner {
            id: seat.id,
            incarnation: seat.incarnation,
            epoch: seat.epoch,
            options,
            raft,
            log,
            shared,
            wire,
            contact,
            leases: Leases::default(),
            refusals: Refusals::default(),
            proposals,
            indexes,
            scribe,
            tasks: Mutex::default(),
            threads: Mutex::new(Some(threads)),
        });
        let tasks = vec![
            tokio::spawn(proposer::run(Arc::clone(&inner), proposed)),
            tokio::spawn(reading::run(Arc::clone(&inner), asked)),
            tokio::spawn(pulse::run(Arc::clone(&inner), seat.seed)),
        ];
        *inner.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(Self { inner })
    }

    /// Proposes a command and waits for its outcome. Commands of many callers share entries and flushes. A node that follows
    /// asks the leader.
    ///
    /// # Errors
    /// [`ControlError`]; only [`ControlError::Unknown`] may have had an effect.
    pub async fn propose(&self, command: &Command) -> Result<Outcome, ControlError> {
        proposer::propose(&self.inner, command).await
    }

    /// Follows keys from `revision` on; 0: from now on. Local: what this node has applied.
    #[must_use]
    pub fn watch(&self, range: KeyRange, revision: u64) -> Watcher {
        Watcher::new(Arc::clone(&self.inner.shared), range, revision)
    }

    /// Answers what another node asks. `peer` is whom its certificate names, where that is known.
    pub fn receive(&self, peer: Option<NodeId>, request: Bytes) -> Boxed<'_, Bytes> {
        Box::pin(self.inner.receive(peer, request))
    }

    /// Who leads, when a majority follows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match self.inner.standing() {
            Ok(Standing::Lead) => Some(self.inner.id),
            Ok(Standing::Follow(leader, _)) => Some(leader),
            Err(_) => None,
        }
    }

    /// Waits until a leader is known that a majority follows, and says who it is. A node that is the only voter elects itself
    /// at once.
    ///
    /// # Errors
    /// [`ControlError::NoQuorum`] when there is none within `patience`; [`ControlError::Stopped`].
    pub async fn led(&self, patience: Duration) -> Result<NodeId, ControlError> {
        let until = Instant::now() + patience;
        let mut metrics = self.inner.raft.metrics();
        loop {
            metrics.borrow_and_update();
            match self.inner.standing() {
                Ok(Standing::Lead) => return Ok(self.inner.id),
                Ok(Standing::Follow(leader, _)) => return Ok(leader),
                Err(error @ ControlError::Stopped(_)) => return Err(error),
                Err(error) if Instant::now() >= until => return Err(error),
                // Whether a majority follows is also a matter of time, of which no change tells.
                Err(_) => drop(timeout(self.inner.options.heartbeat / 4, metrics.changed()).await),
            }
        }
    }

    /// Whether decisions can be made now: nothing, or what is missing.
    ///
    /// # Errors
    /// [`ControlError::NoQuorum`], [`ControlError::Stopped`].
    pub fn quorum(&self) -> Result<(), ControlError> {
        self.inner.standing().map(|_| ())
    }

    /// Where this node stands.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.inner.metrics()
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.inner.id
    }

    /// Makes a snapshot now and purges the log behind it, in the background.
    ///
    /// # Errors
    /// When the node has stopped.
    pub fn snapshot(&self) -> Boxed<'_, Result<(), ControlError>> {
        Box::pin(async {
            let triggered = self.inner.raft.trigger().snapshot().await;
            triggered.map_err(|error| ControlError::Stopped(error.to_string()))
        })
    }

    /// Stops taking part and closes the files. What was proposed and not answered is unknown.
    pub fn close(&self) -> Boxed<'_, ()> {
        Box::pin(self.leave())
    }

    async fn leave(&self) {
        let tasks = std::mem::take(&mut *self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(JoinHandle::abort);
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(%error, "the consensus did not stop cleanly");
        }
        let threads = self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { log, state }) = threads else { return };
        if state.is_some() {
            self.inner.scribe.stop().await;
        }
        let joined = tokio::task::spawn_blocking(move || {
            drop(log.and_then(millrace_journal::decisions::LogWriter::stop));
            drop(state.map(std::thread::JoinHandle::join));
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "a thread of the control files did not stop cleanly");
        }
    }
}

/// Waits until the consensus has told of the members that it works with: what it tells of itself is a moment behind what it does.
pub(crate) async fn tell_members(raft: &Raft) -> Result<(), String> {
    let known = raft.with_raft_state(|state| *state.membership_state.effective().log_id()).await;
    let known = known.map_err(|error| error.to_string())?;
    let mut metrics = raft.metrics();
    let told = metrics
        .wait_for(|metrics| metrics.running_state.is_err() || *metrics.membership_config.log_id() >= known);
    told.await.map(|_| ()).map_err(|error| error.to_string())
}

fn configure(options: &Options) -> Result<Config, OpenError> {
    let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (heartbeat, lease) = (ms(options.heartbeat), ms(options.lease));
    let config = Config {
        cluster_name: "control".to_owned(),
        heartbeat_interval: heartbeat,
        // The maximum is the lease within which voters refuse. Campaigns begin in `raft/prevote.rs`, not by these.
        election_timeout_min: (lease / 2).max(heartbeat + 1),
        election_timeout_max: lease,
        enable_elect: false,
        // Longer than what the link itself allows, which is what counts.
        install_snapshot_timeout: lease.saturating_mul(2 * u64::from(LAST_PIECE)),
        snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES as u64,
        max_payload_entries: 256,
        snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
        // Whoever needs entries that are still there gets them; the others get the snapshot in any case.
        replication_lag_threshold: options.snapshot_entries.saturating_mul(4),
        max_in_snapshot_log_to_keep: options.keep_entries,
        purge_batch_size: 1,
        ..Config::default()
    };
    config.validate().map_err(|error| OpenError::Consensus(error.to_string()))
}
