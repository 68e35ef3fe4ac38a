//! Reads, each with the level that it asks for.
//!
//! Promise: a linearizable read sees everything that was acknowledged to anybody before it was asked: the leader confirms
//! with a majority that it still leads, and the reader waits until it has applied as much (read index). A local read says how
//! old its knowledge may be. Absent: leases of reads; they would trust clocks.

use std::sync::Arc;
use std::time::Duration;

use openraft::error::{CheckIsLeaderError, RaftError};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::error::ControlError;
use super::handle::{Control, Inner};
use super::standing::Standing;
use crate::codec::{Decoder, Encoder};
use crate::kv::{KeyValue, RangeAnswer, RangeQuery, Store};
use crate::raft::envelope::Kind;

/// How much a read must see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Everything that was acknowledged before it was asked. Needs a majority.
    Linearizable,
    /// What this node has applied. Always answered.
    Local,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read<T> {
    /// It.
    pub value: T,
    /// The store's revision at that moment.
    pub revision: u64,
    /// How long ago this node last heard of its leader, or, leading, of a majority: what happened since may be missing from a
    /// local read. Zero for a linearizable one; `None` when it has heard of none since it was started, and so cannot tell.
    pub age: Option<Duration>,
}

/// Who waits for an index: 0 stands for an empty log.
pub(crate) type IndexReply = oneshot::Sender<Result<u64, ControlError>>;

impl Control {
    /// Reads with the store at hand. `look` must be quick: nothing is applied meanwhile.
    ///
    /// # Errors
    /// [`ControlError::NoQuorum`] and the like for [`Level::Linearizable`]; never for [`Level::Local`].
    pub async fn read<T>(
        &self,
        level: Level,
        look: impl FnOnce(&Store) -> T,
    ) -> Result<Read<T>, ControlError> {
        let age = match level {
            Level::Local => self.inner.contact.has_heard().then(|| self.inner.age()),
            Level::Linearizable => {
                confirm(&self.inner).await?;
                Some(Duration::ZERO)
            }
        };
        let store = self.inner.shared.store();
        Ok(Read { revision: store.revision(), value: look(&store), age })
    }

    /// Reads one key.
    ///
    /// # Errors
    /// As [`Control::read`].
    pub async fn get(&self, key: &[u8], level: Level) -> Result<Read<Option<KeyValue>>, ControlError> {
        self.read(level, |store| store.get(key).map(|found| KeyValue::clone(&found))).await
    }

    /// Reads keys, now or at an older revision.
    ///
    /// # Errors
    /// As [`Control::read`]; [`ControlError::Refused`] for a revision that is compacted or does not exist yet.
    pub async fn range(
        &self,
        query: &RangeQuery,
        revision: Option<u64>,
        level: Level,
    ) -> Result<Read<RangeAnswer>, ControlError> {
        let read = self.read(level, |store| store.range(query, revision)).await?;
        Ok(Read { value: read.value?, revision: read.revision, age: read.age })
    }
}

/// Waits until everything that was acknowledged up to now was applied here.
pub(crate) async fn confirm(inner: &Inner) -> Result<(), ControlError> {
    let patience = inner.options.patience;
    let confirmed = async {
        inner.standing()?;
        let (reply, heard) = oneshot::channel();
        inner.indexes.try_send(reply).map_err(|refused| match refused {
            TrySendError::Full(_) => ControlError::Overloaded,
            TrySendError::Closed(_) => ControlError::Stopped("it was closed".to_owned()),
        })?;
        let closed = |_| ControlError::Stopped("it was closed".to_owned());
        let index = heard.await.map_err(closed)??;
        let mut progress = inner.shared.progress();
        let reached = progress.wait_for(|progress| progress.index.unwrap_or_default() >= index).await;
        reached.map(|_| ()).map_err(|_| ControlError::Stopped("it was closed".to_owned()))
    };
    timeout(patience, confirmed).await.unwrap_or(Err(ControlError::Late(patience)))
}

/// Finds the index for all readers that wait, again and again: one confirmation serves everybody who asked before it began.
pub(crate) async fn run(inner: Arc<Inner>, mut waiting: mpsc::Receiver<IndexReply>) {
    while let Some(first) = waiting.recv().await {
        tokio::task::yield_now().await;
        let mut readers = vec![first];
        while let Ok(next) = waiting.try_recv() {
            readers.push(next);
        }
        let index = index(&inner).await;
        for reader in readers {
            let _ = reader.send(index.clone());
        }
    }
}

/// The index that a read must wait for, confirmed by a majority after this was called.
async fn index(inner: &Inner) -> Result<u64, ControlError> {
    match inner.standing()? {
        Standing::Lead => lead_index(inner).await,
        Standing::Follow(leader, member) => {
            let call = inner.wire.call(leader, &member, Kind::ReadIndex, bytes::Bytes::new());
            let patience = inner.options.lease;
            let answer = timeout(patience, call).await.map_err(|_| ControlError::Late(patience))?;
            let no_quorum = |why: &dyn std::fmt::Display| ControlError::NoQuorum {
                reason: format!("node {leader}: {why}"),
            };
            let body = answer.map_err(|error| no_quorum(&error))?;
            Decoder::new(body).number("index").map_err(|error| no_quorum(&error))
        }
    }
}

/// As [`index`], at the leader.
pub(crate) async fn lead_index(inner: &Inner) -> Result<u64, ControlError> {
    match inner.raft.get_read_log_id().await {
        Ok((index, _)) => Ok(index.map_or(0, |id| id.index)),
        Err(RaftError::Fatal(error)) => Err(ControlError::Stopped(error.to_string())),
        Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
            Err(ControlError::NoQuorum { reason: "no majority has confirmed the leader".to_owned() })
        }
        Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_))) => {
            Err(ControlError::NoQuorum { reason: "the leader changed meanwhile".to_owned() })
        }
    }
}

pub(crate) fn encode_index(index: u64) -> bytes::Bytes {
    let mut to = Encoder::default();
    to.number(index);
    to.finish()
}
