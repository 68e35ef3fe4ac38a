//! Everything that the cluster decided, as one value: what a backup keeps, and what a new cluster is made from after a disaster.
//!
//! ```text
//! dump := version:1 revision next_lease budget_bytes count (key value)* check:32
//! ```
//! Numbers are LEB128, keys and values stand behind their lengths, and the check is the BLAKE3 hash of all before it.
//!
//! Keys that end with a lease are left out: their holders are gone, and whoever held a lock must take it anew. Revisions and
//! leases go on far above those of the old cluster (`HEADROOM`), so that no fence is ever given twice.
//!
//! Promise: a dump that was changed is refused. [`Dump::salvage`] reads the files of a node that is stopped and never writes
//! to what it decides by; it takes every entry of its log as decided, as `etcd --force-new-cluster` does: after the loss of a
//! majority nobody can say which of the last ones were.
//! Absent: who may do that, and the fencing of the old cluster: the hub raises its epoch.

use std::path::Path;

use bytes::Bytes;
use millrace_journal::decisions::{DecisionLog, DecisionState, LogOptions, StateOptions};
use openraft::EntryPayload;

use crate::codec::{CodecError, Decoder, Encoder};
use crate::control::{Control, ControlError, Level};
use crate::kv::limits::{BUDGET_BYTES_MAX, COMMAND_BYTES_MAX, KEY_BYTES_MAX, OPS_MAX, VALUE_BYTES_MAX};
use crate::kv::{Command, Op, Outcome, Store, Txn};
use crate::raft::coding::decode_payload;
use crate::raft::consensus::log_id;
use crate::raft::machine::{commands, decode_position};
use crate::raft::opening::{LOG, OpenError, STATE, refill};
use crate::raft::scribe::load;
use crate::raft::shelf::Verified;

const VERSION: u8 = 1;

/// How far above a dump the revisions and leases of a new cluster begin. The old one went on after the dump was taken, and
/// nobody knows how far: what it protected by a fence has seen fences that the dump does not know, and would refuse everybody
/// below them. At 35,000 changes per second, the most that was measured, a dump may be 34 hours old; at 50, nearly three years.
/// Both are 64 bits wide, so there is room for some thousand million new clusters.
const HEADROOM: u64 = 1 << 32;

/// Bytes of the check at the end.
const CHECK_BYTES: usize = 32;

/// Entries of the log that are read together.
const READ_BYTES: usize = 4 << 20;

/// Bytes of keys and values that are put with one command: a good part of an entry.
const REFILL_BYTES: usize = COMMAND_BYTES_MAX / 4;

/// More keys than any budget has room for.
const KEYS_MAX: usize = (BUDGET_BYTES_MAX / crate::kv::limits::KEY_OVERHEAD_BYTES) as usize;

/// Why a dump cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// Its bytes are not those that were written.
    #[error("the dump of the cluster's decisions is damaged: take another backup")]
    Damaged,
    /// A newer program wrote it.
    #[error("the dump of the cluster's decisions cannot be read: {0}")]
    Format(String),
}

/// Everything that the cluster decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dump {
    /// The newest revision.
    pub revision: u64,
    /// The name of the next lease.
    pub next_lease: u64,
    /// What all keys and values may take.
    pub budget_bytes: u64,
    /// Keys and values, in the order of the keys.
    pub entries: Vec<(Bytes, Bytes)>,
}

impl Dump {
    pub(crate) fn of(store: &Store) -> Self {
        let lasting = store.keys.iter().filter(|(_, slot)| slot.value.lease == 0);
        Self {
            revision: store.meta.revision,
            next_lease: store.meta.next_lease,
            budget_bytes: store.meta.budget_bytes,
            entries: lasting.map(|(key, slot)| (key.clone(), slot.value.value.clone())).collect(),
        }
    }

    /// What the files of a stopped node in `directory` lead to, every entry of its log included.
    ///
    /// # Errors
    /// When another process has the files open, or they are damaged.
    pub fn salvage(directory: &Path) -> Result<Self, OpenError> {
        let log = DecisionLog::open(&directory.join(LOG), &LogOptions::default())?;
        let mut state = DecisionState::open(&directory.join(STATE), &StateOptions::default())?;
        let mut position = decode_position(state.applied())?;
        if position.index() < log.purged().map(|purged| purged.index) {
            position = refill(&log, &mut state, directory, Verified::find(directory).as_ref())?;
        }
        let damaged = |what: String| OpenError::Shortened { what };
        let mut store = load(&state).map_err(damaged)?;
        let mut next = position.index().map_or(0, |index| index + 1);
        let last = log.head().map_or(0, |head| head.index + 1);
        while next < last {
            let entries = log.read(next, last, READ_BYTES).map_err(|error| damaged(error.to_string()))?;
            let Some(behind) = entries.last().map(|entry| entry.index + 1) else { break };
            for entry in entries {
                let entry = decode_payload(log_id(entry.term, entry.index), entry.payload)?;
                if let EntryPayload::Normal(batch) = entry.payload {
                    store.apply(&commands(&batch)?);
                }
            }
            next = behind;
        }
        Ok(Self::of(&store))
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut to = Encoder::default();
        to.byte(VERSION);
        [self.revision, self.next_lease, self.budget_bytes].iter().for_each(|number| to.number(*number));
        to.count(self.entries.len());
        for (key, value) in &self.entries {
            to.bytes(key);
            to.bytes(value);
        }
        let body = to.finish();
        [&body[..], blake3::hash(&body).as_bytes()].concat().into()
    }

    /// The dump with these bytes.
    ///
    /// # Errors
    /// When they are damaged, or of a newer program.
    pub fn decode(bytes: &Bytes) -> Result<Self, DumpError> {
        let end = bytes.len().checked_sub(CHECK_BYTES).ok_or(DumpError::Damaged)?;
        let body = bytes.slice(..end);
        if blake3::hash(&body).as_bytes()[..] != bytes.slice(end..)[..] {
            return Err(DumpError::Damaged);
        }
        Self::read(body).map_err(|error| DumpError::Format(error.to_string()))
    }

    fn read(body: Bytes) -> Result<Self, CodecError> {
        let mut from = Decoder::new(body);
        match from.byte("version")? {
            VERSION => {}
            found => return Err(CodecError::Unknown { what: "version", found: found.into() }),
        }
        let dump = Self {
            revision: from.number("revision")?,
            next_lease: from.number("next lease")?,
            budget_bytes: from.number("budget")?,
            entries: from.list("keys", KEYS_MAX, |from| {
                Ok((from.bytes("key", KEY_BYTES_MAX)?, from.bytes("value", VALUE_BYTES_MAX)?))
            })?,
        };
        from.end()?;
        Ok(dump)
    }

    /// The commands that lead a new cluster to this, each within an entry.
    fn refill(&self) -> Vec<Command> {
        let mut all = vec![
            Command::Raise {
                revision: self.revision.saturating_add(HEADROOM),
                next_lease: self.next_lease.saturating_add(HEADROOM),
            },
            Command::Budget { bytes: self.budget_bytes },
        ];
        let (mut ops, mut bytes) = (Vec::new(), 0);
        for (key, value) in &self.entries {
            if ops.len() >= OPS_MAX || bytes + key.len() + value.len() > REFILL_BYTES {
                all.push(Command::Txn(Txn { then: std::mem::take(&mut ops), ..Txn::default() }));
                bytes = 0;
            }
            bytes += key.len() + value.len();
            ops.push(Op::put(key.clone(), value.clone()));
        }
        all.push(Command::Txn(Txn { then: ops, ..Txn::default() }));
        all
    }
}

impl Control {
    /// Everything that the cluster decided, at one revision.
    ///
    /// # Errors
    /// As [`Control::read`].
    pub async fn dump(&self, level: Level) -> Result<Dump, ControlError> {
        Ok(self.read(level, Dump::of).await?.value)
    }

    /// Makes a new, empty cluster hold what `dump` says, with revisions and leases that begin 2^32 above its own. May
    /// be repeated after an error: it sets what it sets.
    ///
    /// # Errors
    /// [`ControlError`]; what came before stays.
    pub async fn refill(&self, dump: &Dump) -> Result<(), ControlError> {
        for command in dump.refill() {
            if let Outcome::Refused(refusal) = self.propose(&command).await? {
                return Err(refusal.into());
            }
        }
        Ok(())
    }
}
