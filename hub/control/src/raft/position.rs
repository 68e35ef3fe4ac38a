//! Where the state stands in the log.
//!
//! Promise: together with the log's head it tells a log that was cut off from one that a snapshot overtook.

use bytes::Bytes;

use crate::codec::{CodecError, Decoder, Encoder};
use crate::raft::coding::{put_log_id, put_stored_membership, take_log_id, take_stored_membership};
use crate::raft::consensus::{LogId, StoredMembership};

const VERSION: u8 = 1;

/// The position of a state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Position {
    /// The last entry that was applied.
    pub(crate) applied: Option<LogId>,
    /// The last membership that was applied.
    pub(crate) membership: StoredMembership,
    /// The last entry of the snapshot that was installed last. The log may lack everything up to here.
    pub(crate) installed: Option<LogId>,
}

impl Position {
    pub(crate) fn encode(&self) -> Bytes {
        let mut to = Encoder::default();
        to.byte(VERSION);
        put_log_id(&mut to, self.applied.as_ref());
        put_log_id(&mut to, self.installed.as_ref());
        put_stored_membership(&mut to, &self.membership);
        to.finish()
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Self, CodecError> {
        let mut from = Decoder::new(bytes);
        match from.byte("version")? {
            VERSION => {}
            found => return Err(CodecError::Unknown { what: "position", found: found.into() }),
        }
        let (applied, installed) = (take_log_id(&mut from)?, take_log_id(&mut from)?);
        let membership = take_stored_membership(&mut from)?;
        from.end()?;
        Ok(Self { applied, membership, installed })
    }

    /// The index that was applied last.
    pub(crate) fn index(&self) -> Option<u64> {
        self.applied.map(|id| id.index)
    }
}
