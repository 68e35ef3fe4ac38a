//! The cluster, as this hub takes part in it: what was decided, and how more is decided.
//!
//! Every hub is a node of one replicated core (`millrace-hub-control`), also a hub that is alone: it is its only voter.
//!
//! Promise: what is asked of [`Cluster::table`] and of the registry never waits; a decision that was taken is known here when
//! [`Cluster::decide`] returns.
//! Absent: roads between hubs ([`millrace_hub_control::Transport`] is brought along), gossip, readings.
//!
//! | room | what stands there |
//! |---|---|
//! | [`record`], [`keys`] | what stands under which key |
//! | [`table`] | all of it about hubs, as this hub knows it |
//! | `knowledge` | keeping table and book current |
//! | [`seat`] | who this hub is in its cluster; founding one; opening the core |
//! | [`belonging`] | whether this hub is still one of the cluster's |
//! | [`joining`], [`renewing`] | what other hubs ask |
//! | [`nowhere`] | the road while there is none |
//! | [`steward`] | what the leading hub looks after |
//! | [`placed`] | what the engine is told |
//! | [`rebirth`] | a cluster made anew after a disaster |
//! | [`upkeep`] | what every hub says of itself; its store: empty, syncing, full |

pub mod belonging;
pub mod joining;
pub mod keys;
mod knowledge;
pub mod nowhere;
pub mod placed;
pub mod rebirth;
pub mod record;
pub mod renewing;
pub mod seat;
pub mod steward;
pub mod table;
pub mod upkeep;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLockReadGuard};

use millrace_hub_control::kv::{Command, Outcome, Txn};
use millrace_hub_control::{Control, ControlError};
use millrace_model::{DeviceId, Incarnation, NodeId};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::registry::Expelled;
use crate::registry::book::Book;
use knowledge::Knowledge;
pub use table::{Dated, Table};

/// How often a change is tried again when others changed the same between looking and deciding. Each try knows what the others
/// did, and somebody got through every time: more than the callers that may try at once.
pub(crate) const TRIES_MAX: usize = 64;

/// This hub's part in its cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Parts>);

struct Parts {
    control: Control,
    me: NodeId,
    epoch: u64,
    incarnation: Incarnation,
    knowledge: Knowledge,
    following: Mutex<Option<JoinHandle<()>>>,
    follower: AbortHandle,
}

impl Cluster {
    /// Takes part through `control`.
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn of(control: Control, epoch: u64, incarnation: Incarnation) -> Result<Self, ControlError> {
        let knowledge = Knowledge::of(&control).await?;
        let me = NodeId(control.id());
        let following = tokio::spawn(knowledge.clone().follow(control.clone()));
        let (follower, following) = (following.abort_handle(), Mutex::new(Some(following)));
        Ok(Self(Arc::new(Parts { control, me, epoch, incarnation, knowledge, following, follower })))
    }

    /// The replicated core.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.0.control
    }

    /// This hub's number.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.0.me
    }

    /// How often the cluster was made anew.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Which life of this hub's decisions' directory.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.0.incarnation
    }

    /// The table now.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.0.knowledge.table()
    }

    /// The table, and every later one.
    #[must_use]
    pub fn tables(&self) -> watch::Receiver<Arc<Table>> {
        self.0.knowledge.tables()
    }

    pub(crate) fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.0.knowledge.book()
    }

    /// Waits for devices that are revoked, or whose place another machine takes, each once.
    pub async fn next_revoked(&self) -> BTreeMap<DeviceId, Expelled> {
        self.0.knowledge.next_revoked().await
    }

    /// Has the cluster decide `txn`. Whether its compares held; when they did, everything that it changed is known here.
    ///
    /// # Errors
    /// [`ControlError`]; only [`ControlError::Unknown`] may have had an effect.
    pub async fn decide(&self, txn: Txn) -> Result<bool, ControlError> {
        match self.control().propose(&Command::Txn(txn)).await? {
            Outcome::Txn { held, revision, .. } => {
                // When they did not hold, what they missed is known here then, for the next try.
                self.0.knowledge.caught_up(revision).await;
                Ok(held)
            }
            other => Err(ControlError::Unknown(format!("{other:?} is no answer to a transaction"))),
        }
    }

    /// Waits until everything up to `revision` is known here, but not for ever.
    pub(crate) async fn caught_up(&self, revision: u64) {
        self.0.knowledge.caught_up(revision).await;
    }

    /// The task that follows the decisions: when it ends, nothing that is decided is known here any more. For whoever asks first.
    pub(crate) fn following(&self) -> Option<JoinHandle<()>> {
        self.0.following.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Stops taking part. What was proposed and not answered is unknown.
    pub async fn close(&self) {
        self.0.follower.abort();
        self.control().close().await;
    }
}
